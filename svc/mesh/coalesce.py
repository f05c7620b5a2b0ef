"""Coalescing: concurrent calls of one subject travel as one message, without any timer.

What is asked in one turn of the event loop leaves together at its end, so a lone call goes out at
once. Each call keeps its own answer, refusal, deadline and trace; requests and answers are encoded
and decoded by the message. How many share one depends on who answers them:

- A handler of one call: a few, so that the broker still divides them among all instances, and each
  call is answered when it is done, with those that are done at the same time.
- A handler that takes lists (a batchable call): what is asked shares two messages of about the same
  size, so that the callee always has one at hand. The first leaves at once, so no call waits for
  company where there is none; under load the second leaves with half of the calls that were lately
  under way, or with the first one's answer: many small messages would cost more than they save. Of
  calls that are divided each partition has one message on its way. Should it be lost, the sweep of
  deadlines lets another leave.
"""

import asyncio
import time
from collections import deque
from collections.abc import Collection, Iterable
from functools import partial
from math import ceil
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
from svc.mesh.sharing import BATCHES, COMPANY, DIVIDED, PEAK_KEPT
from svc.mesh.wire import (
    BATCH_HEADER,
    BODY_MAX,
    PLACES_HEADER,
    Answered,
    are_safe,
    check_answer,
    decoder,
    encode,
    found_nobody,
    places_of,
    reply_suffix,
    safe,
)

if TYPE_CHECKING:
    from svc.mesh.caller import Caller
    from svc.mesh.connection import Message
    from svc.mesh.context import Context
    from svc.mesh.edge import Edge


PATIENCE_S = 0.05
"""What waits to be a share, or for an answer, waits so long at most: a message may be lost."""
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


def is_word(answered: Answered[Any]) -> bool:
    """Say whether an answer tells that its callee is well: that it was too late does not."""
    if answered.problem is None:
        return answered.reply is not None
    return answered.problem.get("status") != TimedOut.status


class Flight:
    """One message of many calls on its way; `rest` are those without an answer, by their place."""

    __slots__ = ("batch", "rest", "subject")

    def __init__(self, batch: list[Waiting], subject: str) -> None:
        """Nothing is answered; `rest` is made when a part of it is."""
        self.batch = batch
        self.subject = subject
        self.rest: dict[int, Waiting] | None = None

    def waiting(self) -> Collection[Waiting]:
        """Return the calls that have no answer."""
        return self.batch if self.rest is None else self.rest.values()

    def take(self, places: list[int]) -> list[Waiting]:
        """Return the calls at these places, answered now; raises KeyError, and none is taken."""
        if self.rest is None:
            self.rest = dict(enumerate(self.batch))
        if not places or len(set(places)) < len(places) or not self.rest.keys() >= set(places):
            raise KeyError(places)
        return [self.rest.pop(place) for place in places]


class Lane:
    """The calls of one subject of one caller, or those of one partition of it."""

    def __init__(
        self,
        caller: "Caller",
        call: Call[Any, Any],
        edge: "Edge",
        subject: str,
        *,
        divided: bool = False,
    ) -> None:
        """Nothing waits; `subject` is where they go: the call's, or if `divided` a partition's."""
        self.caller = caller
        self.call = call
        self.subject = subject
        self.edge = edge
        self.stable = edge.stable
        self.tally = edge.tally
        self.decode = decoder(list[Answered[call.reply]]).decode
        batches = DIVIDED if divided else BATCHES
        self.sharing = batches if call.batchable else COMPANY
        self.queue: deque[Waiting] = deque()
        self.flying: set[Flight] = set()
        self.pausing: list[Waiting] = []
        self.leaving = False
        self.share = self.sharing.least
        self.peak = 0.0

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
        if len(self.flying) < self.sharing.in_flight:
            if len(self.queue) >= self.share:
                self._leave()
            elif not self.leaving and not self._gathers():
                self._leave_soon()
        return future

    def _leave_soon(self) -> None:
        """Send at the end of this turn what is asked in it."""
        self.leaving = True
        self.caller.connection.before_leaving(self._turn_ends)
        self.caller.watch()

    def overdue(self, now: float) -> bool:
        """Fail the calls whose deadline has passed; say whether any still waits."""
        flying = (one for flight in self.flying for one in flight.waiting())
        due = [one for one in (*self.queue, *flying, *self.pausing) if one.deadline <= now]
        for waiting in due:
            if not waiting.future.done():
                failure = TimedOut(f"{self.call.subject} did not answer in time")
                self.edge.failed(failure, waiting.began)
                self._fail(waiting, failure)
        if due:
            # A callee that is silent takes nothing from the queue: it must not grow meanwhile.
            self.queue = deque(one for one in self.queue if not one.future.done())
        if self.queue and time.perf_counter() - self.queue[0].began > PATIENCE_S:
            self._leave(patient=False)
        return bool(self.queue or self.flying or self.pausing)

    def under_way(self) -> int:
        """Return how many calls wait for their answer."""
        return len(self.queue) + sum(len(one.waiting()) for one in self.flying)

    def lanes(self) -> "Iterable[Lane]":
        """Return itself, as calls that are divided return many (svc/mesh/partitions.py)."""
        return (self,)

    def _turn_ends(self) -> None:
        self.leaving = False
        self._leave()

    def _leave(self, *, patient: bool = True) -> None:
        in_flight = self.sharing.in_flight if patient else self.sharing.impatient
        while len(self.flying) < in_flight and self.queue:
            queue = self.queue
            self.share = self._share()
            if patient and self._gathers():
                return
            taken = [queue.popleft() for _ in range(min(len(queue), self.share))]
            batch = [waiting for waiting in taken if not waiting.future.done()]
            if batch:
                self._send(batch, self.subject)

    def _gathers(self) -> bool:
        """Say whether what waits is to become a share first: there are calls enough under way."""
        return self.sharing.least < self.share > len(self.queue) and bool(self.flying)

    def _share(self) -> int:
        """Return how many calls the next message takes: its part of all that wait or are away.

        Or lately did: those that were just answered are about to ask again.
        """
        in_flight, least, most = self.sharing
        if least == most:
            return most
        calls = len(self.queue) + sum([len(one.batch) for one in self.flying])
        self.peak = max(calls, self.peak * PEAK_KEPT)
        return min(max(ceil(self.peak / in_flight), least), most)

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
        flight = Flight(batch, subject)
        try:
            failing = self.caller.send(
                subject, body, deadline, headers, suffix, take=partial(self._answered, flight)
            )
        except NatsError as failure:
            self._fail_all(batch, Unavailable(f"NATS does not take the call: {failure}"))
            return
        self.flying.add(flight)
        failing.add_done_callback(partial(self._silent, flight))

    def _message(self, batch: list[Waiting]) -> tuple[bytes, dict[str, str] | None, str]:
        if len(batch) == 1:
            only = batch[0]
            suffix = reply_suffix(only.deadline, only.correlation_id, only.traceparent)
            if suffix is not None:
                return encode(only.request), None, suffix
        ids = [one.correlation_id for one in batch]
        if not are_safe(ids + [one.traceparent for one in batch]):
            for one in batch:  # ids that are not ours to pass on are left out
                one.correlation_id, one.traceparent = (
                    safe(one.correlation_id),
                    safe(one.traceparent),
                )
        body = encode(
            [
                (int(one.deadline * 1000), one.correlation_id, one.traceparent, one.request)
                for one in batch
            ]
        )
        return body, {BATCH_HEADER: str(len(batch))}, ""

    def _answered(self, flight: Flight, message: "Message") -> bool:
        """Take an answer, of all calls of a message or of some; say whether that was the last."""
        if message.headers and PLACES_HEADER in message.headers:
            return self._partly(flight, message)
        batch = list(flight.waiting())
        self._landed(flight)
        if flight.subject is not self.stable and self.stable and found_nobody(message):
            self._send(batch, self.stable)  # perhaps a canary that is gone
        else:
            self._open(batch, message)
        return True

    def _partly(self, flight: Flight, message: "Message") -> bool:
        """Take the answers of those calls of a message that are done before the others."""
        try:
            batch = flight.take(places_of(message))
        except (KeyError, ValueError):
            self._landed(flight)
            lie = f"{self.call.subject} answered calls that it was not asked, or twice"
            self._all_failed(list(flight.waiting()), RemoteBug(lie))
            return True
        if not flight.rest:
            self._landed(flight)
        self._open(batch, message)
        return not flight.rest

    def _silent(self, flight: Flight, failing: "asyncio.Future[Message]") -> None:
        """Fail what has no answer: the deadline has passed, or the broker refused the subject."""
        self._landed(flight)
        failure = failing.exception()
        if isinstance(failure, Exception):
            self._all_failed(list(flight.waiting()), failure)

    def _landed(self, flight: Flight) -> None:
        """Let those leave that waited for this message to arrive."""
        self.flying.discard(flight)
        self._leave()

    def _open(self, batch: list[Waiting], message: "Message") -> None:
        """Give every call what the message answers it."""
        try:
            if message.headers:
                check_answer(message, self.call)
            answers = self._answers(batch, message)
        except Exception as failure:  # noqa: BLE001  # every caller of the batch hears it
            self._all_failed(batch, failure)
            return
        self._hand_out(batch, answers)

    def _all_failed(self, batch: list[Waiting], failure: Exception) -> None:
        self.edge.failed(failure, batch[0].began)
        for waiting in batch:
            self._failed(waiting, failure)

    def _hand_out(self, batch: list[Waiting], answers: list[Answered[Any]]) -> None:
        edge = self.edge
        took_s: list[float] = []
        failed: list[tuple[Waiting, Exception]] = []
        missed: list[Answered[Any]] = []
        now = time.perf_counter()
        for waiting, answered in zip(batch, answers, strict=True):
            future = waiting.future
            if future.done():
                missed.append(answered)
                continue
            if answered.reply is not None:
                took_s.append(now - waiting.began)
                future.set_result(answered.reply)
            elif answered.problem is not None:
                failed.append((waiting, from_document(answered.problem, self.call.refuses)))
            else:
                late = f"{self.call.subject} came too late to be served"
                failed.append((waiting, TimedOut(late)))
        if took_s:
            self.tally.observe_all("ok", took_s)
        if failed and not took_s:
            self._none_served(failed)
        elif took_s or any(map(is_word, missed)):
            edge.callee.answered = now
            self._recovered()
        for waiting, failure in failed:
            self._failed(waiting, failure)

    def _none_served(self, failed: list[tuple[Waiting, Exception]]) -> None:
        """Note what it says of the callee: a handler of lists fails as a whole, and counts once.

        That it was too late for all of them says as much as silence, which it just missed.
        """
        kinds = [failure for _, failure in failed]
        first = failed[0][0].began
        if not self.call.batchable:
            for waiting, failure in failed:
                self.edge.failed(failure, waiting.began)
        elif all(isinstance(failure, TimedOut) for failure in kinds):
            self.edge.failed(kinds[0], first)
        elif all(isinstance(failure, Unavailable) for failure in kinds):
            self.edge.callee.answered = now = time.perf_counter()
            self.edge.breaker.failed(first, now)
        else:
            self.edge.callee.answered = time.perf_counter()
            self._recovered()

    def _recovered(self) -> None:
        if self.edge.callee.failures or self.edge.breaker.failures:
            self.edge.recovered()

    def _answers(self, batch: list[Waiting], message: "Message") -> list[Answered[Any]]:
        """Return the answers of a batch, one for each; raises RemoteBug for another form."""
        subject = self.call.subject
        try:
            # A call that travelled alone is answered with the plain reply.
            if message.data[:1] == b"{" and len(batch) == 1:
                return [Answered(self.edge.decode(message.data))]
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
