"""Which failures are worth another attempt, when, and how many of them an edge may afford.

A refusal is final, a time-out has no time left, and who has too much to do is not asked for more.
Who was not there may always be asked again; who answered that it is unavailable only where its
contract says that twice is as good as once. Each call saves a tenth of an attempt for its edge, so
a sick callee sees at most 1.2 times the calls that were made, however many are disappointed.
"""

import random
from typing import TYPE_CHECKING

from svc.mesh.errors import Absent, Unavailable

if TYPE_CHECKING:
    from svc.mesh.metrics import Tally

CALLS_PER_ATTEMPT = 10
"""How many calls save one further attempt."""
SAVED_MAX = 5 * CALLS_PER_ATTEMPT
"""What good times save for bad ones: more would hit a callee that just fell ill all at once."""
ATTEMPTS_MAX = 3
PAUSE_S = 0.02
"""Before the second attempt at most; each further pause may be twice as long."""


class Budget:
    """What an edge may afford; it starts with one attempt saved."""

    __slots__ = ("saved", "seen", "tally")

    def __init__(self, tally: "Tally") -> None:
        """Save from the calls that this tally counts from now on."""
        self.tally = tally
        self.seen = tally.calls()
        self.saved = CALLS_PER_ATTEMPT

    def take(self) -> bool:
        """Spend one attempt; False when none is saved. Costs nothing until it is asked."""
        calls = self.tally.calls()
        self.saved = min(self.saved + calls - self.seen, SAVED_MAX)
        self.seen = calls
        if self.saved < CALLS_PER_ATTEMPT:
            return False
        self.saved -= CALLS_PER_ATTEMPT
        return True


def may_be_repeated(failure: Exception, attempts: int, *, idempotent: bool) -> bool:
    """Whether a call that failed so, after so many attempts, may be asked once more."""
    safe = isinstance(failure, Absent) or (idempotent and type(failure) is Unavailable)
    return safe and attempts < ATTEMPTS_MAX


def pause(attempts: int) -> float:
    """Return how long to wait before the next attempt, in seconds; never twice the same."""
    return PAUSE_S * 2 ** (attempts - 1) * random.uniform(0.5, 1.0)  # noqa: S311 -- to spread, not to hide
