"""The limits that players set for themselves, held against rounds where the stake is taken."""

from datetime import datetime, timedelta

from svc.casino import store, store_limits
from svc.casino.contract import LimitExceeded
from svc.mesh.database import Tx

PERIODS = {"day": timedelta(days=1), "week": timedelta(days=7), "month": timedelta(days=30)}
"""Windows of players' own limits, rolling (UKGC RTS 12: 24 hours, 7 days, month)."""


async def check(tx: Tx, user_id: str, stake: int, now: datetime) -> None:
    """Hold a further stake against all limits of a player; raises LimitExceeded.

    Rounds of several sessions stand in line behind the player, so that together they stay below.
    """
    limits = await store_limits.in_force(tx, user_id, now)
    if not limits:
        return
    await store.hold_player(tx, user_id)
    for limit in limits:
        used = await store_limits.played_for(tx, user_id, limit.kind, now - PERIODS[limit.period])
        left = max(limit.amount - used, 0)
        if stake > left:
            raise LimitExceeded(
                f"your {limit.kind} limit per {limit.period} leaves {left}",
                limit=limit.amount,
                left=left,
                period=limit.period,
            )
