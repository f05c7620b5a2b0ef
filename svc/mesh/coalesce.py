"""Coalescing: concurrent calls of one batchable subject travel as one message, without any timer.

What is asked in one turn of the event loop leaves together at its end, so a lone call goes out at
once. Under load what is asked shares two messages of about the same size, and what finds both of
them on their way leaves with the next answer: messages grow with the load, the callee always has
one at hand, and no call waits for company. Each call keeps its own answer, refusal, deadline and
trace. Requests and answers are encoded and decoded by the message.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec
from nats.errors import Error as NatsError

from svc.mesh.contract import Call
from svc.mesh.errors import (
    Overloaded,
    RemoteBug,
    TimedOut,
    Unavailable,
    from_document,
    name_of,
)
from svc.mesh.wire import (
    BATCH_HEADER,
    Answered,
    check_answer,
    decoder,
    encode,
    found_nobody,
    reply_suffix,
    safe,
)

if TYPE_CHECKING:
    from svc.mesh.caller import Caller
    from svc.mesh.connection import Message
    from svc.mesh.context import Context
    from svc.mesh.edge import Edge

IN_FLIGHT_MAX = 2
"""Messages of one subject on their way: while one is answered, the other is being worked on."""
SHARE_MIN = 64
"""Calls that travel together even if that leaves messages unused."""
BATCH_MAX = 512
"""Calls in one message: far below the broker's largest payload, unless their bodies are large."""
BODY_MAX = 512 * 1024
"""A message that would be larger goes in two halves."""
QUEUE_MAX = 16_384
"""Calls of one subject that may wait to leave: beyond it the next fails at once."""


class Waiting:
    """One call that waits for its answer."""

    __slots__ = (
        "attempts", "began", "correlation_id", "deadline", "future", "request", "traceparent",
    )  # fmt: skip

    def __init__(
        self, request: Any, deadline: float, context: "Context", future: "asyncio.Future[Any]"
    ) -> None:
        """Keep what is asked, until when (unix seconds) and in which piece of work."""
        self.request = request
        self.deadline = deadline
        self.correlation_id = context.correlation_id
        self.traceparent = context.traceparent
        self.future = future
        self.began = time.perf_counter()
        self.attempts = 1

    def on_wire(self) -> tuple[int, str, str, Any]:
        """Return the call as wire.Sent has it; ids that are not ours to pass on are left out."""
        deadline_ms = int(self.deadline * 1000)
        return deadline_ms, safe(self.correlation_id), safe(self.traceparent), self.request


class Lane:
    """The calls of one batchable subject of one caller, or those of one partition of it."""

    def __init__(self, caller: "Caller", call: Call[Any, Any], edge: "Edge", subject: str) -> None:
        """Nothing waits; `subject` is where they go: the call's, or that of a partition."""
        self.caller = caller
        self.call = call
        self.subject = subject
        self.edge = edge
        self.stable = edge.stable
        self.tally = edge.tally
        self.decode = decoder(list[Answered[call.reply]]).decode
        self.queue: deque[Waiting] = deque()
        self.flying: list[list[Waiting]] = []
        self.pausing: list[Waiting] = []
        self.leaving = False
        self.share = SHARE_MIN

    def ask(self, request: Any, wait_s: float, context: "Context") -> "asyncio.Future[Any]":
        """Send one call, alone or in company; the future brings its decoded reply.

        Or what the callee refused, or TimedOut at this call's own deadline.
        """
        future: asyncio.Future[Any] = self.caller.loop.create_future()
        waiting = Waiting(request, time.time() + wait_s, context, future)
        if len(self.queue) >= QUEUE_MAX:
            self._fail(waiting, Overloaded(f"too many calls of {self.call.subject} wait already"))
            return future
        self.queue.append(waiting)
        if len(self.flying) < IN_FLIGHT_MAX:
            if len(self.queue) >= self.share:
                self._leave()
            elif not self.leaving:
                self._leave_soon()
        return future

    def _leave_soon(self) -> None:
        """Send at the end of this turn what is asked in it."""
        self.leaving = True
        self.caller.loop.call_soon(self._turn_ends)
        self.caller.watch()

    def overdue(self, now: float) -> bool:
        """Fail the calls whose deadline has passed; say whether any still waits."""
        flying = (one for batch in self.flying for one in batch)
        due = [one for one in (*self.queue, *flying, *self.pausing) if one.deadline <= now]
        for waiting in due:
            if not waiting.future.done():
                failure = TimedOut(f"{self.call.subject} did not answer in time")
                self.edge.failed(failure, waiting.began)
                self._fail(waiting, failure)
        if due:
            # A callee that is silent takes nothing from the queue: it must not grow meanwhile.
            self.queue = deque(one for one in self.queue if not one.future.done())
        return bool(self.queue or self.flying or self.pausing)

    def lanes(self) -> "Iterable[Lane]":
        """Return itself, as calls that are divided return many (svc/mesh/partitions.py)."""
        return (self,)

    def _turn_ends(self) -> None:
        self.leaving = False
        self._leave()

    def _leave(self) -> None:
        while len(self.flying) < IN_FLIGHT_MAX and self.queue:
            queue = self.queue
            self.share = self._share()
            taken = [queue.popleft() for _ in range(min(len(queue), self.share))]
            batch = [waiting for waiting in taken if not waiting.future.done()]
            if batch:
                self._send(batch, self.subject)

    def _share(self) -> int:
        """Return how many calls the next message takes: its part of all that wait or are away."""
        calls = len(self.queue) + sum(map(len, self.flying))
        return min(max(-(-calls // IN_FLIGHT_MAX), SHARE_MIN), BATCH_MAX)

    def _send(self, batch: list[Waiting], subject: str) -> None:
        try:
            body, headers, suffix = self._message(batch)
        except (TypeError, ValueError, msgspec.MsgspecError) as failure:
            # A request that has no form at all must not fail its neighbours.
            if len(batch) > 1:
                for waiting in batch:
                    self._send([waiting], subject)
            else:
                self._fail(batch[0], failure)
            return
        if len(body) > BODY_MAX and len(batch) > 1:
            self._send(batch[: len(batch) // 2], subject)
            self._send(batch[len(batch) // 2 :], subject)
            return
        deadline = max([waiting.deadline for waiting in batch])
        try:
            answer = self.caller.send(subject, body, deadline, headers, suffix)
        except NatsError as failure:
            self._fail_all(batch, Unavailable(f"NATS does not take the call: {failure}"))
            return
        self.flying.append(batch)
        answer.add_done_callback(lambda done: self._answered(batch, done, subject))

    def _message(self, batch: list[Waiting]) -> tuple[bytes, dict[str, str] | None, str]:
        if len(batch) > 1:
            body = encode([waiting.on_wire() for waiting in batch])
            return body, {BATCH_HEADER: str(len(batch))}, ""
        only = batch[0]
        suffix = reply_suffix(only.deadline, only.correlation_id, only.traceparent)
        if suffix is not None:
            return encode(only.request), None, suffix
        return encode([only.on_wire()]), {BATCH_HEADER: "1"}, ""

    def _answered(
        self, batch: list[Waiting], answer: "asyncio.Future[Message]", subject: str
    ) -> None:
        self.flying.remove(batch)
        self._leave()
        try:
            message = answer.result()
            if message.headers:
                if subject is not self.stable and self.stable and found_nobody(message):
                    self._send(batch, self.stable)  # perhaps a canary that is gone
                    return
                check_answer(message, self.call)
            answers = self._answers(batch, message)
        except Exception as failure:  # noqa: BLE001  # every caller of the batch hears it
            self.edge.failed(failure, batch[0].began)
            for waiting in batch:
                self._failed(waiting, failure)
            return
        self._hand_out(batch, answers)

    def _hand_out(self, batch: list[Waiting], answers: list[Answered[Any]]) -> None:
        edge, unavailable = self.edge, 0
        took_s: list[float] = []
        edge.callee.answered = now = time.perf_counter()
        for waiting, answered in zip(batch, answers, strict=True):
            future = waiting.future
            if future.done():
                continue
            if answered.reply is not None:
                took_s.append(now - waiting.began)
                future.set_result(answered.reply)
            elif answered.problem is not None:
                failure = from_document(answered.problem, self.call.refuses)
                unavailable += isinstance(failure, Unavailable)
                self._failed(waiting, failure)
            else:
                late = f"{self.call.subject} came too late to be served"
                self._fail(waiting, TimedOut(late))
        if took_s:
            self.tally.observe_all("ok", took_s)
        if unavailable == len(batch):
            edge.breaker.failed(batch[0].began, now)
        elif edge.callee.failures or edge.breaker.failures:
            edge.recovered()

    def _answers(self, batch: list[Waiting], message: "Message") -> list[Answered[Any]]:
        """Return the answers of a batch, one for each; raises RemoteBug for another form."""
        subject = self.call.subject
        try:
            # A call that travelled alone is answered with the plain reply.
            if message.data[:1] == b"{" and len(batch) == 1:
                return [Answered(decoder(self.call.reply).decode(message.data))]
            answers = self.decode(message.data)
        except msgspec.DecodeError as failure:
            raise RemoteBug(f"{subject} answered a batch in another form: {failure}") from failure
        if len(answers) != len(batch):
            raise RemoteBug(f"{subject} answered {len(answers)} of {len(batch)} calls")
        return answers

    def _failed(self, waiting: Waiting, failure: Exception) -> None:
        """Ask once more where that is safe and affordable; else the failure stands."""
        if waiting.future.done():
            return
        pause = self.edge.pause(failure, waiting.attempts, waiting.deadline)
        if pause is None:
            self._fail(waiting, failure)
            return
        waiting.attempts += 1
        self.pausing.append(waiting)
        self.caller.loop.call_later(pause, self._once_more, waiting)

    def _once_more(self, waiting: Waiting) -> None:
        self.pausing.remove(waiting)
        self.queue.append(waiting)
        if not self.leaving:
            self._leave_soon()

    def _fail(self, waiting: Waiting, failure: Exception) -> None:
        if not waiting.future.done():
            self.tally.observe(name_of(failure), time.perf_counter() - waiting.began)
            waiting.future.set_exception(failure)

    def _fail_all(self, batch: list[Waiting], failure: Exception) -> None:
        for waiting in batch:
            self._fail(waiting, failure)
