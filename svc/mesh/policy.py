"""Routing policy in a running service: watched in the bucket `mesh_policy`, applied to its calls.

Whatever is said there counts for the next call; nothing is restarted or reconnected. A call of
which nothing is said does not come here at all: its edge has no policy. What is not valid is
logged and ignored, and what was valid before stays.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from nats.errors import Error as NatsError
from nats.js import JetStreamContext

from svc.mesh.clock import Clock
from svc.mesh.errors import Invalid, Overloaded, RemoteBug, TimedOut, Unavailable, name_of
from svc.mesh.policy_releases import SHADOW, release_subject
from svc.mesh.policy_rules import BUCKET, Fault, Limit, Mirror, Policy, Scope, of_edge, read
from svc.mesh.watching import Watch
from svc.mesh.wire import CONTEXT_HEADER, encode, pack_context

if TYPE_CHECKING:
    from svc.mesh.caller import Caller, Edge
    from svc.mesh.context import Context
    from svc.mesh.contract import Call

RequestT = TypeVar("RequestT", bound=msgspec.Struct)
ReplyT = TypeVar("ReplyT", bound=msgspec.Struct)

WATCH_AGAIN_S_MAX = 10.0


@dataclass
class UnderWay:
    """How many calls of one edge wait for their answer, whichever policy let them go."""

    calls: int = 0


class Applied:
    """What the policies say of one edge, around its calls."""

    def __init__(
        self, caller: "Caller", subject: str, chosen: dict[str, Policy], under_way: UnderWay
    ) -> None:
        """Take of each kind the policy that counts."""
        self.caller = caller
        self.alone = "canary" in chosen  # the broker draws for each message
        self.subject = subject
        self.under_way = under_way
        limit, fault, mirror = (chosen.get(kind) for kind in ("limit", "fault", "mirror"))
        self.limit = limit if isinstance(limit, Limit) else None
        self.fault = fault if isinstance(fault, Fault) else None
        self.mirror = mirror if isinstance(mirror, Mirror) else None
        self.shadow = release_subject(subject, SHADOW)

    async def call(
        self,
        edge: "Edge",
        call: "Call[RequestT, ReplyT]",
        request: RequestT,
        wait_s: float,
        context: "Context",
    ) -> ReplyT:
        """Ask under the policy: raises as Caller.call does."""
        async with self._admitted(edge, wait_s) as left_s:
            if self._is_mirrored():
                self._copy(encode(request), left_s, context)
            return await self.caller.carry(edge, call, request, left_s, context)

    async def call_raw(
        self, edge: "Edge", call: "Call[Any, Any]", body: bytes, wait_s: float, context: "Context"
    ) -> bytes:
        """Ask with an encoded request under the policy."""
        async with self._admitted(edge, wait_s) as left_s:
            if self._is_mirrored():
                self._copy(body, left_s, context)
            return await self.caller.carry_raw(edge, call, body, left_s, context)

    @asynccontextmanager
    async def _admitted(self, edge: "Edge", wait_s: float) -> AsyncGenerator[float]:
        """Hold a call to the limit, do to it what the fault says, and give the seconds it has."""
        began = time.perf_counter()
        under_way = self.under_way
        under_way.calls += 1
        try:
            try:
                left_s = await self._suffer(self._limited(wait_s))
            except (Unavailable, RemoteBug) as failure:
                edge.tally.observe(name_of(failure), time.perf_counter() - began)
                raise
            yield left_s
        finally:
            under_way.calls -= 1

    def _limited(self, wait_s: float) -> float:
        """Return how long the call may wait, in seconds; raises Overloaded when too many do."""
        limit = self.limit
        if limit is None:
            return wait_s
        if limit.in_flight is not None and self.under_way.calls > limit.in_flight:
            raise Overloaded(
                f"a policy lets {limit.in_flight} calls of {self.subject} be under way"
            )
        return wait_s if limit.timeout_ms is None else min(wait_s, limit.timeout_ms / 1000)

    async def _suffer(self, wait_s: float) -> float:
        """Let the call wait or fail, if it is of the unlucky share; return the seconds left."""
        fault = self.fault
        if fault is None or not _drawn(fault.percent):
            return wait_s
        if fault.delay_ms is not None:
            await asyncio.sleep(min(fault.delay_ms / 1000, wait_s))
            wait_s -= fault.delay_ms / 1000
            if wait_s <= 0:
                raise TimedOut(f"a policy's fault delayed {self.subject} beyond its deadline")
        if fault.abort is not None:
            raise FAILURES[fault.abort](f"a policy's fault aborted {self.subject}")
        return wait_s

    def _is_mirrored(self) -> bool:
        return self.mirror is not None and bool(self.shadow) and _drawn(self.mirror.percent)

    def _copy(self, body: bytes, wait_s: float, context: "Context") -> None:
        """Send what the shadow shall see; it has nowhere to answer, and nobody waits."""
        packed = pack_context(time.time() + wait_s, context.correlation_id, context.traceparent)
        with contextlib.suppress(NatsError):  # the call itself will say what is wrong
            self.caller.connection.send(self.shadow, body, "", {CONTEXT_HEADER: packed})


FAILURES: dict[str, Callable[[str], Exception]] = {
    "unavailable": Unavailable,
    "timeout": TimedOut,
    "internal": RemoteBug,
}


def _drawn(percent: int) -> bool:
    return random.random() * 100 < percent  # noqa: S311  # a share of calls, no secret


class Policies:
    """The policies that concern the calls of one service instance, as the bucket has them."""

    def __init__(self, caller: "Caller", clock: Clock, log: Any) -> None:
        """Know none; new edges ask here from now on."""
        self.caller = caller
        self.clock = clock
        self.log = log
        self.known: dict[Scope, Policy] = {}
        self.under_way: dict[str, UnderWay] = {}
        self.task: asyncio.Task[None] | None = None
        self.ending: asyncio.TimerHandle | None = None
        caller.rules = self.of

    def watch(self, jetstream: JetStreamContext) -> None:
        """Watch the bucket from now on; again after each reconnection, to miss nothing."""
        if self.task is not None:
            self.task.cancel()
        self.task = asyncio.create_task(self._watch(jetstream))

    async def stop(self) -> None:
        """Stop watching."""
        if self.ending is not None:
            self.ending.cancel()
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)

    def of(self, call: "Call[Any, Any]") -> Applied | None:
        """Return what the policies say of a call, None when nothing.

        A canary is the broker's work; only calls that would share a message are to know of it.
        """
        subject = call.subject
        chosen = of_edge(self.known, self.caller.service, call.service, call.verb, self.clock.now())
        if call.batchable or call.apart:
            chosen.pop("canary", None)
        if not chosen:
            return None
        under_way = self.under_way.setdefault(subject, UnderWay())
        return Applied(self.caller, subject, chosen, under_way)

    def hear(self, key: str, body: bytes | None) -> None:
        """Take a change of one key, None when it is gone; what is not valid changes nothing."""
        if body is None:
            self.known = {scope: kept for scope, kept in self.known.items() if scope.key != key}
        else:
            try:
                scope, policy = read(key, body)
            except Invalid as refused:
                self.log.warning("policy ignored", key=key, cause=refused.detail)
                return
            self.known[scope] = policy
        self._apply()

    def _apply(self) -> None:
        """Give every edge what now counts for it, and come back when the next fault ends."""
        for edge in self.caller.edges.values():
            edge.policy = self.of(edge.call)
        now = self.clock.now()
        ends = [one.until for one in self.known.values() if isinstance(one, Fault)]
        self._come_back(min((end for end in ends if end > now), default=None), now)

    def _come_back(self, then: datetime | None, now: datetime) -> None:
        if self.ending is not None:
            self.ending.cancel()
        self.ending = None
        if then is not None:
            delay_s = (then - now).total_seconds()
            self.ending = asyncio.get_running_loop().call_later(delay_s, self._apply)

    async def _watch(self, jetstream: JetStreamContext) -> None:
        watch = Watch(BUCKET, self.hear, lambda: None, self.log)
        await watch.follow(jetstream, again_s_max=WATCH_AGAIN_S_MAX)
