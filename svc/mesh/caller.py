"""The calling side: one inbox for all answers, one sweep for all deadlines, safe second attempts.

`nats-py`'s own request makes a task and a timer per call; here a call is a dictionary entry and a
future, and one timer looks after them all. The answers' subject, `_INBOX.<service>.…`, tells the
callee and the broker who asks.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec
from nats.errors import Error as NatsError, OutboundBufferLimitError

from svc.mesh import metrics
from svc.mesh.breaker import SILENCES_MAX, Breaker
from svc.mesh.connection import Connection, Message
from svc.mesh.contract import Call
from svc.mesh.edge import Edge, EdgePolicy, no_policy
from svc.mesh.errors import Denied, RemoteBug, TimedOut, Unavailable, name_of
from svc.mesh.hedging import hedged
from svc.mesh.partitions import undivided
from svc.mesh.wire import (
    INBOX_ROOT,
    address,
    check_answer,
    decode_request,
    encode,
    found_nobody,
)

if TYPE_CHECKING:
    from svc.mesh.context import Context

RequestT = TypeVar("RequestT", bound=msgspec.Struct)
ReplyT = TypeVar("ReplyT", bound=msgspec.Struct)

SWEEP_S = 0.01
"""How often deadlines are looked at: an answer that is due fails at most this much late."""
PENDING_MAX = 65_536
"""How many requests of one instance may wait for an answer: beyond it the next fails at once."""


class Pending(NamedTuple):
    """A message that waits for its answer until its deadline (unix seconds).

    Where many calls share the message, `take` takes what arrives, and says whether that was all.
    """

    future: asyncio.Future[Message]
    deadline: float
    subject: str
    take: Callable[[Message], bool] | None


class Caller:
    """Sends calls of one service instance and matches their answers."""

    def __init__(self, connection: Connection, service: str, instance: str) -> None:
        """Prepare; `start` subscribes the inbox."""
        self.connection = connection
        self.service = service
        self.inbox = f"{INBOX_ROOT}.{service}.{instance}.call."
        self.edges: dict[str, Edge] = {}
        self.breakers: dict[str, Breaker] = {}
        self.pending: dict[str, Pending] = {}
        self.counter = 0  # of messages sent, which also names each
        self.sweeper: asyncio.TimerHandle | None = None
        self.rules: Callable[[Call[Any, Any]], EdgePolicy | None] = no_policy
        self.partitions: Callable[[str], int] = undivided

    async def start(self) -> None:
        """Subscribe the inbox of this instance."""
        self.loop = asyncio.get_running_loop()
        self.inbox_length = len(self.inbox)
        await self.connection.listen(self.inbox + ">", self._answered)

    def edge(self, call: Call[Any, Any]) -> Edge:
        """Return what is kept of a call, made at its first use."""
        found = self.edges.get(call.subject)
        if found is None:
            found = self.edges[call.subject] = Edge(self, call)
        return found

    def breaker_of(self, callee: str) -> Breaker:
        """Return the breaker that all calls of one service share."""
        found = self.breakers.get(callee)
        if found is None:
            found = self.breakers[callee] = Breaker(SILENCES_MAX)
            metrics.BREAKERS[self.service, callee, "*"] = found
        return found

    def reconnected(self) -> None:
        """Forget who was silent: that was the connection."""
        for breaker in self.breakers.values():
            breaker.close()

    def call(
        self, call: Call[RequestT, ReplyT], request: RequestT, wait_s: float, context: "Context"
    ) -> Awaitable[ReplyT]:
        """Ask and return the decoded answer; see Context.call for what it raises."""
        edge = self.edges.get(call.subject) or self.edge(call)
        if edge.policy is not None:
            return edge.policy.call(edge, call, request, wait_s, context)
        if edge.lane is not None and not (edge.callee.failures or edge.breaker.failures):
            return edge.lane.ask(request, wait_s, context)  # the usual case of what is hot
        return self.carry(edge, call, request, wait_s, context)

    async def carry(
        self,
        edge: Edge,
        call: Call[RequestT, ReplyT],
        request: RequestT,
        wait_s: float,
        context: "Context",
    ) -> ReplyT:
        """Ask, as no policy has anything (more) to say."""
        if edge.callee.failures or edge.breaker.failures:
            edge.admit(wait_s)
        if edge.lane is not None and (edge.policy is None or not edge.policy.alone):
            return await edge.lane.ask(request, wait_s, context)
        body = await self._asked(call, edge, encode(request), wait_s, context)
        try:
            return edge.decode(body)
        except msgspec.DecodeError as failure:
            raise RemoteBug(f"{call.subject} answered another form: {failure}") from failure

    def call_raw(
        self, call: Call[Any, Any], body: bytes, wait_s: float, context: "Context"
    ) -> Coroutine[Any, Any, bytes]:
        """Ask with an encoded request and return the encoded answer."""
        edge = self.edge(call)
        if edge.policy is not None:
            return edge.policy.call_raw(edge, call, body, wait_s, context)
        return self.carry_raw(edge, call, body, wait_s, context)

    async def carry_raw(
        self, edge: Edge, call: Call[Any, Any], body: bytes, wait_s: float, context: "Context"
    ) -> bytes:
        """Ask with an encoded request, as no policy has anything (more) to say."""
        if edge.callee.failures or edge.breaker.failures:
            edge.admit(wait_s)
        if edge.lane is not None and call.batchable:
            # What is no JSON must not spoil the message that it would share.
            raw = decode_request(msgspec.Raw, body)
            return encode(await edge.lane.ask(raw, wait_s, context))
        return await self._asked(call, edge, body, wait_s, context)

    async def _asked(
        self, call: Call[Any, Any], edge: Edge, body: bytes, wait_s: float, context: "Context"
    ) -> bytes:
        """Ask, again where that is safe and affordable, until an answer or the deadline."""
        began = asked = time.perf_counter()
        deadline = time.time() + wait_s
        suffix, headers = address(deadline, context.correlation_id, context.traceparent)
        tally, attempts = edge.tally, 1
        while True:
            try:
                if edge.hedge is None:
                    message = await self.send(call.subject, body, deadline, headers, suffix)
                else:
                    send = partial(self.send, call.subject, body, deadline, headers, suffix)
                    message = await hedged(send, edge.hedge, edge)
                if message.headers:
                    if found_nobody(message):  # perhaps a canary that is gone
                        message = await self.send(edge.stable, body, deadline, headers, suffix)
                    check_answer(message, call)
            except NatsError as failure:
                tally.observe(Unavailable.name, time.perf_counter() - began)
                raise Unavailable(f"NATS does not take the call: {failure}") from failure
            except Exception as failure:
                edge.failed(failure, asked)
                pause = edge.pause(failure, attempts, deadline)
                if pause is None:
                    tally.observe(name_of(failure), time.perf_counter() - began)
                    raise
            else:
                edge.callee.answered = now = time.perf_counter()
                tally.observe("ok", now - began)
                if edge.callee.failures or edge.breaker.failures:
                    edge.recovered()
                return message.data
            await asyncio.sleep(pause)
            asked = time.perf_counter()
            attempts += 1

    def send(
        self,
        subject: str,
        body: bytes,
        deadline: float,
        headers: dict[str, str] | None = None,
        suffix: str = "",
        *,
        take: Callable[[Message], bool] | None = None,
    ) -> "asyncio.Future[Message]":
        """Send one request; the future brings the answering message, whatever it says.

        `suffix` ends the reply subject (wire.reply_suffix). With `take`, answering messages go
        there until it says that nothing is left; the future, then, only fails. It fails with
        TimedOut at the deadline (unix seconds) or Denied when the broker refuses the subject.
        Raises nats.errors.Error when the connection does not take it.
        """
        if len(self.pending) >= PENDING_MAX:
            raise OutboundBufferLimitError
        self.counter += 1
        token = str(self.counter)
        self.connection.send(subject, body, f"{self.inbox}{token}{suffix}", headers)
        future: asyncio.Future[Message] = self.loop.create_future()
        self.pending[token] = Pending(future, deadline, subject, take)
        if self.sweeper is None:
            self.watch()
        return future

    async def exchange(
        self, call: Call[Any, Any], body: bytes, deadline: float, headers: dict[str, str]
    ) -> bytes:
        """Send one message as it is and return the body of its answer, or raise its refusal."""
        message = await self.ask(call.subject, body, deadline, headers)
        check_answer(message, call)
        return message.data

    async def ask(
        self, subject: str, body: bytes, deadline: float, headers: dict[str, str] | None
    ) -> Message:
        """Send one request and return the answering message, whatever it says.

        Raises TimedOut at the deadline (unix seconds), Denied when the broker refuses the subject,
        Unavailable without a connection.
        """
        try:
            return await self.send(subject, body, deadline, headers)
        except NatsError as failure:
            raise Unavailable(f"NATS does not take the call: {failure}") from failure

    async def ask_all(
        self, requests: Sequence[tuple[str, bytes, dict[str, str]]], deadline: float
    ) -> "list[Message]":
        """Send (subject, body, headers) in order and return all answers, in the same order.

        One wait for all instead of a task for each; raises as `ask`, the first failure of any.
        """
        futures: list[asyncio.Future[Message]] = []
        try:
            futures += [
                self.send(subject, body, deadline, headers) for subject, body, headers in requests
            ]
            return [await future for future in futures]
        except NatsError as failure:
            raise Unavailable(f"NATS does not take it: {failure}") from failure
        finally:
            for future in futures:
                if future.done() and not future.cancelled():
                    future.exception()  # seen: the first failure stands for all
                else:
                    future.cancel()

    def deny(self, subject: str) -> None:
        """Fail what waits for a subject that the broker refused (it names it in lower case)."""
        for one in self.pending.values():
            if one.subject.lower() == subject.lower() and not one.future.done():
                one.future.set_exception(
                    Denied(f"the broker does not permit {self.service} to use {one.subject}")
                )

    def watch(self) -> None:
        """Look after deadlines from now on."""
        if self.sweeper is None:
            self.sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def _answered(self, message: Message) -> None:
        token = message.subject[self.inbox_length :].partition(".")[0]
        entry = self.pending.get(token)
        if entry is None or entry.future.done():
            return
        if entry.take is None:
            entry.future.set_result(message)
        elif not entry.take(message):
            return
        del self.pending[token]

    def _sweep(self) -> None:
        now = time.time()
        gone: list[str] = []
        for token, (future, deadline, subject, _) in self.pending.items():
            if not future.done() and deadline <= now:
                future.set_exception(TimedOut(f"{subject} did not answer in time"))
            if future.done():
                gone.append(token)
        for token in gone:
            del self.pending[token]
        waiting = [
            edge.lane for edge in self.edges.values() if edge.lane and edge.lane.overdue(now)
        ]
        self.sweeper = None
        if self.pending or waiting:
            self.watch()
