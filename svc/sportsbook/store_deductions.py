"""The SQL of deductions after a withdrawal: what was ordered, and the legs that it is for."""

from datetime import datetime
from decimal import Decimal

from msgspec import Struct

from svc.mesh.database import Tx


class Deduction(Struct, frozen=True, kw_only=True):
    """A part of the winnings of bets struck on a market in [from_at, until_at)."""

    event_id: str
    market_id: int
    specifiers: str
    part: Decimal
    from_at: datetime
    until_at: datetime


async def put(tx: Tx, deduction: Deduction, ordered_by: str | None) -> None:
    """Record who ordered a deduction; ordering it again changes its size."""
    await tx.execute(
        """
        INSERT INTO deduction (deduction_id, event_id, market_id, specifiers, part, from_at,
                               until_at, ordered_by, ordered_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        ON CONFLICT (event_id, market_id, specifiers, from_at, until_at) DO UPDATE
        SET part = excluded.part, ordered_by = excluded.ordered_by,
            ordered_at = excluded.ordered_at
        """,
        tx.context.new_id(),
        deduction.event_id,
        deduction.market_id,
        deduction.specifiers,
        deduction.part,
        deduction.from_at,
        deduction.until_at,
        ordered_by,
        tx.context.now(),
    )


async def apply(tx: Tx, deduction: Deduction) -> list[str]:
    """Let the legs concerned lose a part of their winnings; return the ids of their bets.

    Place halves are on another market, but their odds come from those of the win halves.
    """
    rows = await tx.fetch(
        """
        UPDATE leg SET deduction = $4
        FROM leg AS win JOIN bet USING (bet_id)
        WHERE win.event_id = $1 AND win.market_id = $2 AND win.specifiers = $3
          AND win.part = 'win' AND bet.placed_at >= $5 AND bet.placed_at < $6
          AND leg.bet_id = win.bet_id AND leg.event_id = win.event_id AND leg.deduction <> $4
        RETURNING leg.bet_id::text
        """,
        deduction.event_id,
        deduction.market_id,
        deduction.specifiers,
        deduction.part,
        deduction.from_at,
        deduction.until_at,
    )
    return [row["bet_id"] for row in rows]
