"""SQL of the provider's webhooks, and the counts for operators."""

from datetime import datetime

from svc.mesh.database import Tx
from svc.payment.contract_reports import PendingReport


async def keep(tx: Tx, head: tuple[str, str, str], body: bytes) -> bool:
    """Store a webhook (id, type, object) as it came; False when it came before."""
    return bool(
        await tx.fetchval(
            """
            INSERT INTO provider_events (event_id, type, object_id, body, state, received_at)
            VALUES ($1, $2, $3, $4, 'parked', $5) ON CONFLICT (event_id) DO NOTHING RETURNING true
            """,
            *head,
            body,
            tx.context.now(),
        )
    )


async def webhook_is(tx: Tx, event_id: str, state: str) -> None:
    """Keep what became of a webhook."""
    await tx.execute("UPDATE provider_events SET state = $2 WHERE event_id = $1", event_id, state)


async def parked_of(tx: Tx, object_id: str) -> list[bytes]:
    """Return the webhooks of one object that wait for its payment, oldest first."""
    rows = await tx.fetch(
        """
        SELECT body FROM provider_events WHERE state = 'parked' AND object_id = $1
        ORDER BY received_at FOR UPDATE SKIP LOCKED
        """,
        object_id,
    )
    return [row["body"] for row in rows]


async def parked_since(tx: Tx, since: datetime, limit: int) -> list[str]:
    """Return the ids of waiting webhooks that came after an instant, oldest first."""
    rows = await tx.fetch(
        """
        SELECT event_id FROM provider_events
        WHERE state = 'parked' AND received_at > $1 ORDER BY received_at LIMIT $2
        """,
        since,
        limit,
    )
    return [row["event_id"] for row in rows]


async def lock_parked(tx: Tx, event_id: str) -> bytes | None:
    """Return the body of a webhook that still waits, None when somebody else has it."""
    body: bytes | None = await tx.fetchval(
        """
        SELECT body FROM provider_events
        WHERE event_id = $1 AND state = 'parked' FOR UPDATE SKIP LOCKED
        """,
        event_id,
    )
    return body


async def pending(tx: Tx) -> PendingReport:
    """Count what waits and what is flagged."""
    rows = await tx.fetch(
        """
        WITH waiting AS (
            SELECT 'deposit' AS kind, created_at FROM deposits WHERE status = 'pending'
            UNION ALL
            SELECT 'withdrawal', created_at FROM withdrawals
            WHERE state NOT IN ('paid', 'refused', 'failed', 'cancelled')
            UNION ALL
            SELECT 'refund', created_at FROM refunds
            WHERE state IN ('requested', 'deducted', 'undoing')
            UNION ALL
            SELECT 'refund', created_at FROM refund_returns WHERE state = 'crediting'
            UNION ALL
            SELECT 'dispute', created_at FROM disputes
            WHERE outcome = 'open' OR state IN ('debiting', 'crediting')
        )
        SELECT
            count(*) FILTER (WHERE kind = 'deposit') AS deposits,
            count(*) FILTER (WHERE kind = 'withdrawal') AS withdrawals,
            count(*) FILTER (WHERE kind = 'refund') AS refunds,
            count(*) FILTER (WHERE kind = 'dispute') AS disputes,
            min(created_at) AS oldest,
            (SELECT count(*) FROM deposits WHERE flag IS NOT NULL OR confirmation = 'failed')
                + (SELECT count(*) FROM withdrawals WHERE flag IS NOT NULL)
                + (SELECT count(*) FROM refunds WHERE state = 'owed') AS flagged,
            (SELECT count(*) FROM provider_events WHERE state = 'parked') AS parked
        FROM waiting
        """
    )
    row = rows[0]
    return PendingReport(
        deposits=row["deposits"],
        withdrawals=row["withdrawals"],
        refunds=row["refunds"],
        oldest=row["oldest"],
        flagged=row["flagged"],
        parked=row["parked"],
        disputes=row["disputes"],
    )
