"""The outbox relay: publishes committed events, in order, each at least once and stored once.

It runs right after each commit and sweeps once a second for what a crash left behind. An advisory
lock makes the relays of several instances take turns, so the order of rows is the order in the
stream; `Nats-Msg-Id` lets the stream drop what was sent twice.
"""

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec
from nats.errors import Error as NatsError

from svc.mesh import metrics
from svc.mesh.context import Context
from svc.mesh.errors import TimedOut, Unavailable

if TYPE_CHECKING:
    from svc.mesh.runtime import Runtime

BATCH = 500
"""Rows of one round, and about as many events: a row may carry many."""
AT_ONCE = 100
"""Events on their way to the stream at once, so that the service gets its turns too."""
BUSY_CALLS = 25
"""Calls answered since the last events left that make a service busy."""
BUSY_AT_ONCE = 20
BUSY_PAUSE_S = 0.01
"""A busy service answers first: at most 2,000 events a second leave meanwhile, …"""
BEHIND_S_MAX = 1.0
"""… until the oldest has waited so long; then events go as fast as they can."""
SWEEP_S = 1.0
RELAY_LOCK = 7_201_001
"""The advisory lock of the relay, one per database."""


class Relay:
    """Publishes the outbox rows of one service."""

    def __init__(self, runtime: "Runtime") -> None:
        """Prepare; `start` begins to sweep."""
        self.runtime = runtime
        self.wake = asyncio.Event()
        self.stopping = False
        self.task: asyncio.Task[None] | None = None
        self.answered = 0

    def committed(self) -> None:
        """Say that there are new rows."""
        self.wake.set()

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
            try:
                while await self._publish_some():
                    pass
            except (NatsError, Unavailable, TimedOut, TimeoutError, OSError) as failure:
                metrics.OUTBOX_FAILURES.labels(self.runtime.service.name).inc()
                self.runtime.log.warning(
                    "outbox waits", cause=f"{type(failure).__name__}: {failure}"
                )
                if not stopping:
                    await asyncio.sleep(0.2)
            except Exception:
                # Whatever it was: a relay that ends here would publish nothing for ever.
                metrics.OUTBOX_FAILURES.labels(self.runtime.service.name).inc()
                self.runtime.log.exception("outbox failed")
                if not stopping:
                    await asyncio.sleep(SWEEP_S)
            if stopping:
                return
            try:
                async with asyncio.timeout(SWEEP_S):
                    await self.wake.wait()
            except TimeoutError:
                continue

    async def _publish_some(self) -> bool:
        """Publish some rows and delete them; returns whether there may be more."""
        async with self.runtime.own_database().transaction(Context(self.runtime)) as tx:
            if not await tx.fetchval("SELECT EXISTS (SELECT FROM mesh_outbox)"):
                return False
            await tx.execute("SELECT pg_advisory_xact_lock($1)", RELAY_LOCK)
            rows = await tx.fetch(
                "SELECT position, event_id, subject, body, events, now() - created_at AS waited"
                " FROM (SELECT *, sum(coalesce(events, 1)) OVER (ORDER BY position) AS total FROM"
                " (SELECT * FROM mesh_outbox ORDER BY position LIMIT $1) AS ahead) AS taken"
                " WHERE total - coalesce(events, 1) < $1 ORDER BY position",
                BATCH,
            )
            events = [event for row in rows for event in events_of(row)]
            full = len(events) >= BATCH
            patient = bool(rows) and rows[0]["waited"].total_seconds() < BEHIND_S_MAX
            while events:
                busy = patient and self._busy()
                count = BUSY_AT_ONCE if busy else AT_ONCE
                some, events = events[:count], events[count:]
                await self._publish(some)
                if busy:
                    await asyncio.sleep(BUSY_PAUSE_S)
            await tx.execute(
                "DELETE FROM mesh_outbox WHERE position = ANY($1::bigint[])",
                [row["position"] for row in rows],
            )
        return full

    def _busy(self) -> bool:
        """Return whether the service has answered many calls since this was asked last."""
        before = self.answered
        self.answered = sum(endpoint.stats.requests for endpoint in self.runtime.endpoints)
        return not self.stopping and self.answered - before > BUSY_CALLS

    async def _publish(self, events: list[tuple[str, bytes, str]]) -> None:
        """Publish events and wait until all are stored; each id makes a repetition harmless."""
        await self.runtime.publish_all(events)
        for subject, _, _ in events:
            metrics.published(self.runtime.service.name, subject).inc()


def events_of(row: Any) -> Iterator[tuple[str, bytes, str]]:
    """Yield subject, body and id of each event that a row of the outbox carries."""
    if row["events"] is None:
        yield row["subject"], row["body"], str(row["event_id"])
        return
    for event_id, body in msgspec.msgpack.decode(row["body"], type=list[tuple[str, bytes]]):
        yield row["subject"], body, event_id
