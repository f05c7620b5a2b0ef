"""What a caller keeps of one call: codec, lane, numbers, and how its callee is doing.

While all is well none of it costs more than a look at a number; what a failure means for the next
calls (svc/mesh/breaker.py) and for this one (svc/mesh/retries.py) is decided here.
"""

import time
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec

from svc.mesh import metrics, retries
from svc.mesh.breaker import UNAVAILABLE_MAX, Breaker
from svc.mesh.contract import Call
from svc.mesh.errors import Absent, Denied, Resting, TimedOut, Unavailable
from svc.mesh.partitions import lane_of
from svc.mesh.policy_releases import STABLE, release_subject
from svc.mesh.wire import decoder

if TYPE_CHECKING:
    from svc.mesh.caller import Caller
    from svc.mesh.context import Context

RequestT = TypeVar("RequestT", bound=msgspec.Struct)
ReplyT = TypeVar("ReplyT", bound=msgspec.Struct)


class EdgePolicy(Protocol):
    """What a policy (svc/mesh/policy.py) does to the calls of one edge, around `carry`.

    `alone` says that each call is a message of its own.
    """

    alone: bool

    def call(
        self,
        edge: "Edge",
        call: Call[RequestT, ReplyT],
        request: RequestT,
        wait_s: float,
        context: "Context",
    ) -> Coroutine[Any, Any, ReplyT]:
        """Ask under the policy; raises as Caller.call, and what the policy makes of it."""
        ...

    def call_raw(
        self,
        edge: "Edge",
        call: Call[Any, Any],
        body: bytes,
        wait_s: float,
        context: "Context",
    ) -> Coroutine[Any, Any, bytes]:
        """Ask under the policy with an encoded request."""
        ...


def no_policy(_: Call[Any, Any]) -> EdgePolicy | None:
    """Return what counts for a call as long as nobody knows any policy."""
    return None


class Edge:
    """One call of one caller: what stays the same is looked up once."""

    def __init__(self, caller: "Caller", call: Call[Any, Any]) -> None:
        """Look up; `callee` is the breaker that all edges to a service share."""
        labels = caller.service, call.service, call.verb
        self.call = call
        self.tally = metrics.tally(metrics.CALLS, *labels)
        self.decode = decoder(call.reply).decode
        self.stable = release_subject(call.subject, STABLE) or call.subject
        self.callee = caller.breaker_of(call.service)
        self.breaker = metrics.BREAKERS[labels] = Breaker(UNAVAILABLE_MAX)
        self.budget = retries.Budget(self.tally)
        self.hedge = call.hedge
        self.lane = lane_of(caller, call, self)
        self.policy = caller.rules(call)

    def admit(self, wait_s: float) -> None:
        """Let a call pass after failures; raises Resting while the callee is given a rest."""
        now = time.perf_counter()
        if self.callee.refuses(now) or self.breaker.refuses(now):
            failure = Resting(f"{self.call.service} did not answer lately and is given a moment")
            self.tally.observe(failure.word, 0.0)
            raise failure
        self.callee.passed(now, wait_s)
        self.breaker.passed(now, wait_s)

    def failed(self, failure: Exception, asked: float) -> None:
        """Note what the failure of a call, asked at that time of `perf_counter`, says."""
        now = time.perf_counter()
        if isinstance(failure, (TimedOut, Absent)):
            # Asking who is not there costs nobody anything.
            self.callee.failed(asked, now, patient=isinstance(failure, TimedOut))
        elif not isinstance(failure, Denied):
            self.callee.answered = now
            if type(failure) is Unavailable:
                self.callee.close()
                self.breaker.failed(asked, now)
            else:
                self.recovered()

    def recovered(self) -> None:
        """Ask without limit again: the callee answered, and not that it is unavailable."""
        self.callee.close()
        self.breaker.close()

    def pause(self, failure: Exception, attempts: int, deadline: float) -> float | None:
        """Return how long to wait before asking again, in seconds; None when the failure stands.

        `attempts` were made, and the caller waits until `deadline` (unix seconds).
        """
        if not retries.may_be_repeated(failure, attempts, idempotent=self.call.idempotent):
            return None
        pause = retries.pause(attempts)
        if time.time() + pause >= deadline or not self.may_repeat():
            return None
        self.tally.retries += 1
        return pause

    def may_repeat(self) -> bool:
        """Whether one more request is affordable now, beside those that callers make."""
        now = time.perf_counter()
        resting = self.callee.refuses(now) or self.breaker.refuses(now)
        return not resting and self.budget.take()
