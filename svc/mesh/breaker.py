"""A circuit breaker: who is silent for a while is not asked for a moment, then asked by one call.

It stands outside the deadline, so a time-out is what it counts. Each callee has one that counts
its silence (time-outs, nobody there) and each of its calls one that counts what it answers with
Unavailable: a callee whose one call cannot be served still answers the others. Refusals and a full
queue are answers of somebody who is well. While all is well it costs a look at one number.
"""

import random

SILENCES_MAX = 5
"""Calls in a row without any answer in between, until a callee is given a rest."""
UNAVAILABLE_MAX = 10
"""Answers `Unavailable` in a row, until a call is given a rest: a healthy instance may be next."""
REST_S = 0.1
REST_S_MAX = 1.0
"""A callee that is well again is asked again within this time."""

CLOSED, HALF_OPEN, OPEN = 0, 1, 2


class Breaker:
    """Closed: asks; open: does not; half-open: one call finds out. Times are `perf_counter`'s.

    `failures` is 0 while all is well, which is all that a call need look at. `answered` is when
    the last answer came: a failed call says nothing when others were answered meanwhile.
    """

    __slots__ = ("answered", "failures", "limit", "opened", "openings", "rest_s", "state", "until")

    def __init__(self, limit: int) -> None:
        """Be closed; open after so many failures in a row."""
        self.limit = limit
        self.openings = 0
        self.answered = 0.0
        self.opened = 0.0
        self.close()

    def close(self) -> None:
        """Ask again without limit: somebody answered."""
        self.failures = 0
        self.state = CLOSED
        self.until = 0.0
        self.rest_s = REST_S

    def refuses(self, now: float) -> bool:
        """Whether a call must not be sent: the callee rests, or one call is finding out."""
        return now < self.until

    def passed(self, now: float, wait_s: float) -> None:
        """Note that a call goes through; when it ends the rest, others wait for its outcome.

        Its caller may go away without one, so that is waited for no longer than the call may take.
        """
        if self.state != CLOSED:
            self.state = HALF_OPEN
            self.until = now + wait_s

    def failed(self, asked: float, now: float, *, patient: bool = True) -> None:
        """Count a call that was asked at that time and failed now.

        Rests become longer with each one in vain; not so when it is not `patient`, because asking
        costs the callee nothing.
        """
        if asked <= self.answered:
            return
        if self.state == CLOSED:
            self.failures += 1
            if self.failures < self.limit:
                return
        elif asked < self.opened:
            return  # on its way since before the rest
        elif patient:
            self.rest_s = min(self.rest_s * 2, REST_S_MAX)
        self.openings += self.state == CLOSED
        self.state = OPEN
        self.opened = now
        # Callers that found out together do not come back together.
        self.until = now + self.rest_s * random.uniform(0.5, 1.0)  # noqa: S311 -- to spread, not to hide
