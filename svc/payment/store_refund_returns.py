"""SQL of refunds that came back."""

from datetime import datetime

from asyncpg import Record
from msgspec import Struct

from svc.mesh.database import Tx
from svc.payment.store import Table

COLUMNS = "return_id, provider_id, deposit_id, amount, transfer_id, state, tries"


class ReturnRow(Struct, frozen=True, kw_only=True):
    """A refund that came back, in minor units; `provider_id` is the refund's at the provider."""

    return_id: str
    provider_id: str
    deposit_id: str
    amount: int
    transfer_id: str
    state: str
    tries: int


def _row(row: Record) -> ReturnRow:
    return ReturnRow(
        return_id=str(row["return_id"]),
        provider_id=row["provider_id"],
        deposit_id=str(row["deposit_id"]),
        amount=row["amount"],
        transfer_id=str(row["transfer_id"]),
        state=row["state"],
        tries=row["tries"],
    )


TABLE = Table("refund_returns", "return_id", "", COLUMNS, _row)
find, tried = TABLE.find, TABLE.tried


async def known(tx: Tx, provider_id: str) -> str | None:
    """Return the id of what came back of a refund, None when that is news."""
    found = await tx.fetchval(
        "SELECT return_id FROM refund_returns WHERE provider_id = $1", provider_id
    )
    return str(found) if found else None


async def insert(tx: Tx, row: ReturnRow, now: datetime) -> None:
    """Keep that a refund came back, and that it was not made after all."""
    await tx.execute(
        """
        INSERT INTO refund_returns (
            return_id, provider_id, deposit_id, amount, transfer_id, next_try_at, created_at
        ) VALUES ($1, $2, $3, $4, $5, $6, $6)
        """,
        row.return_id,
        row.provider_id,
        row.deposit_id,
        row.amount,
        row.transfer_id,
        now,
    )
    await tx.execute("UPDATE refunds SET returned = true WHERE provider_id = $1", row.provider_id)


async def returned_of(tx: Tx, deposit_id: str) -> int:
    """Return how much of a deposit's refunds came back, in minor units."""
    return int(
        await tx.fetchval(
            "SELECT coalesce(sum(amount), 0) FROM refund_returns WHERE deposit_id = $1", deposit_id
        )
    )


async def given_of(tx: Tx, deposit_id: str) -> int:
    """Return how much of a deposit the provider has given back as far as we booked it."""
    return int(
        await tx.fetchval(
            """
            SELECT coalesce(sum(amount), 0) FROM refunds
            WHERE deposit_id = $1
                AND (state = 'done' OR (actor = 'provider' AND state IN ('requested', 'deducted')))
            """,
            deposit_id,
        )
    )


async def credited(tx: Tx, return_id: str) -> bool:
    """Keep that the wallet has the money again; False when that was known."""
    return bool(
        await tx.fetchval(
            """
            UPDATE refund_returns SET state = 'credited', tries = 0
            WHERE return_id = $1 AND state = 'crediting' RETURNING true
            """,
            return_id,
        )
    )


async def due(tx: Tx, now: datetime, limit: int) -> list[str]:
    """Return what still has to be credited and whose time to be looked at has come."""
    return await TABLE.due(tx, "state = 'crediting'", now, limit)
