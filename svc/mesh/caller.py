"""The calling side: one inbox for all answers, one sweep for all deadlines.

`nats-py`'s own request makes a task and a timer per call; here a call is a dictionary entry and a
future, and one timer looks after them all. The answers' subject, `_INBOX.<service>.…`, tells the
callee and the broker who asks.
"""

import asyncio
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from prometheus_client import Counter

from svc.mesh import metrics
from svc.mesh.coalesce import Coalescer
from svc.mesh.contract import Call
from svc.mesh.errors import (
    Denied,
    Refused,
    RemoteBug,
    TimedOut,
    Unavailable,
    from_problem,
)
from svc.mesh.wire import (
    CONTEXT_HEADER,
    ERROR_HEADER,
    INBOX_ROOT,
    decoder,
    encode,
    pack_context,
    reply_suffix,
)

if TYPE_CHECKING:
    from svc.mesh.context import Context

RequestT = TypeVar("RequestT", bound=msgspec.Struct)
ReplyT = TypeVar("ReplyT", bound=msgspec.Struct)

SWEEP_S = 0.01
"""How often deadlines are looked at: an answer that is due fails at most this much late."""


class Edge:
    """The metrics of one caller and call, looked up once."""

    def __init__(self, service: str, call: Call[Any, Any]) -> None:
        """Look up what stays the same; outcomes come as they are met."""
        self.labels = (service, call.service, call.verb)
        self.seconds = metrics.CALL_SECONDS.labels(*self.labels)
        self.outcomes: dict[str, Counter] = {}

    def observe(self, outcome: str, seconds: float) -> None:
        """Count one call and its time from question to answer."""
        counter = self.outcomes.get(outcome)
        if counter is None:
            counter = self.outcomes[outcome] = metrics.CALLS.labels(*self.labels, outcome)
        counter.inc()
        self.seconds.observe(seconds)


class Caller:
    """Sends calls of one service instance and matches their answers."""

    def __init__(self, connection: Client, service: str, instance: str) -> None:
        """Prepare; `start` subscribes the inbox."""
        self.connection = connection
        self.service = service
        self.inbox = f"{INBOX_ROOT}.{service}.{instance}.call."
        self.edges: dict[str, Edge] = {}
        self.pending: dict[str, tuple[asyncio.Future[Any], float, str]] = {}
        self.counter = 0
        self.sweeper: asyncio.TimerHandle | None = None
        self.coalescer = Coalescer(self)

    async def start(self) -> None:
        """Subscribe the inbox of this instance."""
        await self.connection.subscribe(self.inbox + ">", cb=self._answered)

    async def call(
        self, call: Call[RequestT, ReplyT], request: RequestT, wait_s: float, context: "Context"
    ) -> ReplyT:
        """Ask and return the decoded answer; see Context.call for what it raises."""
        body = await self.call_raw(call, encode(request), wait_s, context)
        try:
            return decoder(call.reply).decode(body)
        except msgspec.DecodeError as failure:
            raise RemoteBug(f"{call.subject} answered another form: {failure}") from failure

    async def call_raw(
        self, call: Call[Any, Any], body: bytes, wait_s: float, context: "Context"
    ) -> bytes:
        """Ask with an encoded request and return the encoded answer."""
        edge = self.edges.get(call.subject)
        if edge is None:
            edge = self.edges[call.subject] = Edge(self.service, call)
        started = time.perf_counter()
        outcome = "internal"
        try:
            answer = await self._sent(call, body, wait_s, context)
            outcome = "ok"
        except (Refused, Unavailable) as failure:
            outcome = failure.name
            raise
        else:
            return answer
        finally:
            edge.observe(outcome, time.perf_counter() - started)

    async def _sent(
        self, call: Call[Any, Any], body: bytes, wait_s: float, context: "Context"
    ) -> bytes:
        deadline = time.time() + wait_s
        if call.batchable:
            packed = pack_context(deadline, context.correlation_id, context.traceparent)
            return await self.coalescer.ask(call, body, deadline, packed)
        suffix = reply_suffix(deadline, context.correlation_id, context.traceparent)
        if suffix is not None:
            return await self.exchange(call, body, deadline, None, suffix)
        packed = pack_context(deadline, context.correlation_id, context.traceparent)
        return await self.exchange(call, body, deadline, {CONTEXT_HEADER: packed})

    async def exchange(
        self,
        call: Call[Any, Any],
        body: bytes,
        deadline: float,
        headers: dict[str, str] | None,
        suffix: str = "",
    ) -> bytes:
        """Send one message and return the body of its answer; raises what the answer refuses."""
        message = await self.ask(call.subject, body, deadline, headers, suffix)
        answered = message.headers
        if answered:
            if answered.get("Status") == "503":
                raise Unavailable(f"{call.service} has no running instance")
            if ERROR_HEADER in answered:
                raise from_problem(message.data, call.refuses)
        return message.data

    @contextmanager
    def expecting(
        self, future: "asyncio.Future[Any]", deadline: float, subject: str
    ) -> Generator[str]:
        """Keep a future among those that time out at their deadline or are denied by subject."""
        token = self._expect(future, deadline, subject)
        try:
            yield token
        finally:
            self.pending.pop(token, None)

    def _expect(self, future: "asyncio.Future[Any]", deadline: float, subject: str) -> str:
        self.counter += 1
        token = str(self.counter)
        self.pending[token] = (future, deadline, subject)
        if self.sweeper is None:
            self.sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)
        return token

    async def ask(
        self,
        subject: str,
        body: bytes,
        deadline: float,
        headers: dict[str, str] | None,
        suffix: str = "",
    ) -> Msg:
        """Send one request and return the answering message, whatever it says.

        `suffix` ends the reply subject (wire.reply_suffix). Raises TimedOut at the deadline (unix
        seconds), Denied when the broker refuses the subject, Unavailable without a connection.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Msg] = loop.create_future()
        self.counter += 1
        token = str(self.counter)
        self.pending[token] = (future, deadline, subject)
        if self.sweeper is None:
            self.sweeper = loop.call_later(SWEEP_S, self._sweep)
        try:
            await self.connection.publish(
                subject, body, reply=f"{self.inbox}{token}{suffix}", headers=headers
            )
            return await future
        except NatsError as failure:
            raise Unavailable(f"NATS does not take the call: {failure}") from failure
        finally:
            self.pending.pop(token, None)

    async def ask_all(
        self, requests: Sequence[tuple[str, bytes, dict[str, str]]], deadline: float
    ) -> "list[Msg]":
        """Send (subject, body, headers) in order and return all answers, in the same order.

        One wait for all instead of a task for each; raises as `ask`, the first failure of any.
        """
        loop = asyncio.get_running_loop()
        futures: dict[str, asyncio.Future[Msg]] = {}
        try:
            for subject, body, headers in requests:
                future: asyncio.Future[Msg] = loop.create_future()
                token = self._expect(future, deadline, subject)
                futures[token] = future
                await self.connection.publish(
                    subject, body, reply=self.inbox + token, headers=headers
                )
            return [await future for future in futures.values()]
        except NatsError as failure:
            raise Unavailable(f"NATS does not take it: {failure}") from failure
        finally:
            for token, future in futures.items():
                self.pending.pop(token, None)
                if future.done() and not future.cancelled():
                    future.exception()  # seen: the first failure stands for all
                else:
                    future.cancel()

    def deny(self, subject: str) -> None:
        """Fail what waits for a subject that the broker refused (it names it in lower case)."""
        for future, _, pending_subject in self.pending.values():
            if pending_subject.lower() == subject.lower() and not future.done():
                future.set_exception(Denied(f"the broker does not permit a call of {subject}"))

    async def _answered(self, message: Msg) -> None:
        entry = self.pending.get(message.subject[len(self.inbox) :].partition(".")[0])
        if entry is not None and not entry[0].done():
            entry[0].set_result(message)

    def _sweep(self) -> None:
        now = time.time()
        for future, deadline, subject in self.pending.values():
            if deadline <= now and not future.done():
                future.set_exception(TimedOut(f"{subject} did not answer in time"))
        self.sweeper = (
            asyncio.get_running_loop().call_later(SWEEP_S, self._sweep) if self.pending else None
        )
