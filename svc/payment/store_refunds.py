"""SQL of refunds."""

from datetime import datetime

from asyncpg import Record
from msgspec import Struct

from svc.mesh.database import Tx
from svc.payment.store import Table, as_json, from_json

PROVIDER = "provider"
COLUMNS = """
    refund_id, deposit_id, actor, amount, transfer_id, rollback_transfer_id, state, refusal,
    created_at, tries
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
    created_at: datetime
    tries: int


def _row(row: Record) -> RefundRow:
    return RefundRow(
        refund_id=str(row["refund_id"]),
        deposit_id=str(row["deposit_id"]),
        actor=row["actor"],
        amount=row["amount"],
        transfer_id=str(row["transfer_id"]),
        rollback_transfer_id=str(row["rollback_transfer_id"]),
        state=row["state"],
        refusal=from_json(row["refusal"]),
        created_at=row["created_at"],
        tries=row["tries"],
    )


TABLE = Table("refunds", "refund_id", "actor", COLUMNS, _row)
find, by_key, tried = TABLE.find, TABLE.by_key, TABLE.tried


async def insert(tx: Tx, row: RefundRow, idempotency_key: str, next_try_at: datetime) -> bool:
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
            row.created_at,
        )
    )


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


async def ours_is_open(tx: Tx, deposit_id: str) -> bool:
    """Say whether a refund of ours is under way: whether the provider makes it is not known."""
    return bool(
        await tx.fetchval(
            """
            SELECT EXISTS (SELECT 1 FROM refunds WHERE deposit_id = $1 AND actor <> 'provider'
                AND state IN ('requested', 'deducted', 'undoing'))
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
            as_json(refusal),
            now,
        )
    )


async def due(tx: Tx, now: datetime, limit: int) -> list[str]:
    """Return unfinished refunds whose time to be looked at has come."""
    return await TABLE.due(tx, "state IN ('requested', 'deducted', 'undoing')", now, limit)
