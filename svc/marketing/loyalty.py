"""Loyalty points of stakes: pending when placed, earned when settled, taken back when voided.

Pending again when a settlement is taken back, until the next one. Of a stake the last word counts,
by event time, however the words arrive.
"""

from datetime import datetime

from svc.marketing import loyalty_store, rules, store
from svc.marketing.contract import LOYALTY_POINTS_EARNED, LoyaltyPointsEarned
from svc.marketing.rules import Product
from svc.marketing.store import Player
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

    The difference to what stood before is what the player earns or loses. Points may go below zero:
    a debt that later stakes pay.
    """
    player = await store.lock_player(tx, user_id)
    known = await loyalty_store.lock_points(tx, product, reference, user_id, stake)
    if known.decided_at is not None and known.decided_at >= at:
        return
    if known.reopened_at is not None and known.reopened_at > at:
        return
    now = _earned(product, stake, player, at)
    if stake and known.earned_before:
        # Settled again with another result: the stake, and so the points, are the same.
        now = known.earned_before
    await loyalty_store.decide(tx, product, reference, now, at)
    await _earn(tx, player, now - known.points, reference)


async def reopen(tx: Tx, product: Product, reference: str, user_id: str, *, at: datetime) -> None:
    """Let the points of a stake be pending again: its settlement was taken back.

    A settlement of the same instant is the newer word: a bet is taken back and settled at once.
    """
    player = await store.lock_player(tx, user_id)
    known = await loyalty_store.lock_points(tx, product, reference, user_id, 0)
    if known.decided_at is not None and known.decided_at >= at:
        return
    if known.reopened_at is not None and known.reopened_at >= at:
        return
    pending = known.points or known.pending or _earned(product, known.stake, player, at)
    await loyalty_store.reopen(tx, product, reference, pending, at)
    await _earn(tx, player, -known.points, reference)


def _earned(product: Product, stake: int, player: Player, at: datetime) -> int:
    excluded = rules.is_excluded(player.excluded_until, at)
    return 0 if excluded else rules.earned(product, stake, player.tier)


async def _earn(tx: Tx, player: Player, points: int, reference: str) -> None:
    """Give a locked player points, or take them when there are less than none."""
    if not points:
        return
    balance = player.points + points
    tier = rules.tier_for(balance, player.tier)
    await loyalty_store.set_points(tx, player.user_id, balance, tier)
    await tx.publish(
        LOYALTY_POINTS_EARNED,
        LoyaltyPointsEarned(
            user_id=player.user_id, points=points, balance=balance, tier=tier, reference=reference
        ),
        subject=player.user_id,
    )
