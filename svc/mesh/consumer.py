"""The hearing side: durable pull consumers, an inbox, back-off, and a parking place for the rest.

Consumers are created by deployment, not by services. A service pulls no more events than it can
work on soon, works on events of one aggregate in order, and acknowledges after its commit. What
waits at the same time shares a transaction (together.py) where its handlers are quick; where they
wait for others, events are worked on side by side, each in a transaction of its own.
What cannot be worked on is parked in the dead-letter stream with its cause; nothing is lost
silently.
"""

import asyncio
import time
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import msgspec

from svc.mesh import rebuild
from svc.mesh.context import Context
from svc.mesh.contract import Lane
from svc.mesh.database import Tx
from svc.mesh.delivery import Arrival, Delivery
from svc.mesh.desk import Desk
from svc.mesh.endings import Endings
from svc.mesh.envelope import CloudEvent
from svc.mesh.errors import Forbidden, Invalid
from svc.mesh.pulling import Pulling
from svc.mesh.together import QUARRELS, Batch, Shared, Spoilt
from svc.mesh.waiting import Waiting
from svc.mesh.wire import UNREADABLE, decoder

if TYPE_CHECKING:
    from svc.mesh.connection import Message
    from svc.mesh.runtime import Runtime
    from svc.mesh.service import Hear

SLOTS = {Lane.HIGH: 32, Lane.MEDIUM: 16, Lane.LOW: 8}
"""How many events of a stream one instance works on side by side, by lane."""
ABREAST = {Lane.HIGH: 2, Lane.MEDIUM: 2, Lane.LOW: 1}
"""How many batches of a stream, by lane: while one waits for its commit, another is at work."""
WINDOW = 8
"""So many events per slot are in hand at most, where they are worked on in batches."""
BATCH_S = 0.02
"""How long a batch may take: others want its rows and its place. Until then batches grow."""
BATCH_MIN, BATCH_MAX = 8, 128
SLOW_S = 0.05
"""Batches that take longer no longer count against ABREAST."""
OUTSIDE_S = 0.001
"""Handlers that wait so long for others, and longer than for their transaction's statements, are
worked on side by side."""
APART_S = 30.0
"""After two batches got in each other's way there is one at a time, for so long."""
NOT_PUBLISHED = "nobody who may publish it did: the server was had to store it here"
"""What is said of a foreign message."""
AT_WORK_S = 3.0
"""How often the server is told of events still in hand; well below the consumers' ack_wait."""


def smoothed(before: float, measured: float) -> float:
    """Return a figure that follows what is measured."""
    return before * 0.8 + measured * 0.2


class Consumer:
    """Works on what one service hears from one stream."""

    def __init__(self, runtime: "Runtime", stream: str, hears: "list[Hear[Any]]") -> None:
        """Prepare; `start` begins to pull."""
        self.runtime = runtime
        self.stream = stream
        self.durable = runtime.service.name
        self.hears = {hear.event.type: hear for hear in hears}
        lane = runtime.service.lane_of(hears[0].event)
        self.slots = SLOTS[lane]
        self.abreast = ABREAST[lane]
        self.apart_until = 0.0
        self.endings = Endings(runtime, stream)
        self.held = self.endings.held
        self.waiting = Waiting(self._works_alone)
        self.tasks: dict[asyncio.Task[None], tuple[list[str], list[Delivery]]] = {}
        """What is being worked on, and the keys lent for it."""
        self.batches: dict[asyncio.Task[None], float] = {}
        self.begins: asyncio.Handle | None = None
        self.took_s: dict[str, tuple[float, float]] = {}
        """What handlers take outside their transaction and in it, by type of event."""
        self.room = BATCH_MIN
        self.pulling = Pulling(
            runtime, stream, self.durable, self._delivered, held=self.held, window=self.slots
        )
        self.reporter: asyncio.Task[None] | None = None
        self.desk: Desk | None = None

    async def start(self) -> None:
        """Begin to pull."""
        await self.pulling.start()
        self.reporter = asyncio.create_task(self._report())
        if not self.runtime.consumers:
            # One desk for all consumers of the service; it goes with the first.
            self.desk = Desk(self.runtime)
            await self.desk.start()

    async def drain(self, grace_s: float) -> None:
        """Stop pulling and finish what is being worked on, for at most `grace_s` seconds."""
        if self.desk is not None:
            await self.desk.drain()
        await self.pulling.drain()
        end = time.monotonic() + grace_s
        while self.held and (left := end - time.monotonic()) > 0:
            if self.tasks:
                await asyncio.wait(self.tasks, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(0)  # what ended lets the next begin
        self.slots = 0
        late, unfinished = list(self.tasks), list(self.held)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        for delivery in unfinished:
            self.endings.tell(delivery, delivery.again)
        if self.reporter is not None:
            self.reporter.cancel()
            await asyncio.gather(self.reporter, return_exceptions=True)

    async def _report(self) -> None:
        """Tell the server of events long in hand, so that it gives them to nobody else."""
        while True:
            await asyncio.sleep(AT_WORK_S)
            before = time.monotonic() - AT_WORK_S
            # One word for a message, however many of its events are in hand.
            slow = {one.arrival: one for one in self.held if one.arrival.since <= before}
            for arrival, delivery in slow.items():
                self.endings.tell(delivery, arrival.at_work)

    def _delivered(self, message: "Message") -> None:
        for delivery in Arrival(self.runtime.connection, message).deliveries(message.data):
            self.held[delivery] = None
            if self.waiting.add(delivery):
                # What arrives in one turn of the event loop is worked on together.
                self._begin_soon()

    def _begin_soon(self, delay_s: float = 0.0) -> None:
        if self.begins is None:
            self.begins = asyncio.get_running_loop().call_later(delay_s, self._begin)

    def _begin(self) -> None:
        """Begin as much of what waits as there is room for."""
        self.begins = None
        waiting = self.waiting
        while waiting and len(self.tasks) < self.slots:
            if (delivery := waiting.next_alone()) is not None:
                self._start(self._alone(delivery), [delivery.key], [delivery])
                continue
            now = time.monotonic()
            at_once = 1 if now < self.apart_until else self.abreast
            if sum(now - began < SLOW_S for began in self.batches.values()) >= at_once:
                self._begin_soon(SLOW_S)  # sooner, when one of them ends
                return
            batch, keys = waiting.next_together(self.room)
            self.batches[self._start(self._together(batch), keys, list(batch))] = now

    def _works_alone(self, delivery: Delivery) -> bool:
        """Say whether an event's handler is not known yet, or known to wait for others."""
        if delivery.alone or delivery.arrival.foreign:
            return True
        took = self.took_s.get(delivery.kind)
        if took is None:
            return True
        outside, inside = took
        return outside >= OUTSIDE_S and outside > inside

    def _start(
        self, work: Coroutine[Any, Any, None], keys: list[str], deliveries: list[Delivery]
    ) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self.tasks[task] = keys, deliveries
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: "asyncio.Task[None]") -> None:
        self.batches.pop(task, None)
        keys, deliveries = self.tasks.pop(task)
        self.waiting.give_back(keys)
        if task.cancelled() or task.exception() is not None:
            # A fault of ours, or no time any more: these will come again.
            for delivery in deliveries:
                self.endings.forget(delivery)
            if not task.cancelled():
                self.runtime.log.error("the work on events failed", exc_info=task.exception())
        self.pulling.wake()
        if self.begins is not None:
            self.begins.cancel()
            self.begins = None
        self._begin()

    async def _together(self, deliveries: list[Delivery]) -> None:
        """Work on events in one transaction, or one by one where that does not work."""
        if len(deliveries) == 1:
            await self._alone(deliveries[0])
            return
        batch = Batch(self, deliveries)
        try:
            await batch.work()
        except Spoilt as spoilt:
            await self.endings.failed(spoilt.delivery, spoilt.failure)
            deliveries.remove(spoilt.delivery)
        except Exception as failure:  # noqa: BLE001  # alone, each event meets its own failure
            cause = failure.__cause__ or failure
            if isinstance(cause, QUARRELS):
                self.apart_until = time.monotonic() + APART_S
            self.runtime.log.info("a batch is worked on one by one", cause=repr(cause))
        else:
            for delivery, outcome, event in batch.outcomes:
                self.endings.done(delivery, outcome, event)
            self.waiting.put_back(batch.rest)
            self._grow(batch.took_s)
            return
        for delivery in deliveries:
            delivery.alone = True
        self.waiting.put_back(deliveries)

    def _grow(self, took_s: float) -> None:
        """Let the next batches be larger after a quick one, and smaller after a slow one."""
        self.pulling.window = self.slots * WINDOW
        if took_s < BATCH_S:
            self.room = min(self.room * 2, BATCH_MAX)
        elif took_s > 2 * BATCH_S:
            self.room = max(self.room // 2, BATCH_MIN)

    async def _alone(self, delivery: Delivery) -> None:
        try:
            if delivery.arrival.foreign:
                raise Forbidden(NOT_PUBLISHED)  # noqa: TRY301 -- ends as whatever the handler raises
            outcome = await self.bring(delivery.data, delivery.sequence)
        except Exception as failure:  # noqa: BLE001  # whatever it is, it is this event's failure
            await self.endings.failed(delivery, failure)
        else:
            self.endings.done(delivery, outcome)
        self.pulling.window = self.slots

    async def bring(self, body: bytes, sequence: int) -> str:
        """Bring an event, delivered or replayed, to its effect.

        Returns `ok`, `duplicate` when it had taken effect before, or `ignored`. Raises Invalid for
        what is no such event, else whatever the handler raises.
        """
        try:
            envelope = decoder(CloudEvent[msgspec.Raw]).decode(body)
        except UNREADABLE as failure:
            raise Invalid(f"not a CloudEvent: {failure}") from failure
        hear = self.hears.get(envelope.type)
        if hear is None:
            return "ignored"
        try:
            event = decoder(CloudEvent[hear.event.data]).decode(body)
        except UNREADABLE as failure:
            raise Invalid(f"not a {envelope.type}: {failure}") from failure
        if hear.only is not None and not hear.only(event.data):
            return "ignored"
        outcome = await self._effect(event, self.context_of(event), sequence)
        if outcome == "ok":
            self.endings.observe(event)
        return outcome

    def context_of(self, event: CloudEvent[Any]) -> Context:
        """Return the context of the work on an event."""
        return Context(
            self.runtime,
            caller=event.publisher,
            correlation_id=event.correlationid,
            causation_id=event.id,
            traceparent=event.traceparent,
        )

    async def handle(self, event: CloudEvent[Any], tx: Shared, context: Context) -> None:
        """Let the handler work, and learn how long it waits for anything but its database."""
        began = time.perf_counter()
        await self.runtime.service.event_handlers[event.type](event, tx, context)
        inside = tx.database_s
        outside = time.perf_counter() - began - inside
        before = self.took_s.get(event.type) or (outside, inside)
        self.took_s[event.type] = smoothed(before[0], outside), smoothed(before[1], inside)

    async def share(self, event: CloudEvent[Any], tx: Shared, context: Context) -> None:
        """Let the handler work in a transaction that it shares with others."""
        await self.handle(event, tx, context)

    async def _effect(self, event: CloudEvent[Any], context: Context, sequence: int) -> str:
        service = self.runtime.service
        observer = service.observers.get(event.type)
        if observer is not None:
            await observer(event, context)
            return "ok"
        async with context.transaction() as tx:
            fresh = await tx.fetchval(
                "INSERT INTO mesh_inbox (event_id, type, publisher) VALUES ($1, $2, $3)"
                " ON CONFLICT (event_id) DO NOTHING RETURNING true",
                event.id,
                event.type,
                event.publisher,
            )
            if not fresh:
                return "duplicate"
            if rebuild.can_be_rebuilt(service.name):
                again = await rebuild.range_of(tx, self.stream, sequence)
                if again is not None:
                    return await self.tell_again(event, tx, context, again)
            mine = Shared(tx.connection, context)
            await self.handle(event, mine, context)
            tx.pending_events, tx.after = mine.pending_events, mine.after
        return "ok"

    async def tell_again(
        self, event: CloudEvent[Any], tx: Tx, context: Context, again: rebuild.Range
    ) -> str:
        """Bring an event to its effect for a rebuild, without any effect outside."""
        if event.time < again.since:
            return "ignored"  # what was derived from it was not forgotten
        quiet = rebuild.silent(context)
        handler = self.runtime.service.event_handlers[event.type]
        await handler(event, rebuild.SilentTx(tx.connection, quiet), quiet)
        return "told again"
