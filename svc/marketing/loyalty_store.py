"""All SQL of loyalty: one row per stake, and the sum of its points on the player."""

from datetime import datetime
from typing import cast

from svc.marketing.rules import Product
from svc.mesh.database import Tx


async def insert_pending(
    tx: Tx, product: Product, reference: str, user_id: str, *, stake: int, points: int
) -> None:
    """Note a stake whose points are pending; one that is decided already stays as it is."""
    await tx.execute(
        "INSERT INTO loyalty_stakes (product, reference, user_id, stake, pending_points, points)"
        " VALUES ($1, $2, $3, $4, $5, 0) ON CONFLICT (product, reference) DO NOTHING",
        product,
        reference,
        user_id,
        stake,
        points,
    )


async def pending_points(tx: Tx, user_id: str) -> int:
    """Sum the points that a player's open stakes would earn."""
    return await tx.fetchval(
        "SELECT coalesce(sum(pending_points), 0)::bigint FROM loyalty_stakes"
        " WHERE user_id = $1 AND pending_points > 0",
        user_id,
    )


async def lock_points(
    tx: Tx, product: Product, reference: str, user_id: str, stake: int
) -> tuple[int, datetime | None]:
    """Return the points that stand for a stake, and when that was decided; made if unknown."""
    await insert_pending(tx, product, reference, user_id, stake=stake, points=0)
    row = await tx.fetchrow(
        "SELECT points, decided_at FROM loyalty_stakes"
        " WHERE product = $1 AND reference = $2 FOR UPDATE",
        product,
        reference,
    )
    assert row is not None
    return cast("int", row["points"]), cast("datetime | None", row["decided_at"])


async def decide(tx: Tx, product: Product, reference: str, points: int, at: datetime) -> None:
    """Set the points of a stake, nothing pending any more."""
    await tx.execute(
        "UPDATE loyalty_stakes SET points = $3, pending_points = 0, decided_at = $4"
        " WHERE product = $1 AND reference = $2",
        product,
        reference,
        points,
        at,
    )


async def set_points(tx: Tx, user_id: str, points: int, tier: str) -> None:
    """Set a player's points and tier."""
    await tx.execute(
        "UPDATE players SET points = $2, tier = $3 WHERE user_id = $1", user_id, points, tier
    )
