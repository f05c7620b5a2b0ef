"""SQL of withdrawals."""

from datetime import datetime
from typing import Any

import msgspec
from asyncpg import Record
from msgspec import Struct

from svc.mesh.database import Tx
from svc.payment.contract import WithdrawalStatus

COLUMNS = """
    withdrawal_id, user_id, request_hash, amount, currency, method, hold_id, hold_transfer_id,
    capture_transfer_id, release_transfer_id, return_transfer_id, state, provider_id, reason,
    answered_status, refusal, created_at, tries
"""


class WithdrawalRow(Struct, frozen=True, kw_only=True):
    """A withdrawal as it is stored; money in minor units, an id for every call of the wallet."""

    withdrawal_id: str
    user_id: str
    request_hash: bytes
    amount: int
    currency: str
    method: str
    hold_id: str
    hold_transfer_id: str
    capture_transfer_id: str
    release_transfer_id: str
    return_transfer_id: str
    state: str
    provider_id: str | None
    reason: str | None
    answered_status: WithdrawalStatus | None
    refusal: dict[str, object] | None
    created_at: datetime
    tries: int


def _row(row: Record) -> WithdrawalRow:
    refusal: str | None = row["refusal"]
    return WithdrawalRow(
        withdrawal_id=str(row["withdrawal_id"]),
        user_id=str(row["user_id"]),
        request_hash=row["request_hash"],
        amount=row["amount"],
        currency=row["currency"],
        method=row["method"],
        hold_id=str(row["hold_id"]),
        hold_transfer_id=str(row["hold_transfer_id"]),
        capture_transfer_id=str(row["capture_transfer_id"]),
        release_transfer_id=str(row["release_transfer_id"]),
        return_transfer_id=str(row["return_transfer_id"]),
        state=row["state"],
        provider_id=row["provider_id"],
        reason=row["reason"],
        answered_status=row["answered_status"],
        refusal=msgspec.json.decode(refusal, type=dict[str, Any]) if refusal else None,
        created_at=row["created_at"],
        tries=row["tries"],
    )


async def insert(
    tx: Tx, row: WithdrawalRow, idempotency_key: str, next_try_at: datetime
) -> bool:  # fmt: skip
    """Take a withdrawal in; False when the idempotency key is known."""
    return bool(
        await tx.fetchval(
            """
            INSERT INTO withdrawals (
                withdrawal_id, user_id, idempotency_key, request_hash, amount, currency, method,
                hold_id, hold_transfer_id, capture_transfer_id, release_transfer_id,
                return_transfer_id, next_try_at, created_at, updated_at
            ) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $14)
            ON CONFLICT (user_id, idempotency_key) DO NOTHING RETURNING true
            """,
            row.withdrawal_id,
            row.user_id,
            idempotency_key,
            row.request_hash,
            row.amount,
            row.currency,
            row.method,
            row.hold_id,
            row.hold_transfer_id,
            row.capture_transfer_id,
            row.release_transfer_id,
            row.return_transfer_id,
            next_try_at,
            row.created_at,
        )
    )


async def by_key(tx: Tx, user_id: str, idempotency_key: str) -> WithdrawalRow | None:
    """Return the withdrawal of an idempotency key."""
    row = await tx.fetchrow(
        f"SELECT {COLUMNS} FROM withdrawals WHERE user_id = $1 AND idempotency_key = $2",  # noqa: S608 -- constants
        user_id,
        idempotency_key,
    )
    return _row(row) if row else None


async def find(tx: Tx, withdrawal_id: str) -> WithdrawalRow | None:
    """Return a withdrawal."""
    row = await tx.fetchrow(
        f"SELECT {COLUMNS} FROM withdrawals WHERE withdrawal_id = $1",  # noqa: S608 -- constants
        withdrawal_id,
    )
    return _row(row) if row else None


async def lock(tx: Tx, withdrawal_id: str) -> WithdrawalRow | None:
    """Return a withdrawal and keep others from changing it."""
    row = await tx.fetchrow(
        f"SELECT {COLUMNS} FROM withdrawals WHERE withdrawal_id = $1 FOR UPDATE",  # noqa: S608 -- constants
        withdrawal_id,
    )
    return _row(row) if row else None


async def id_of(tx: Tx, provider_id: str) -> str | None:
    """Return the withdrawal of a payout at the provider."""
    found = await tx.fetchval(
        "SELECT withdrawal_id FROM withdrawals WHERE provider_id = $1", provider_id
    )
    return str(found) if found else None


async def move(
    tx: Tx,
    withdrawal_id: str,
    from_states: tuple[str, ...],
    state: str,
    now: datetime,
    *,
    provider_id: str | None = None,
    reason: str | None = None,
) -> WithdrawalRow | None:
    """Move on from one of the expected states; None when somebody else moved it already."""
    row = await tx.fetchrow(
        f"""
        UPDATE withdrawals SET state = $3, updated_at = $4, tries = 0, next_try_at = $4,
            provider_id = coalesce(provider_id, $5), reason = coalesce($6, reason)
        WHERE withdrawal_id = $1 AND state = ANY($2)
        RETURNING {COLUMNS}
        """,  # noqa: S608 -- constants
        withdrawal_id,
        list(from_states),
        state,
        now,
        provider_id,
        reason,
    )
    return _row(row) if row else None


async def answer(
    tx: Tx, withdrawal_id: str, status: WithdrawalStatus, refusal: dict[str, object] | None
) -> None:
    """Keep the first answer that was given: the idempotency key gets it for ever."""
    await tx.execute(
        """
        UPDATE withdrawals SET answered_status = $2, refusal = coalesce(refusal, $3)
        WHERE withdrawal_id = $1 AND answered_status IS NULL
        """,
        withdrawal_id,
        status,
        msgspec.json.encode(refusal).decode() if refusal else None,
    )


async def flag(tx: Tx, withdrawal_id: str, flag: str, now: datetime) -> None:
    """Mark a withdrawal for a person to look at; the first cause stays."""
    await tx.execute(
        """
        UPDATE withdrawals SET flag = coalesce(flag, $2), updated_at = $3 WHERE withdrawal_id = $1
        """,
        withdrawal_id,
        flag,
        now,
    )


async def due(tx: Tx, now: datetime, limit: int) -> list[str]:
    """Return unfinished withdrawals whose time to be looked at has come."""
    rows = await tx.fetch(
        """
        SELECT withdrawal_id FROM withdrawals
        WHERE state NOT IN ('paid', 'refused', 'failed', 'cancelled') AND next_try_at <= $1
        ORDER BY next_try_at LIMIT $2
        """,
        now,
        limit,
    )
    return [str(row["withdrawal_id"]) for row in rows]


async def tried(tx: Tx, withdrawal_id: str, next_try_at: datetime) -> None:
    """Count an attempt."""
    await tx.execute(
        "UPDATE withdrawals SET tries = tries + 1, next_try_at = $2 WHERE withdrawal_id = $1",
        withdrawal_id,
        next_try_at,
    )
