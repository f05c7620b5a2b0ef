"""The answering side: a bounded queue and a bounded number of workers per declared call.

A request that is late is dropped unserved (nobody waits for it any more); one that finds the queue
full is answered 503 at once; on drain what is in flight is finished and nothing new is taken.
"""

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from prometheus_client import Counter

from svc.mesh import metrics
from svc.mesh.context import Context
from svc.mesh.contract import Call
from svc.mesh.errors import Invalid, Overloaded, Refused, TimedOut, Unavailable, problem
from svc.mesh.many import Many
from svc.mesh.wire import (
    BATCH_HEADER,
    BATCH_MARK,
    Answered,
    caller_of,
    context_of,
    decode_request,
    decoder,
    encode,
    error_reply,
    unpack_context,
)

if TYPE_CHECKING:
    from svc.mesh.runtime import Runtime
    from svc.mesh.service import CallHandler

SWEEP_S = 0.02
"""How often the deadlines of what is being served are looked at."""
QUEUE_PER_WORKER = 16
"""How many requests may wait per worker before an endpoint answers 503."""


@dataclass
class EndpointStats:
    """What an endpoint did since its start; times in nanoseconds, as ADR-32 wants."""

    requests: int = 0
    errors: int = 0
    last_error: str = ""
    processing_ns: int = 0
    shed: int = 0
    late: int = 0
    outcomes: dict[str, int] = field(default_factory=dict[str, int])


class Endpoint:
    """Serves one call of one service instance."""

    def __init__(
        self, runtime: "Runtime", call: Call[Any, Any], handler: "CallHandler[Any, Any]"
    ) -> None:
        """Prepare; `start` subscribes."""
        self.runtime = runtime
        self.call = call
        self.handler = handler
        self.stats = EndpointStats()
        taking_many = runtime.service.many_handlers.get(call.subject)
        self.many = Many(self, *taking_many) if taking_many else None
        self.queue: asyncio.Queue[Msg] = asyncio.Queue(call.workers * QUEUE_PER_WORKER)
        self.workers: set[asyncio.Task[None]] = set()
        self.busy = 0
        self.running: dict[asyncio.Task[Any], float] = {}
        self.overdue: set[asyncio.Task[Any]] = set()
        self.sweeper: asyncio.TimerHandle | None = None
        self.counters: dict[tuple[str, str], Counter] = {}
        self.subscription: Subscription | None = None

    async def start(self) -> None:
        """Subscribe in the queue group of the service."""
        self.subscription = await self.runtime.connection.subscribe(
            self.call.subject, queue=self.runtime.service.name, cb=self._arrived
        )

    async def drain(self, grace_s: float) -> None:
        """Take nothing new, finish what was taken, for at most `grace_s` seconds."""
        if self.subscription is not None:
            await self.subscription.drain()
        try:
            async with asyncio.timeout(grace_s):
                await self.queue.join()
        except TimeoutError:
            self.runtime.log.warning("drain cut short", subject=self.call.subject, busy=self.busy)
        for worker in self.workers:
            worker.cancel()
        await asyncio.gather(*self.workers, return_exceptions=True)

    async def _arrived(self, message: Msg) -> None:
        self.stats.requests += 1
        try:
            self.queue.put_nowait(message)
        except asyncio.QueueFull:
            self.stats.shed += 1
            await self.refuse(message, Overloaded("the endpoint's queue is full; nothing was done"))
            return
        idle = len(self.workers) - self.busy
        if self.queue.qsize() > idle and len(self.workers) < self.call.workers:
            self.workers.add(asyncio.create_task(self._work()))

    async def _work(self) -> None:
        while True:
            message = await self.queue.get()
            self.busy += 1
            started = time.perf_counter_ns()
            try:
                await self._serve(message)
            finally:
                self.stats.processing_ns += time.perf_counter_ns() - started
                self.busy -= 1
                self.queue.task_done()

    async def _serve(self, message: Msg) -> None:
        caller = caller_of(message)
        packed = message.headers.get(BATCH_HEADER) if message.headers else None
        if self.many is not None:
            await self.many.serve(message, packed, caller)
            return
        if packed is not None:
            await self._serve_batch(message, packed.split(BATCH_MARK), caller)
            return
        answer = await self._answer(message.data, context_of(message), caller)
        if answer is None or not message.reply:
            return
        if isinstance(answer, bytes):
            await self.runtime.connection.publish(message.reply, answer)
        else:
            body, error_headers = error_reply(answer)
            await self.runtime.connection.publish(message.reply, body, headers=error_headers)

    async def _serve_batch(self, message: Msg, packed: list[str], caller: str) -> None:
        """Serve calls that travelled together, side by side; each has an answer of its own."""
        self.stats.requests += len(packed) - 1
        try:
            bodies = decoder(list[msgspec.Raw]).decode(message.data)
        except msgspec.DecodeError as failure:
            await self.refuse(message, Invalid(f"not a batch: {failure}"), caller)
            return
        if len(bodies) != len(packed):
            await self.refuse(message, Invalid("a batch needs a context for each call"), caller)
            return
        answers = await asyncio.gather(
            *(
                self._answer(bytes(body), unpack_context(one), caller)
                for body, one in zip(bodies, packed, strict=True)
            )
        )
        await self.runtime.connection.publish(message.reply, encode([answered(a) for a in answers]))

    async def _answer(
        self, body: bytes, sent: tuple[float | None, str, str], caller: str
    ) -> bytes | Exception | None:
        """Return the encoded reply of one call, its failure, or None when it came too late."""
        deadline, correlation_id, traceparent = sent
        if deadline is None:
            deadline = time.time() + self.call.deadline_ms / 1000
        left = deadline - time.time()
        if left <= 0:
            self.stats.late += 1
            return None
        context = Context(
            self.runtime,
            caller=caller,
            deadline=deadline,
            correlation_id=correlation_id,
            traceparent=traceparent,
        )
        try:
            request = decode_request(self.call.request, body)
            reply = await self._in_time(self.handler(request, context), deadline)
            encoded = encode(reply)
        except TimedOut as failure:
            # What this service asked did not answer in time, but this service does: try again.
            return self.failed(Unavailable(failure.detail), caller)
        except (Refused, Unavailable) as failure:
            return self.failed(failure, caller)
        except TimeoutError as failure:
            return self.failed(TimedOut(str(failure) or "a time-out while serving"), caller)
        except Exception as failure:
            context.log.exception("handler failed", subject=self.call.subject)
            return self.failed(failure, caller)
        self.count("ok", caller)
        return encoded

    async def _in_time(self, work: Awaitable[Any], deadline: float) -> Any:
        """Return what the work returns; raises TimeoutError when it lasts beyond its deadline.

        One sweep looks after all deadlines: a timer per call costs as much as a small handler.
        """
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("endpoints work in tasks")
        self.running[task] = deadline
        if self.sweeper is None:
            self.sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)
        try:
            return await work
        except asyncio.CancelledError:
            if task not in self.overdue:
                raise
            task.uncancel()
            raise TimeoutError("the deadline passed while serving") from None
        finally:
            self.overdue.discard(task)
            del self.running[task]

    def _sweep(self) -> None:
        now = time.time()
        for task, deadline in self.running.items():
            if deadline <= now and task not in self.overdue:
                self.overdue.add(task)
                task.cancel()
        loop = asyncio.get_running_loop()
        self.sweeper = loop.call_later(SWEEP_S, self._sweep) if self.running else None

    def failed(self, failure: Exception, caller: str) -> Exception:
        """Count a failure and return it."""
        name = failure.name if isinstance(failure, (Refused, Unavailable)) else "internal"
        self.stats.errors += 1
        self.stats.last_error = name
        self.count(name, caller)
        return failure

    async def refuse(self, message: Msg, failure: Exception, caller: str = "") -> None:
        """Answer a whole message with a failure."""
        self.failed(failure, caller)
        if message.reply:
            body, headers = error_reply(failure)
            await self.runtime.connection.publish(message.reply, body, headers=headers)

    def count(self, outcome: str, caller: str, calls: int = 1) -> None:
        """Count calls that ended alike."""
        self.stats.outcomes[outcome] = self.stats.outcomes.get(outcome, 0) + calls
        counter = self.counters.get((caller, outcome))
        if counter is None:
            labels = (self.call.service, self.call.verb, caller, outcome)
            counter = self.counters[caller, outcome] = metrics.SERVED.labels(*labels)
        counter.inc(calls)


def answered(answer: bytes | Exception | None) -> Answered:
    """Return one answer of a batch in its form on the wire."""
    if answer is None:
        return Answered()
    if isinstance(answer, bytes):
        return Answered(reply=msgspec.Raw(answer))
    return Answered(problem=msgspec.Raw(encode(problem(answer))))
