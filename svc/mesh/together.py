"""Events that wait at the same time share a transaction: one commit, and an inbox row for each.

The handlers run one after the other and know nothing of it. When one fails, nothing of the batch
has happened: that event goes the way of failed events, all others are worked on one by one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import asyncpg
import msgspec

from svc.mesh import rebuild
from svc.mesh.context import Context
from svc.mesh.database import Tx
from svc.mesh.envelope import CloudEvent
from svc.mesh.errors import Invalid
from svc.mesh.wire import UNREADABLE, decoder

if TYPE_CHECKING:
    from svc.mesh.consumer import Consumer
    from svc.mesh.contract import Event
    from svc.mesh.delivery import Delivery

DataT = TypeVar("DataT", bound=msgspec.Struct)

OVERDUE_S = 0.05
"""A batch that takes so long commits what it has: its locks must not hold up others."""
QUARRELS = (
    asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
)
"""Batches that want the same rows in another order: alone, the same events may not meet at all."""
NOBODYS = (*QUARRELS, ConnectionError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError)
"""What a handler may raise without being the cause of it."""
TAKE_IN = """
    WITH patience AS (SELECT set_config('lock_timeout', '200ms', true))
    INSERT INTO mesh_inbox (event_id, type, publisher)
    SELECT heard.* FROM patience, unnest($1::uuid[], $2::text[], $3::text[]) AS heard
    ON CONFLICT (event_id) DO NOTHING RETURNING event_id
"""
"""A batch waits for a lock for so long: it holds others, and alone its events wait as usual."""
GIVE_BACK = "DELETE FROM mesh_inbox WHERE event_id = ANY($1::uuid[])"
PUBLISH = """
    INSERT INTO mesh_outbox (event_id, subject, body)
    SELECT event_id, subject, body
    FROM unnest($1::uuid[], $2::text[], $3::bytea[]) WITH ORDINALITY
        AS told (event_id, subject, body, place)
    ORDER BY place
"""


class Shared(Tx):
    """One handler's part of a transaction; knows how long the database took for it.

    With `outbox` events are gathered there, to be written with those of all others.
    """

    def __init__(
        self,
        connection: Any,
        context: Context,
        outbox: list[tuple[str, str, bytes]] | None = None,
    ) -> None:
        """Work on a connection on which a transaction is open."""
        super().__init__(connection, context)
        self.outbox = outbox
        self.database_s = 0.0

    async def execute(self, query: str, *arguments: object) -> str:
        """Run a statement; return its command tag."""
        began = time.perf_counter()
        found = await self.connection.execute(query, *arguments)
        self.database_s += time.perf_counter() - began
        return found

    async def executemany(self, query: str, arguments: Sequence[Sequence[object]]) -> None:
        """Run a statement once per row of arguments."""
        began = time.perf_counter()
        await self.connection.executemany(query, arguments)
        self.database_s += time.perf_counter() - began

    async def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """Return all rows."""
        began = time.perf_counter()
        found = await self.connection.fetch(query, *arguments)
        self.database_s += time.perf_counter() - began
        return found

    async def fetchrow(self, query: str, *arguments: object) -> asyncpg.Record | None:
        """Return the first row, or None."""
        began = time.perf_counter()
        found = await self.connection.fetchrow(query, *arguments)
        self.database_s += time.perf_counter() - began
        return found

    async def fetchval(self, query: str, *arguments: object) -> Any:
        """Return the first column of the first row, or None."""
        began = time.perf_counter()
        found = await self.connection.fetchval(query, *arguments)
        self.database_s += time.perf_counter() - began
        return found

    async def publish(
        self, event: Event[DataT], data: DataT, *, subject: str, event_id: str | None = None
    ) -> str:
        """Write an event to the outbox, or gather it, and return its id."""
        if self.outbox is None:
            began = time.perf_counter()
            told = await super().publish(event, data, subject=subject, event_id=event_id)
            self.database_s += time.perf_counter() - began
            return told
        envelope = self.context.envelope(event, data, subject=subject, event_id=event_id)
        self.outbox.append((envelope.id, event.subject, msgspec.json.encode(envelope)))
        self.pending_events += 1
        return envelope.id


class Spoilt(Exception):
    """One event of a batch failed; nothing of the batch has happened."""

    def __init__(self, delivery: Delivery, failure: Exception) -> None:
        """Keep whose failure it is."""
        super().__init__(str(failure))
        self.delivery = delivery
        self.failure = failure


class Batch:
    """Events of one stream that share a transaction; `outcomes` and `rest` tell how it ended."""

    def __init__(self, consumer: Consumer, deliveries: list[Delivery]) -> None:
        """Take these, in order."""
        self.consumer = consumer
        self.deliveries = deliveries
        self.outcomes: list[tuple[Delivery, str, CloudEvent[Any] | None]] = []
        self.rest: list[Delivery] = []
        self.outbox: list[tuple[str, str, bytes]] = []
        self.took_s = 0.0
        """How long the handlers took; the commit costs the same for few as for many."""

    async def work(self) -> None:
        """Bring all to their effect, or none; what there was no time for is the `rest`.

        Raises Spoilt with the event whose handler failed, or what else made the batch impossible.
        """
        concerning: list[tuple[Delivery, CloudEvent[Any]]] = []
        for delivery in self.deliveries:
            try:
                event = self._read(delivery)
            except Invalid as failure:
                raise Spoilt(delivery, failure) from failure
            if event is None:
                self.outcomes.append((delivery, "ignored", None))
            else:
                concerning.append((delivery, event))
        if concerning:
            context = self.consumer.context_of(concerning[0][1])
            async with context.transaction() as tx:
                await self._effects(tx, concerning)

    def _read(self, delivery: Delivery) -> CloudEvent[Any] | None:
        """Return the event, or None when it does not concern the service. Raises Invalid."""
        hear = self.consumer.hears[delivery.kind]
        try:
            event = decoder(CloudEvent[hear.event.data]).decode(delivery.data)
        except UNREADABLE as failure:
            raise Invalid(f"not a {delivery.kind}: {failure}") from failure
        return None if hear.only is not None and not hear.only(event.data) else event

    async def _effects(self, tx: Tx, concerning: list[tuple[Delivery, CloudEvent[Any]]]) -> None:
        began = time.monotonic()
        overdue = began + OVERDUE_S
        fresh = await self._take_in(tx, [event for _, event in concerning])
        again = await self._told_again(tx, concerning)
        for place, (delivery, event) in enumerate(concerning):
            if time.monotonic() > overdue:
                await self._give_back(tx, concerning[place:], fresh[place:])
                break
            outcome = "duplicate"
            if fresh[place]:
                outcome = await self._one(tx, delivery, event, again)
            self.outcomes.append((delivery, outcome, event))
        if self.outbox:
            await tx.execute(PUBLISH, *zip(*self.outbox, strict=True))
        self.took_s = time.monotonic() - began

    async def _take_in(self, tx: Tx, heard: list[CloudEvent[Any]]) -> list[bool]:
        """Write the inbox rows; say of each event whether it had none."""
        rows = await tx.fetch(
            TAKE_IN,
            [event.id for event in heard],
            [event.type for event in heard],
            [event.publisher for event in heard],
        )
        if len(rows) == len(heard):
            return [True] * len(heard)
        new = {row["event_id"] for row in rows}
        fresh: list[bool] = []
        for event in heard:
            event_id = UUID(event.id)
            fresh.append(event_id in new)
            new.discard(event_id)  # the same event twice in a batch
        return fresh

    async def _told_again(
        self, tx: Tx, concerning: list[tuple[Delivery, CloudEvent[Any]]]
    ) -> rebuild.Range | None:
        consumer = self.consumer
        if not rebuild.can_be_rebuilt(consumer.durable):
            return None
        first = min(delivery.sequence for delivery, _ in concerning)
        return await rebuild.range_of(tx, consumer.stream, first)

    async def _give_back(
        self, tx: Tx, late: list[tuple[Delivery, CloudEvent[Any]]], fresh: list[bool]
    ) -> None:
        self.rest = [delivery for delivery, _ in late]
        ids = [event.id for (_, event), new in zip(late, fresh, strict=True) if new]
        await tx.execute(GIVE_BACK, ids)

    async def _one(
        self, tx: Tx, delivery: Delivery, event: CloudEvent[Any], again: rebuild.Range | None
    ) -> str:
        consumer = self.consumer
        context = consumer.context_of(event)
        mine = Shared(tx.connection, context, self.outbox)
        try:
            if again is not None and delivery.sequence <= again.upto:
                return await consumer.tell_again(event, tx, context, again)
            await consumer.share(event, mine, context)
        except NOBODYS:
            raise
        except Exception as failure:
            raise Spoilt(delivery, failure) from failure
        tx.pending_events += mine.pending_events
        tx.after += mine.after
        return "ok"
