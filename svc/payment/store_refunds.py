"""SQL of refunds, of the provider's webhooks, and the counts for operators."""

from datetime import datetime
from typing import Any

import msgspec
from asyncpg import Record
from msgspec import Struct

from svc.mesh.database import Tx
from svc.payment.contract import PendingReport

PROVIDER = "provider"
COLUMNS = """
    refund_id, deposit_id, actor, amount, transfer_id, rollback_transfer_id, state, refusal, tries
"""


class RefundRow(Struct, frozen=True, kw_only=True):
    """A refund as it is stored, in minor units."""

    refund_id: str
    deposit_id: str
    actor: str
    amount: int
    transfer_id: str
    rollback_transfer_id: str
    state: str
    refusal: dict[str, object] | None
    tries: int


def _row(row: Record) -> RefundRow:
    refusal: str | None = row["refusal"]
    return RefundRow(
        refund_id=str(row["refund_id"]),
        deposit_id=str(row["deposit_id"]),
        actor=row["actor"],
        amount=row["amount"],
        transfer_id=str(row["transfer_id"]),
        rollback_transfer_id=str(row["rollback_transfer_id"]),
        state=row["state"],
        refusal=msgspec.json.decode(refusal, type=dict[str, Any]) if refusal else None,
        tries=row["tries"],
    )


async def insert(
    tx: Tx, row: RefundRow, idempotency_key: str, next_try_at: datetime, now: datetime
) -> bool:
    """Take a refund in; False when the key is known or the deposit has a refund of ours."""
    return bool(
        await tx.fetchval(
            """
            INSERT INTO refunds (
                refund_id, deposit_id, actor, idempotency_key, amount, transfer_id,
                rollback_transfer_id, next_try_at, created_at
            ) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
            ON CONFLICT DO NOTHING RETURNING true
            """,
            row.refund_id,
            row.deposit_id,
            row.actor,
            idempotency_key,
            row.amount,
            row.transfer_id,
            row.rollback_transfer_id,
            next_try_at,
            now,
        )
    )


async def by_key(tx: Tx, actor: str, idempotency_key: str) -> RefundRow | None:
    """Return the refund of an idempotency key."""
    row = await tx.fetchrow(
        f"SELECT {COLUMNS} FROM refunds WHERE actor = $1 AND idempotency_key = $2",  # noqa: S608 -- constants
        actor,
        idempotency_key,
    )
    return _row(row) if row else None


async def find(tx: Tx, refund_id: str) -> RefundRow | None:
    """Return a refund."""
    row = await tx.fetchrow(f"SELECT {COLUMNS} FROM refunds WHERE refund_id = $1", refund_id)  # noqa: S608 -- constants
    return _row(row) if row else None


async def known_of(tx: Tx, deposit_id: str) -> int:
    """Return how much of a deposit is given back as far as we know, in minor units."""
    return int(
        await tx.fetchval(
            """
            SELECT coalesce(sum(amount), 0) FROM refunds
            WHERE deposit_id = $1 AND state NOT IN ('refused', 'undoing')
            """,
            deposit_id,
        )
    )


async def move(
    tx: Tx,
    refund_id: str,
    from_state: str,
    state: str,
    now: datetime,
    *,
    provider_id: str | None = None,
    refusal: dict[str, object] | None = None,
) -> bool:
    """Move on from the expected state; False when somebody else moved it already."""
    return bool(
        await tx.fetchval(
            """
            UPDATE refunds SET state = $3, provider_id = coalesce($4, provider_id), tries = 0,
                next_try_at = $6, refusal = coalesce(refusal, $5)
            WHERE refund_id = $1 AND state = $2 RETURNING true
            """,
            refund_id,
            from_state,
            state,
            provider_id,
            msgspec.json.encode(refusal).decode() if refusal else None,
            now,
        )
    )


async def due(tx: Tx, now: datetime, limit: int) -> list[str]:
    """Return unfinished refunds whose time to be looked at has come."""
    rows = await tx.fetch(
        """
        SELECT refund_id FROM refunds
        WHERE state IN ('requested', 'deducted', 'undoing') AND next_try_at <= $1
        ORDER BY next_try_at LIMIT $2
        """,
        now,
        limit,
    )
    return [str(row["refund_id"]) for row in rows]


async def tried(tx: Tx, refund_id: str, next_try_at: datetime) -> None:
    """Count an attempt."""
    await tx.execute(
        "UPDATE refunds SET tries = tries + 1, next_try_at = $2 WHERE refund_id = $1",
        refund_id,
        next_try_at,
    )


async def keep_webhook(tx: Tx, head: tuple[str, str, str], body: bytes) -> bool:
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
        )
        SELECT
            count(*) FILTER (WHERE kind = 'deposit') AS deposits,
            count(*) FILTER (WHERE kind = 'withdrawal') AS withdrawals,
            count(*) FILTER (WHERE kind = 'refund') AS refunds,
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
    )
