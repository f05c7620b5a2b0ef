"""All SQL of wagering: what is known of a stake, and for which awards it counts."""

from datetime import datetime
from decimal import Decimal
from typing import cast

from svc.marketing.rules import Open, Product
from svc.mesh.database import Tx


async def lock_open(tx: Tx, user_id: str, product: Product, at: datetime) -> list[Open]:
    """Return a player's awards that stakes on a product count for at an instant, oldest first."""
    rows = await tx.fetch(
        "SELECT award_id, odds_min, wagering_required - wagered AS missing FROM awards"
        " WHERE user_id = $1 AND product = $2 AND status = 'active' AND awarded_at <= $3"
        " ORDER BY awarded_at, award_id FOR UPDATE",
        user_id,
        product,
        at,
    )
    return [
        Open(
            award_id=str(row["award_id"]),
            odds_min=cast("Decimal | None", row["odds_min"]),
            missing=cast("int", row["missing"]),
        )
        for row in rows
    ]


async def find_wager(
    tx: Tx, product: Product, reference: str
) -> tuple[datetime, bool, bool, int] | None:
    """Return the last word on a stake; None when nothing is known.

    That is when it was said, whether the stake counts, whether it was bought back, and how much of
    it stands, in minor units: something may although it does not count, for awards that are closed.
    """
    row = await tx.fetchrow(
        "SELECT decided_at, counts, bought_back, (SELECT coalesce(sum(amount), 0)::bigint"
        " FROM wagers_counted WHERE product = $1 AND reference = $2) AS stands"
        " FROM wagers WHERE product = $1 AND reference = $2",
        product,
        reference,
    )
    return (row["decided_at"], row["counts"], row["bought_back"], row["stands"]) if row else None


async def set_wager(
    tx: Tx, product: Product, reference: str, user_id: str, at: datetime, *, counts: bool,
    bought_back: bool = False,
) -> None:  # fmt: skip
    """Keep the last word on a stake; what was bought back stays so."""
    await tx.execute(
        "INSERT INTO wagers (product, reference, user_id, decided_at, counts, bought_back)"
        " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (product, reference) DO UPDATE"
        " SET decided_at = greatest(wagers.decided_at, excluded.decided_at),"
        " counts = excluded.counts, bought_back = wagers.bought_back OR excluded.bought_back",
        product,
        reference,
        user_id,
        at,
        counts,
        bought_back,
    )


async def count(tx: Tx, product: Product, reference: str, award_id: str, amount: int) -> None:
    """Let an amount of a stake count for an award, in minor units."""
    await tx.execute(
        "INSERT INTO wagers_counted (product, reference, award_id, amount) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (product, reference, award_id)"
        " DO UPDATE SET amount = wagers_counted.amount + excluded.amount",
        product,
        reference,
        award_id,
        amount,
    )
    await tx.execute(
        "UPDATE awards SET wagered = wagered + $2 WHERE award_id = $1", award_id, amount
    )


async def take_back(tx: Tx, product: Product, reference: str) -> None:
    """Let a stake count no more for awards that are still open."""
    await tx.execute(
        "WITH gone AS (DELETE FROM wagers_counted AS counted USING awards"
        " WHERE counted.product = $1 AND counted.reference = $2"
        " AND awards.award_id = counted.award_id AND awards.status = 'active'"
        " RETURNING counted.award_id, counted.amount)"
        " UPDATE awards SET wagered = wagered - gone.amount FROM gone"
        " WHERE awards.award_id = gone.award_id",
        product,
        reference,
    )
