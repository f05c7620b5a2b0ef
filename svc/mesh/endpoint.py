"""The answering side: a bounded queue and a bounded number of workers per declared call.

A request that is late is dropped unserved (nobody waits for it any more); one that finds the queue
full is answered 503 at once; on drain what is in flight is finished and nothing new is taken.
"""

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from svc.mesh import metrics
from svc.mesh.batch import BatchReader
from svc.mesh.connection import Message
from svc.mesh.context import Context
from svc.mesh.contract import Call
from svc.mesh.each import Each, Part, no_room
from svc.mesh.errors import Invalid, Refused, TimedOut, Unavailable, name_of
from svc.mesh.many import Many
from svc.mesh.policy_releases import answered
from svc.mesh.wire import (
    BATCH_HEADER,
    LATE,
    OPERATOR,
    UNREADABLE,
    Sender,
    Sent,
    caller_of,
    decoder,
    encode,
    error_reply,
    sender_of,
)

if TYPE_CHECKING:
    from svc.mesh.runtime import Runtime
    from svc.mesh.service import CallHandler

SWEEP_S = 0.02
"""How often the deadlines of what is being served are looked at."""
QUEUE_PER_WORKER = 16
"""How many requests may wait per worker before an endpoint answers 503."""


Work = Message | Each | Part
"""What a worker serves: a message, what is left of one of several calls, or one of these."""
TURN_NS = 5_000_000
"""How long handlers that never wait may go on, before what has arrived meanwhile is looked at."""


class Turn:
    """Sees to it that a service that is busy computing still hears who asks, and refuses in time.

    All endpoints of a service share it: its event loop can't read while any of them computes.
    """

    def __init__(self) -> None:
        """The first message begins it."""
        self.until_ns = 0
        self.begins = False

    def begin(self) -> None:
        """Say that the event loop has just read or may read."""
        self.begins = False
        self.until_ns = time.perf_counter_ns() + TURN_NS

    async def over(self) -> None:
        """Let the event loop read before anything else is served."""
        while time.perf_counter_ns() > self.until_ns:
            if not self.begins:
                self.begins = True
                asyncio.get_running_loop().call_soon(self.begin)
            await asyncio.sleep(0)


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
        self.decode = decoder(call.request).decode
        taking_many = runtime.service.many_handlers.get(call.subject)
        taken = taking_many[1] if taking_many else call.request
        self.batches = BatchReader(call.request, taken)
        self.stats = EndpointStats()
        self.many = Many(self, taking_many[0]) if taking_many else None
        self.turn = runtime.turn
        self.callers = frozenset((*call.permitted_callers(), OPERATOR))
        self.queue: deque[Work] = deque()
        self.queued = 0
        self.queue_max = call.workers * QUEUE_PER_WORKER
        self.workers: set[asyncio.Task[None]] = set()
        self.idle: list[asyncio.Future[Work]] = []
        self.busy = 0
        self.rest = asyncio.Event()
        self.rest.set()
        self.running: dict[asyncio.Task[Any], float] = {}
        self.overdue: set[asyncio.Task[Any]] = set()
        self.sweeper: asyncio.TimerHandle | None = None
        self.tallies: dict[str, metrics.Tally] = {}
        self.subscriptions: list[Subscription] = []

    async def start(self) -> None:
        """Subscribe in the queue group of the service, where its release answers."""
        runtime = self.runtime
        partitions = runtime.partitions if self.call.partition_by else ()
        for subject in answered(self.call.subject, runtime.release, partitions):
            self.subscriptions.append(
                await runtime.connection.listen(subject, self._arrived, queue=runtime.service.name)
            )

    async def drain(self, grace_s: float) -> None:
        """Take nothing new, finish what was taken, for at most `grace_s` seconds."""
        await asyncio.gather(*(subscription.drain() for subscription in self.subscriptions))
        try:
            async with asyncio.timeout(grace_s):
                await self.rest.wait()
        except TimeoutError:
            self.runtime.log.warning("drain cut short", subject=self.call.subject, busy=self.busy)
        for worker in self.workers:
            worker.cancel()
        await asyncio.gather(*self.workers, return_exceptions=True)

    def _arrived(self, message: Message) -> None:
        """Take a message from the broker, which lets nobody send it but the call's callers.

        A JetStream request names where the server sends what is stored, and the broker asks nobody
        whether that is a call: what was not asked from the inbox of a caller is dropped.
        """
        if caller_of(message.reply) not in self.callers and not self.runtime.shadow:
            self.runtime.log.error("not asked by a caller", subject=self.call.subject)
            return
        self.stats.requests += 1
        self.turn.begin()
        self.admit(message)

    def admit(self, work: "Work") -> None:
        """Give work to a worker, let it wait, or answer at once that there is no room."""
        while self.idle:
            waiting = self.idle.pop()
            if not waiting.done():
                waiting.set_result(work)
                self._taken()
                return
        if len(self.workers) < self.call.workers:
            self._taken()
            worker = asyncio.create_task(self._work(work))
            self.workers.add(worker)
            worker.add_done_callback(self.workers.discard)
        elif self.queued < self.queue_max:
            self.queued += self._room(work)
            self.queue.append(work)
        else:
            calls = self._calls(work)
            self.stats.shed += calls
            self.stats.requests += calls - 1
            self._fail(work, no_room(), calls)

    def interrupted(self, each: Each) -> None:
        """Go on with this before anything else that waits: there was room for it."""
        self.queued += each.left()
        self.queue.appendleft(each)

    def _room(self, work: "Work") -> int:
        """Return how many calls of the queue's room this takes: what is served as a list, one."""
        return 1 if self.many is not None else self._calls(work)

    def _calls(self, work: "Work") -> int:
        """Return how many calls this is, as far as what came with it can be believed."""
        if isinstance(work, Each):
            return work.left()
        if isinstance(work, Part) or not work.headers:
            return 1
        told = work.headers.get(BATCH_HEADER, "")
        return max(1, min(int(told), self.queue_max)) if told.isascii() and told.isdigit() else 1

    def _fail(self, work: "Work", failure: Exception, calls: int) -> None:
        if isinstance(work, Part | Each):
            work.refuse(failure)
            return
        try:
            self.refuse(work, failure, caller_of(work.reply), calls)
        except NatsError as away:
            self.silent(away)

    def _taken(self) -> None:
        self.busy += 1
        self.rest.clear()

    async def _work(self, work: "Work") -> None:
        """Do one work after the other; a worker with nothing to do waits for the next."""
        loop, task = asyncio.get_running_loop(), self._own_task()
        queue, turn = self.queue, self.turn
        while True:
            began = time.perf_counter_ns()
            if began > turn.until_ns:
                await turn.over()
            try:
                await self._serve(work, task)
            except NatsError as failure:
                self.silent(failure)
            except Exception as bug:
                self.runtime.log.exception("cannot answer", subject=self.call.subject)
                self._fail(work, bug, self._calls(work))
            finally:
                self.stats.processing_ns += time.perf_counter_ns() - began
                if not queue:
                    self._done()
            if queue:
                work = queue.popleft()
                self.queued -= self._room(work)
                continue
            waiting: asyncio.Future[Work] = loop.create_future()
            self.idle.append(waiting)
            work = await waiting

    def encoded(self, answer: Any) -> bytes:
        """Return a reply, or replies, as they travel.

        Raises TypeError, ValueError or MsgspecError for what has no form, or is too much for a
        message: whoever asked is told so, where silence would cost the whole deadline.
        """
        body = encode(answer)
        if len(body) > self.runtime.connection.answer_max:
            raise ValueError(f"a reply of {len(body):,} bytes is more than the broker takes")
        return body

    def silent(self, failure: NatsError) -> None:
        """Note that an answer cannot leave: the caller hears nothing and asks again."""
        self.runtime.log.warning("no answer", subject=self.call.subject, cause=str(failure))

    def _own_task(self) -> "asyncio.Task[Any]":
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("endpoints work in tasks")
        return task

    def _done(self) -> None:
        self.busy -= 1
        if not self.busy:
            self.rest.set()

    async def _serve(self, work: "Work", task: "asyncio.Task[Any]") -> None:
        if isinstance(work, Part | Each):
            await work.serve(task)
            return
        message, sender = work, sender_of(work)
        batch = message.headers is not None and BATCH_HEADER in message.headers
        if self.many is not None:
            await self.many.serve(message, sender, batch=batch)
            return
        if batch:
            try:
                sent = self.batches.read(message.data)
            except Invalid as failure:
                self.refuse(message, failure, sender.caller)
                return
            self.stats.requests += len(sent) - 1
            await Each(self, message, sent, sender.caller).serve(task)
            return
        answer = await self._answer(message.data, sender, task)
        if answer is LATE:
            return
        body, headers = b"", None
        if isinstance(answer, Exception):
            body, headers = error_reply(answer)
        else:
            body = self.encoded(answer)
            self.count("ok", sender.caller)
        if message.reply:
            self.runtime.connection.send(message.reply, body, "", headers)

    async def answer_one(self, one: Sent[Any], caller: str, task: "asyncio.Task[Any]") -> Any:
        """Return the reply of a call that came with others, its failure, or LATE."""
        if type(one.request) is Invalid:
            return self.failed(one.request, caller)
        sender = Sender(caller, one.deadline_ms / 1000, one.correlation_id, one.traceparent)
        return await self._answer(one.request, sender, task)

    async def _answer(self, request: Any, sender: Sender, task: "asyncio.Task[Any]") -> Any:
        """Return the reply of one call, its failure (which is counted), or LATE.

        The request may still be encoded; `task` is the one that runs this, which is known where
        workers begin: to ask for it each time is a system call.

        One sweep looks after all deadlines: a timer per call costs as much as a small handler.
        """
        caller, deadline, correlation_id, traceparent = sender
        now = time.time()
        if deadline is None:
            deadline = now + self.call.deadline_ms / 1000
        if deadline <= now:
            self.stats.late += 1
            return LATE
        context = Context(
            self.runtime,
            caller=caller,
            deadline=deadline,
            correlation_id=correlation_id,
            traceparent=traceparent,
        )
        self.running[task] = deadline
        if self.sweeper is None:
            self.sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)
        try:
            if type(request) is bytes:
                request = self.decode(request or b"{}")
            reply = await self.handler(request, context)
        except asyncio.CancelledError:
            if task not in self.overdue:
                raise
            task.uncancel()
            return self.failed(TimedOut("the deadline passed while serving"), caller)
        except Exception as failure:  # noqa: BLE001  # whatever it is, the caller gets an answer
            return self.failed(self._explained(failure, context), caller)
        finally:
            self.overdue.discard(task)
            del self.running[task]
        return reply

    def _explained(self, failure: Exception, context: Context) -> Exception:
        """Return the failure as the caller may hear it; log what is a bug."""
        if isinstance(failure, UNREADABLE):
            return Invalid(str(failure))
        if isinstance(failure, Unavailable):
            # Whatever befell what this service asked, this service answers: try again.
            return Unavailable(failure.detail, failure.retry_after)
        if isinstance(failure, Refused):
            return failure
        if isinstance(failure, TimeoutError):
            return TimedOut(str(failure) or "a time-out while serving")
        context.log.error("handler failed", subject=self.call.subject, exc_info=failure)
        return failure

    def _sweep(self) -> None:
        now = time.time()
        for task, deadline in self.running.items():
            if deadline <= now and task not in self.overdue:
                self.overdue.add(task)
                task.cancel()
        loop = asyncio.get_running_loop()
        self.sweeper = loop.call_later(SWEEP_S, self._sweep) if self.running else None

    def failed(self, failure: Exception, caller: str, calls: int = 1) -> Exception:
        """Count the failure of so many calls and return it."""
        name = name_of(failure)
        self.stats.errors += calls
        self.stats.last_error = name
        self.count(name, caller, calls)
        return failure

    def refuse(
        self, message: Message, failure: Exception, caller: str = "", calls: int = 1
    ) -> None:
        """Answer a whole message, of so many calls, with a failure."""
        self.failed(failure, caller, calls)
        if message.reply:
            body, headers = error_reply(failure)
            self.runtime.connection.send(message.reply, body, "", headers)

    def count(self, outcome: str, caller: str, calls: int = 1) -> None:
        """Count calls that ended alike."""
        outcomes = self.stats.outcomes
        outcomes[outcome] = outcomes.get(outcome, 0) + calls
        tally = self.tallies.get(caller)
        if tally is None:
            call = self.call
            tally = self.tallies[caller] = metrics.tally(
                metrics.SERVED, call.service, call.verb, caller
            )
        tally.count(outcome, calls)
