"""SQL of deposits."""

from datetime import datetime
from typing import Any

from asyncpg import Record
from msgspec import Struct

from svc.mesh.database import Tx
from svc.payment.contract import PaymentStatus
from svc.payment.store import Table, as_json, from_json

COLUMNS = """
    deposit_id, user_id, request_hash, amount, currency, method, transfer_id, status, provider_id,
    next_action, reason, answered_status, refusal, flag, created_at, tries, received,
    reviewed
"""


class DepositRow(Struct, frozen=True, kw_only=True):
    """A deposit as it is stored; money in minor units.

    `received` is what was captured, None when that is all of `amount`. A `reviewed` one is only
    authorised until an operator captures it.
    """

    deposit_id: str
    user_id: str
    request_hash: bytes
    amount: int
    currency: str
    method: str
    transfer_id: str
    status: PaymentStatus
    provider_id: str | None
    next_action: dict[str, Any] | None
    reason: str | None
    answered_status: PaymentStatus | None
    refusal: dict[str, object] | None
    flag: str | None
    created_at: datetime
    tries: int
    received: int | None = None
    reviewed: bool = False

    @property
    def paid(self) -> int:
        """Return what the provider took of the player, once it has succeeded."""
        return self.amount if self.received is None else self.received


def _row(row: Record) -> DepositRow:
    return DepositRow(
        deposit_id=str(row["deposit_id"]),
        user_id=str(row["user_id"]),
        request_hash=row["request_hash"],
        amount=row["amount"],
        currency=row["currency"],
        method=row["method"],
        transfer_id=str(row["transfer_id"]),
        status=row["status"],
        provider_id=row["provider_id"],
        next_action=from_json(row["next_action"]),
        reason=row["reason"],
        answered_status=row["answered_status"],
        refusal=from_json(row["refusal"]),
        flag=row["flag"],
        created_at=row["created_at"],
        tries=row["tries"],
        received=row["received"],
        reviewed=row["reviewed"],
    )


TABLE = Table("deposits", "deposit_id", "user_id", COLUMNS, _row)
find, lock, by_key, tried = TABLE.find, TABLE.lock, TABLE.by_key, TABLE.tried
answer, flag = TABLE.answer, TABLE.flag


async def insert(
    tx: Tx, row: DepositRow, idempotency_key: str, next_try_at: datetime
) -> None:  # fmt: skip
    """Take a deposit in."""
    await tx.execute(
        """
        INSERT INTO deposits (
            deposit_id, user_id, idempotency_key, request_hash, amount, currency, method,
            transfer_id, reviewed, next_try_at, created_at, updated_at
        ) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11)
        """,
        row.deposit_id,
        row.user_id,
        idempotency_key,
        row.request_hash,
        row.amount,
        row.currency,
        row.method,
        row.transfer_id,
        row.reviewed,
        next_try_at,
        row.created_at,
    )


async def id_of(tx: Tx, provider_id: str) -> tuple[str, str] | None:
    """Return deposit and user of a payment at the provider."""
    row = await tx.fetchrow(
        "SELECT deposit_id, user_id FROM deposits WHERE provider_id = $1", provider_id
    )
    return (str(row["deposit_id"]), str(row["user_id"])) if row else None


async def user_of(tx: Tx, deposit_id: str) -> str | None:
    """Return whose a deposit is."""
    found = await tx.fetchval("SELECT user_id FROM deposits WHERE deposit_id = $1", deposit_id)
    return str(found) if found else None


async def deposited_since(tx: Tx, user_id: str, since: datetime) -> int:
    """Return the gross deposits since an instant, pending ones included, in minor units."""
    return int(
        await tx.fetchval(
            """
            SELECT coalesce(sum(coalesce(received, amount)), 0) FROM deposits
            WHERE user_id = $1 AND created_at > $2 AND status <> 'failed'
            """,
            user_id,
            since,
        )
    )


async def has_succeeded_before(tx: Tx, user_id: str) -> bool:
    """Say whether any deposit of the player ever succeeded."""
    return bool(
        await tx.fetchval(
            "SELECT EXISTS (SELECT 1 FROM deposits WHERE user_id = $1 AND is_first)", user_id
        )
    )


async def know_at_provider(
    tx: Tx, deposit_id: str, provider_id: str, next_action: dict[str, Any] | None, now: datetime
) -> None:
    """Keep the provider's id and what the player must do there."""
    await tx.execute(
        """
        UPDATE deposits SET provider_id = $2, next_action = coalesce($3, next_action),
            updated_at = $4
        WHERE deposit_id = $1
        """,
        deposit_id,
        provider_id,
        as_json(next_action),
        now,
    )


async def climb(
    tx: Tx,
    deposit_id: str,
    status: PaymentStatus,
    now: datetime,
    *,
    reason: str | None = None,
    is_first: bool = False,
    received: int | None = None,
) -> None:
    """Move a locked deposit up to a status; `received` is what was captured, if not all."""
    await tx.execute(
        """
        UPDATE deposits SET status = $2, reason = $3, is_first = is_first OR $4, updated_at = $5,
            received = coalesce(received, $6)
        WHERE deposit_id = $1
        """,
        deposit_id,
        status,
        reason,
        is_first,
        now,
        received,
    )


async def told(tx: Tx, deposit_id: str, event_id: str) -> None:
    """Keep which event told of the success, to recognise its confirmation."""
    await tx.execute("UPDATE deposits SET told_by = $2 WHERE deposit_id = $1", deposit_id, event_id)


async def confirmed(tx: Tx, told_by: str, outcome: str) -> str | None:
    """Keep whether the message about a success arrived; one channel that worked is enough."""
    found = await tx.fetchval(
        """
        UPDATE deposits SET confirmation = $2
        WHERE told_by = $1 AND confirmation IS DISTINCT FROM 'delivered'
        RETURNING deposit_id
        """,
        told_by,
        outcome,
    )
    return str(found) if found else None


async def due(tx: Tx, now: datetime, limit: int) -> list[str]:
    """Return pending deposits whose time to be looked at has come, the longest waiting first."""
    return await TABLE.due(tx, "status = 'pending' AND flag IS NULL", now, limit)
