"""The outbox relay: publishes committed events, in order, each at least once and stored once.

It runs right after each commit, soon again while commits go on, and once a second for what a crash
left behind. An advisory lock makes the relays of several instances take turns, so the order of rows
is the order in the stream; `Nats-Msg-Id` lets the stream drop what was sent twice. A round
is three statements on a connection of its own: the lock, the rows, and both let go of again.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import asyncpg
from nats.errors import Error as NatsError

from svc.mesh import metrics
from svc.mesh.database import LOST
from svc.mesh.errors import TimedOut, Unavailable
from svc.mesh.parcels import Parcel, unpacked

if TYPE_CHECKING:
    from svc.mesh.runtime import Runtime

BATCH = 500
"""Rows of one round, and messages that are published at once."""
EVENTS_MAX = 4_096
"""Events of one round, about: a row may carry many."""
BUSY_CALLS = 25
"""Calls answered since the last events left that make a service busy."""
BUSY_AT_ONCE = 50
BUSY_PAUSE_S = 0.01
"""A busy service answers first: at most 5,000 messages a second leave meanwhile, …"""
BEHIND_S_MAX = 1.0
"""… until the oldest has waited so long; then events go as fast as they can."""
ROUND_S = 0.01
"""A round begins so long after the one before at the earliest: commits in between share it."""
BUSY_ROUNDS_APART = 5
"""A busy service begins a round after so many times what the last one took: each has more then."""
BUSY_ROUND_S_MAX = 0.1
"""But no longer: what it took may have been a broker that did not answer."""
FEW = 4
"""So many messages are published one by one: fast ingest would cost more."""
SWEEP_S = 1.0
CLOSE_S = 2.0
RELAY_LOCK = 7_201_001
"""The advisory lock of the relay, one per database."""
KEPT_MAX = 20_000
"""Events of what was just committed that are kept in memory until they have been published."""
TAKE = """
    SELECT position, event_id, subject, events,
        extract(epoch FROM now() - created_at)::float8 AS waited
    FROM (
        SELECT *, sum(coalesce(events, 1)) OVER (ORDER BY position) AS total
        FROM (SELECT * FROM mesh_outbox ORDER BY position LIMIT $1) AS ahead
    ) AS taken
    WHERE total - coalesce(events, 1) < $2 ORDER BY position
"""
READ = """
    SELECT position, event_id, subject, body, events FROM mesh_outbox
    WHERE position = ANY($1::bigint[])
"""
DROP = """
    WITH dropped AS (DELETE FROM mesh_outbox WHERE position = ANY($1::bigint[]))
    SELECT pg_advisory_unlock_all()
"""


LAZY = {"synchronous_commit": "off"}
"""Rows that come back after a crash are published once more, under the same ids."""
Make = Callable[[], Sequence[Parcel]]
"""Makes the messages of a row of the outbox."""


class Relay:
    """Publishes the outbox rows of one service."""

    def __init__(self, runtime: "Runtime") -> None:
        """Prepare; `start` begins to sweep."""
        self.runtime = runtime
        self.wake = asyncio.Event()
        self.stopping = False
        self.task: asyncio.Task[None] | None = None
        self.answered = 0
        self.busy = False
        self.connection: Any = None
        self.kept: dict[str, tuple[Make, int]] = {}
        self.kept_events = 0

    def committed(self) -> None:
        """Say that there are new rows."""
        self.wake.set()

    def keep(self, row_id: str, make: Make, events: int) -> None:
        """Keep what makes the messages of a row that was just committed, so that nobody reads it.

        What finds no room is made from what is stored, as after a crash.
        """
        self.kept[row_id] = make, events
        self.kept_events += events
        while self.kept_events > KEPT_MAX:
            self._taken(next(iter(self.kept)))

    async def start(self) -> None:
        """Begin to sweep."""
        self.task = asyncio.create_task(self._run())

    async def restart(self) -> None:
        """Begin to sweep again after a drain."""
        self.stopping = False
        await self.start()

    async def drain(self) -> None:
        """Publish what is there, then stop; draining twice is the same as once."""
        self.stopping = True
        self.wake.set()
        if self.task is not None:
            await self.task

    async def _run(self) -> None:
        while True:
            stopping = self.stopping
            self.wake.clear()
            began = time.monotonic()
            try:
                while await self._publish_some():
                    pass
            except Exception as failure:  # noqa: BLE001  # whatever it was, the relay goes on
                self._failed(failure)
                if not stopping:
                    await asyncio.sleep(0.2)
            if stopping:
                await self._disconnect()
                return
            took = time.monotonic() - began
            if not await self._woken():
                continue
            pause = min(took * BUSY_ROUNDS_APART, BUSY_ROUND_S_MAX) if self.busy else 0.0
            pause = max(ROUND_S, pause)
            await asyncio.sleep(max(0.0, began + pause - time.monotonic()))

    async def _woken(self) -> bool:
        """Wait for a commit, but not for ever: a crash may have left something behind."""
        try:
            async with asyncio.timeout(SWEEP_S):
                return await self.wake.wait()
        except TimeoutError:
            return False

    def _failed(self, failure: Exception) -> None:
        """Tell of a round that failed: the next one takes the same rows again.

        Whatever it was: a relay that ends here would publish nothing for ever.
        """
        if self.connection is not None:
            self.connection.terminate()
            self.connection = None
        metrics.OUTBOX_FAILURES.labels(self.runtime.service.name).inc()
        known = (NatsError, Unavailable, TimedOut, TimeoutError, OSError, *LOST)
        if isinstance(failure, (*known, asyncpg.InterfaceError)):
            self.runtime.log.warning("outbox waits", cause=f"{type(failure).__name__}: {failure}")
        else:
            self.runtime.log.error("outbox failed", exc_info=failure)

    async def _disconnect(self) -> None:
        connection, self.connection = self.connection, None
        if connection is None:
            return
        try:
            await connection.close(timeout=CLOSE_S)
        except (TimeoutError, *LOST, asyncpg.InterfaceError) as failure:
            self.runtime.log.warning("the outbox's connection did not end well", cause=str(failure))

    async def _publish_some(self) -> bool:
        """Publish some rows and delete them; returns whether there may be more."""
        if self.connection is None or self.connection.is_closed():
            self.connection = await self.runtime.own_database().connection(LAZY)
        await self.connection.fetchval("SELECT pg_advisory_lock($1)", RELAY_LOCK)
        rows = await self.connection.fetch(TAKE, BATCH, EVENTS_MAX)
        if not rows:
            await self.connection.fetchval("SELECT pg_advisory_unlock_all()")
            return False
        parcels = await self._parcels(rows)
        full = len(rows) >= BATCH or sum(parcel.events for parcel in parcels) >= EVENTS_MAX
        patient = rows[0]["waited"] < BEHIND_S_MAX
        while parcels:
            self.busy = busy = patient and self._busy()
            count = BUSY_AT_ONCE if busy else BATCH
            some, parcels = parcels[:count], parcels[count:]
            await self._publish(some)
            if busy and parcels:
                await asyncio.sleep(BUSY_PAUSE_S)
        await self.connection.fetch(DROP, [row["position"] for row in rows])
        return full

    async def _parcels(self, rows: Sequence[Any]) -> list[Parcel]:
        """Return the messages of these rows, in order; what is not in memory is read."""
        kept = [self._taken(str(row["event_id"])) for row in rows]
        unread = [row["position"] for row, known in zip(rows, kept, strict=True) if known is None]
        stored: dict[int, Any] = {}
        if unread:
            found = await self.connection.fetch(READ, unread)
            stored = {row["position"]: row for row in found}
        parcels: list[Parcel] = []
        for row, known in zip(rows, kept, strict=True):
            if known is not None:
                parcels += known()
                # To make many events takes milliseconds: who calls is served in between.
                await asyncio.sleep(0)
            else:
                parcels += await self._read(row, stored[row["position"]]["body"])
        return parcels

    async def _read(self, row: Any, body: bytes) -> Sequence[Parcel]:
        """Return the messages of a row that nobody kept."""
        subject, row_id = row["subject"], str(row["event_id"])
        if row["events"] is None:
            return [Parcel(subject, body, row_id)]
        retell = self.runtime.service.retells.get(subject)
        if retell is None:
            return unpacked(subject, body)
        return await retell(self.connection, row_id, body)

    def _taken(self, row_id: str) -> Make | None:
        known = self.kept.pop(row_id, None)
        if known is None:
            return None
        make, events = known
        self.kept_events -= events
        return make

    def _busy(self) -> bool:
        """Return whether the service has answered many calls since this was asked last."""
        before = self.answered
        self.answered = sum(endpoint.stats.requests for endpoint in self.runtime.endpoints)
        return not self.stopping and self.answered - before > BUSY_CALLS

    async def _publish(self, parcels: list[Parcel]) -> None:
        """Publish messages and wait until all are stored; their ids make a repetition harmless."""
        runtime = self.runtime
        for _, some in groupby(parcels, attrgetter("stream")):
            of_stream = list(some)
            if len(of_stream) <= FEW:
                await runtime.publish_all(of_stream)
            else:
                await runtime.ingest.publish(of_stream)
        counts: Counter[str] = Counter()
        for parcel in parcels:
            counts[parcel.subject] += parcel.events
        for subject, count in counts.items():
            metrics.published(runtime.service.name, subject).inc(count)
