"""The SQL of recoveries of single events; their numbers are from the same row as producers'."""

from datetime import datetime

from svc.mesh.database import Tx
from svc.sportsbook.contract_feed import What


async def lock(tx: Tx) -> None:
    """Let one request after the other be held against the provider's limits."""
    await tx.execute("SELECT pg_advisory_xact_lock(hashtext('sportsbook event recovery'))")


async def running(tx: Tx, event_id: str, producer: int, since: datetime) -> dict[What, int]:
    """Return the recoveries of an event that were asked for since an instant and have not ended."""
    rows = await tx.fetch(
        """
        SELECT what, max(recovery_id) AS recovery_id FROM recovery
        WHERE event_id = $1 AND producer = $2 AND asked_at > $3
          AND completed_at IS NULL AND refusal = ''
        GROUP BY what
        """,
        event_id,
        producer,
        since,
    )
    return {row["what"]: row["recovery_id"] for row in rows}


async def asked_since(tx: Tx, since: datetime) -> list[datetime]:
    """Return when recoveries of events were asked for since an instant, those that arrived."""
    rows = await tx.fetch(
        """
        SELECT asked_at FROM recovery
        WHERE event_id IS NOT NULL AND asked_at >= $1 AND refusal <> 'unreachable'
        """,
        since,
    )
    return [row["asked_at"] for row in rows]


async def ask(tx: Tx, event_id: str, producer: int, what: What, now: datetime) -> int:
    """Record a recovery that is about to be asked for; return the number of the request."""
    return await tx.fetchval(
        """
        INSERT INTO recovery (producer, event_id, what, asked_at) VALUES ($1, $2, $3, $4)
        RETURNING recovery_id
        """,
        producer,
        event_id,
        what,
        now,
    )


async def complete(tx: Tx, recovery_id: int, producer: int, now: datetime) -> bool:
    """Record the end of an event's recovery; False when there is none, or it had ended before."""
    return bool(
        await tx.fetchval(
            """
            UPDATE recovery SET completed_at = $3
            WHERE recovery_id = $1 AND producer = $2 AND event_id IS NOT NULL
              AND completed_at IS NULL
            RETURNING true
            """,
            recovery_id,
            producer,
            now,
        )
    )
