"""The outbox relay: publishes committed events, in order, each at least once and stored once.

It runs right after each commit and sweeps once a second for what a crash left behind. An advisory
lock makes the relays of several instances take turns, so the order of rows is the order in the
stream; `Nats-Msg-Id` lets the stream drop what was sent twice.
"""

import asyncio
from typing import TYPE_CHECKING, Any

from nats.errors import Error as NatsError

from svc.mesh import metrics
from svc.mesh.context import Context
from svc.mesh.errors import TimedOut, Unavailable

if TYPE_CHECKING:
    from svc.mesh.runtime import Runtime

BATCH = 500
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
                while await self._publish_some() == BATCH:
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

    async def _publish_some(self) -> int:
        """Publish up to BATCH rows and delete them; returns how many there were."""
        async with self.runtime.own_database().transaction(Context(self.runtime)) as tx:
            if not await tx.fetchval("SELECT EXISTS (SELECT FROM mesh_outbox)"):
                return 0
            await tx.execute("SELECT pg_advisory_xact_lock($1)", RELAY_LOCK)
            rows = await tx.fetch(
                "SELECT position, event_id, subject, body FROM mesh_outbox"
                " ORDER BY position LIMIT $1",
                BATCH,
            )
            await asyncio.gather(*(self._publish(row) for row in rows))
            await tx.execute(
                "DELETE FROM mesh_outbox WHERE position = ANY($1::bigint[])",
                [row["position"] for row in rows],
            )
        return len(rows)

    async def _publish(self, row: Any) -> None:
        await self.runtime.publish_now(row["subject"], row["body"], str(row["event_id"]))
        metrics.PUBLISHED.labels(self.runtime.service.name, row["subject"]).inc()
