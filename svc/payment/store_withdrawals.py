"""SQL of withdrawals."""

from datetime import datetime

from asyncpg import Record
from msgspec import Struct

from svc.mesh.database import Tx
from svc.payment.contract import WithdrawalStatus
from svc.payment.rules import Loop
from svc.payment.store import Table, from_json

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
        refusal=from_json(row["refusal"]),
        created_at=row["created_at"],
        tries=row["tries"],
    )


TABLE = Table("withdrawals", "withdrawal_id", "user_id", COLUMNS, _row)
find, lock, by_key, tried = TABLE.find, TABLE.lock, TABLE.by_key, TABLE.tried
answer, flag = TABLE.answer, TABLE.flag


async def insert(
    tx: Tx, row: WithdrawalRow, idempotency_key: str, next_try_at: datetime
) -> None:  # fmt: skip
    """Take a withdrawal in."""
    await tx.execute(
        """
        INSERT INTO withdrawals (
            withdrawal_id, user_id, idempotency_key, request_hash, amount, currency, method,
            hold_id, hold_transfer_id, capture_transfer_id, release_transfer_id,
            return_transfer_id, next_try_at, created_at, updated_at
        ) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $14)
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


async def stop_for(tx: Tx, user_id: str, reason: str, now: datetime) -> None:
    """Begin to give back what a player asked for and was not handed to the provider yet."""
    await tx.execute(
        """
        UPDATE withdrawals SET reason = $2, updated_at = $3, tries = 0, next_try_at = $3,
            state = CASE state WHEN 'held' THEN 'releasing' ELSE 'abandoning' END
        WHERE user_id = $1 AND state IN ('requested', 'held')
        """,
        user_id,
        reason,
        now,
    )


async def withdrawn_since(tx: Tx, user_id: str, since: datetime) -> int:
    """Return what was withdrawn or is on its way since an instant, in minor units."""
    return int(
        await tx.fetchval(
            """
            SELECT coalesce(sum(amount), 0) FROM withdrawals
            WHERE user_id = $1 AND created_at > $2
                AND state NOT IN ('refused', 'failed', 'cancelled')
            """,
            user_id,
            since,
        )
    )


async def loops(tx: Tx, user_id: str) -> list[Loop]:
    """Return what came in and went out of a player's account by each method, refunds left out."""
    rows = await tx.fetch(
        """
        SELECT method, sum(deposited)::bigint AS deposited, sum(withdrawn)::bigint AS withdrawn
        FROM (
            SELECT method, coalesce(received, amount) - coalesce((
                SELECT sum(refunds.amount) FROM refunds
                WHERE refunds.deposit_id = deposits.deposit_id
                    AND refunds.state NOT IN ('refused', 'undoing')
            ), 0) + coalesce((
                SELECT sum(refund_returns.amount) FROM refund_returns
                WHERE refund_returns.deposit_id = deposits.deposit_id
            ), 0) AS deposited, 0 AS withdrawn
            FROM deposits WHERE user_id = $1 AND status IN ('succeeded', 'refunded')
            UNION ALL
            SELECT method, 0, amount FROM withdrawals
            WHERE user_id = $1 AND state NOT IN ('refused', 'failed', 'cancelled')
        ) AS moved GROUP BY method
        """,
        user_id,
    )
    return [
        Loop(method=row["method"], deposited=row["deposited"], withdrawn=row["withdrawn"])
        for row in rows
    ]


async def due(tx: Tx, now: datetime, limit: int) -> list[str]:
    """Return unfinished withdrawals whose time to be looked at has come."""
    unfinished = "state NOT IN ('paid', 'refused', 'failed', 'cancelled')"
    return await TABLE.due(tx, unfinished, now, limit)
