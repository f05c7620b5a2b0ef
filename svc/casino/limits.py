"""The limits that players set for themselves, held against rounds before the stake is taken.

They hold over all products, so identity counts the stakes of players who have any; what the rounds
alone came to is held against them here first. Nobody else's rounds are `counted`.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from svc.casino import store, store_limits
from svc.casino.contract import LimitExceeded
from svc.identity import contract as identity
from svc.mesh.context import Context
from svc.mesh.database import Tx

PERIODS = {"day": timedelta(days=1), "week": timedelta(days=7), "month": timedelta(days=30)}
"""Windows of players' own limits, rolling (UKGC RTS 12: 24 hours, 7 days, month)."""
LONGEST = timedelta(days=31)
"""Rounds before this are in no limit's window."""


async def check(tx: Tx, user_id: str, stake: int, now: datetime) -> bool:
    """Hold a further stake against all limits of a player; raises LimitExceeded.

    Says whether there are any. Rounds of several sessions stand in line behind the player, so that
    together they stay below.
    """
    limits = await store_limits.in_force(tx, user_id, now)
    if not limits:
        return False
    await store.hold_player(tx, user_id)
    for limit in limits:
        used = await store_limits.played_for(tx, user_id, limit.kind, now - PERIODS[limit.period])
        left = max(limit.amount - used, 0)
        if stake > left:
            raise LimitExceeded(
                f"your {limit.kind} limit per {limit.period} leaves {left}",
                kind=limit.kind,
                limit=limit.amount,
                left=left,
                period=limit.period,
            )
    return True


async def count(pending: store.Round, context: Context) -> None:
    """Have a pending round counted, once; raises LimitExceeded, or Unavailable (TimedOut).

    While identity does not answer the round stays pending.
    """
    stake = identity.CountStake(
        user_id=pending.user_id,
        stake_id=pending.round_id,
        amount=pending.stake,
        placed_at=pending.placed_at,
    )
    try:
        await context.call(identity.COUNT_STAKE, stake)
    except identity.LimitExceeded as exceeded:
        raise LimitExceeded(exceeded.detail, **exceeded.members) from exceeded


def stands(counted: store.Round, *, taken: bool = True) -> identity.ToldStake:
    """Return how a counted round stands: its stake, if taken, and what it paid."""
    return identity.ToldStake(
        stake_id=counted.round_id,
        staked=counted.stake if taken else 0,
        returned=counted.payout or 0,
        placed_at=counted.placed_at,
    )


async def tell(tx: Tx, user_id: str, stakes: Sequence[identity.ToldStake]) -> None:
    """Tell identity how counted rounds of a player stand now."""
    for start in range(0, len(stakes), identity.TOLD_MAX):
        data = identity.StakesTold(
            user_id=user_id, stakes=list(stakes[start : start + identity.TOLD_MAX])
        )
        await tx.publish(identity.STAKES_TOLD, data, subject=user_id)


async def begin(tx: Tx, user_id: str, now: datetime) -> None:
    """Count the rounds of the last month too, once their player has set a first limit."""
    await store.hold_player(tx, user_id)
    await tell(tx, user_id, await store_limits.count_rounds(tx, user_id, now - LONGEST))
