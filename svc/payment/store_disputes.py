"""SQL of disputes."""

from datetime import datetime

from asyncpg import Record
from msgspec import Struct

from svc.mesh.database import Tx
from svc.payment.rules import Outcome
from svc.payment.store import Table

COLUMNS = """
    dispute_id, provider_id, deposit_id, user_id, currency, reason, outcome, taken, returned, state,
    debited, credited, debit_transfer_id, credit_transfer_id, tries, taken_elsewhere
"""


class DisputeRow(Struct, frozen=True, kw_only=True):
    """A dispute as it is stored, in minor units.

    `taken` and `returned` are the provider's, `debited` and `credited` what we ask the wallet for.
    What was taken in another currency than the deposit's is in none of them.
    """

    dispute_id: str
    provider_id: str
    deposit_id: str
    user_id: str
    currency: str
    reason: str
    outcome: Outcome
    taken: int
    returned: int
    state: str
    debited: int
    credited: int
    debit_transfer_id: str
    credit_transfer_id: str
    tries: int
    taken_elsewhere: bool = False


def _row(row: Record) -> DisputeRow:
    return DisputeRow(
        dispute_id=str(row["dispute_id"]),
        provider_id=row["provider_id"],
        deposit_id=str(row["deposit_id"]),
        user_id=str(row["user_id"]),
        currency=row["currency"],
        reason=row["reason"],
        outcome=row["outcome"],
        taken=row["taken"],
        returned=row["returned"],
        state=row["state"],
        debited=row["debited"],
        credited=row["credited"],
        debit_transfer_id=str(row["debit_transfer_id"]),
        credit_transfer_id=str(row["credit_transfer_id"]),
        tries=row["tries"],
        taken_elsewhere=row["taken_elsewhere"],
    )


TABLE = Table("disputes", "dispute_id", "", COLUMNS, _row)
find, tried = TABLE.find, TABLE.tried


async def join(tx: Tx, told: DisputeRow, now: datetime) -> tuple[DisputeRow, Outcome | None]:
    """Add the provider's news to what is known, locked; return it with the outcome before.

    Sums only grow, and the outcome is the caller's to raise; None before means that it is new.
    """
    row = await tx.fetchrow(
        f"""
        INSERT INTO disputes AS known (
            dispute_id, provider_id, deposit_id, user_id, currency, reason, outcome, taken,
            returned, debit_transfer_id, credit_transfer_id, next_try_at, created_at,
            taken_elsewhere
        ) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12, $13)
        ON CONFLICT (provider_id) DO UPDATE SET
            taken = greatest(known.taken, excluded.taken),
            returned = greatest(known.returned, excluded.returned),
            taken_elsewhere = known.taken_elsewhere OR excluded.taken_elsewhere
        RETURNING {COLUMNS}, (xmax = 0) AS is_new
        """,  # noqa: S608 -- constants
        told.dispute_id,
        told.provider_id,
        told.deposit_id,
        told.user_id,
        told.currency,
        told.reason,
        told.outcome,
        told.taken,
        told.returned,
        told.debit_transfer_id,
        told.credit_transfer_id,
        now,
        told.taken_elsewhere,
    )
    assert row is not None, "an insert or an update returns its row"
    found = _row(row)
    return found, None if row["is_new"] else found.outcome


async def decide(tx: Tx, dispute_id: str, outcome: Outcome) -> None:
    """Keep a locked dispute's outcome."""
    await tx.execute("UPDATE disputes SET outcome = $2 WHERE dispute_id = $1", dispute_id, outcome)


async def begin_debit(tx: Tx, dispute_id: str, now: datetime) -> bool:
    """Fix what leaves the wallet; False when that was done before, or nothing was taken yet."""
    return bool(
        await tx.fetchval(
            """
            UPDATE disputes SET state = 'debiting', debited = taken, next_try_at = $2
            WHERE dispute_id = $1 AND state = 'noted' AND taken > 0 RETURNING true
            """,
            dispute_id,
            now,
        )
    )


async def begin_credit(tx: Tx, dispute_id: str, now: datetime) -> bool:
    """Fix what comes back to the wallet, once the debit was made; False otherwise."""
    return bool(
        await tx.fetchval(
            """
            UPDATE disputes SET state = 'crediting', credited = returned, next_try_at = $2
            WHERE dispute_id = $1 AND state = 'debited' AND returned > 0 RETURNING true
            """,
            dispute_id,
            now,
        )
    )


async def move(tx: Tx, dispute_id: str, from_state: str, state: str) -> bool:
    """Move on from the expected state; False when somebody else moved it already."""
    return bool(
        await tx.fetchval(
            """
            UPDATE disputes SET state = $3, tries = 0 WHERE dispute_id = $1 AND state = $2
            RETURNING true
            """,
            dispute_id,
            from_state,
            state,
        )
    )


async def due(tx: Tx, now: datetime, limit: int) -> list[str]:
    """Return disputes whose money still has to move, and whose time has come."""
    return await TABLE.due(tx, "state IN ('debiting', 'crediting')", now, limit)


async def block(tx: Tx, user_id: str) -> bool:
    """Say whether a player's payouts wait: for a decision, or until the debit is made."""
    return bool(
        await tx.fetchval(
            """
            SELECT EXISTS (
                SELECT 1 FROM disputes
                WHERE user_id = $1
                    AND ((outcome = 'open' AND (debited > 0 OR taken_elsewhere))
                        OR state = 'debiting')
            )
            """,
            user_id,
        )
    )


async def is_disputed(tx: Tx, deposit_id: str) -> bool:
    """Say whether money of a deposit was taken back and did not return."""
    return bool(
        await tx.fetchval(
            """
            SELECT EXISTS (
                SELECT 1 FROM disputes
                WHERE deposit_id = $1 AND (debited > 0 OR taken_elsewhere) AND outcome <> 'won'
            )
            """,
            deposit_id,
        )
    )
