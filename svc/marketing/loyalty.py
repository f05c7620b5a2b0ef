"""Loyalty points of stakes: pending when placed, earned when settled, taken back when voided."""

from datetime import datetime

from svc.marketing import loyalty_store, rules, store
from svc.marketing.contract import LOYALTY_POINTS_EARNED, LoyaltyPointsEarned
from svc.marketing.rules import Product
from svc.mesh.database import Tx


async def note(tx: Tx, product: Product, reference: str, user_id: str, stake: int) -> None:
    """Note a stake, in minor units, and the points that it would earn now."""
    player = await store.lock_player(tx, user_id)
    pending = rules.earned(product, stake, player.tier)
    await loyalty_store.insert_pending(tx, product, reference, user_id, stake=stake, points=pending)


async def decide(
    tx: Tx, product: Product, reference: str, user_id: str, *, stake: int, at: datetime
) -> None:
    """Set the points of a stake as decided at an instant; 0 minor units take them back.

    The last decision wins, however the events arrive; the difference to the one before is what
    the player earns or loses. Points may go below zero: a debt that later stakes pay.
    """
    player = await store.lock_player(tx, user_id)
    before, decided_at = await loyalty_store.lock_points(tx, product, reference, user_id, stake)
    if decided_at is not None and decided_at >= at:
        return
    excluded = rules.is_excluded(player.excluded_until, at)
    now = 0 if excluded else rules.earned(product, stake, player.tier)
    if stake and before:
        now = (
            before  # settled again with another result: the stake, and so the points, are the same
        )
    await loyalty_store.decide(tx, product, reference, now, at)
    if now == before:
        return
    balance = player.points + now - before
    tier = rules.tier_for(balance, player.tier)
    await loyalty_store.set_points(tx, user_id, balance, tier)
    await tx.publish(
        LOYALTY_POINTS_EARNED,
        LoyaltyPointsEarned(
            user_id=user_id, points=now - before, balance=balance, tier=tier, reference=reference
        ),
        subject=user_id,
    )
