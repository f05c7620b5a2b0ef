"""All SQL of loyalty: one row per stake, and the sum of its points on the player."""

from datetime import datetime

from msgspec import Struct

from svc.marketing.rules import Product
from svc.mesh.database import Tx


class Known(Struct, frozen=True, kw_only=True):
    """What is known of a stake, in minor units, and of its points: pending or decided.

    `decided_at` None: its bet is open. `reopened_at`: when its settlement was taken back last.
    """

    stake: int
    pending: int
    points: int
    decided_at: datetime | None
    reopened_at: datetime | None

    @property
    def earned_before(self) -> int:
        """Return what it earned by its last settlement, were that taken back; else 0."""
        return self.points or (self.pending if self.reopened_at is not None else 0)


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


async def lock_points(tx: Tx, product: Product, reference: str, user_id: str, stake: int) -> Known:
    """Return what is known of a stake, and keep it so; it is made if it is unknown."""
    await insert_pending(tx, product, reference, user_id, stake=stake, points=0)
    row = await tx.fetchrow(
        "SELECT stake, pending_points AS pending, points, decided_at, reopened_at"
        " FROM loyalty_stakes WHERE product = $1 AND reference = $2 FOR UPDATE",
        product,
        reference,
    )
    assert row is not None
    return Known(**dict(row))


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


async def reopen(tx: Tx, product: Product, reference: str, pending: int, at: datetime) -> None:
    """Let a stake be open again, with what it would earn pending."""
    await tx.execute(
        "UPDATE loyalty_stakes SET points = 0, pending_points = $3, decided_at = NULL,"
        " reopened_at = $4 WHERE product = $1 AND reference = $2",
        product,
        reference,
        pending,
        at,
    )


async def set_points(tx: Tx, user_id: str, points: int, tier: str) -> None:
    """Set a player's points and tier."""
    await tx.execute(
        "UPDATE players SET points = $2, tier = $3 WHERE user_id = $1", user_id, points, tier
    )
