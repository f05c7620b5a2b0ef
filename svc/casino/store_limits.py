"""All SQL of the limits that players set for themselves: one function per statement."""

from datetime import datetime

from msgspec import Struct

from svc.identity.contract import ToldStake
from svc.mesh.database import Tx


class PlayerLimit(Struct, frozen=True, kw_only=True):
    """At most `amount` minor units in a period: of stakes, or of stakes less payouts (loss)."""

    kind: str
    period: str
    amount: int


async def put(
    tx: Tx, user_id: str, limit: PlayerLimit, requested_at: datetime, effective_at: datetime
) -> None:
    """Record that a player asked for a limit, and from when it holds."""
    await tx.execute(
        """INSERT INTO player_limits (user_id, kind, period, requested_at, effective_at, amount)
           VALUES ($1, $2, $3, $4, $5, $6)
           ON CONFLICT (user_id, kind, period, requested_at) DO NOTHING""",
        user_id,
        limit.kind,
        limit.period,
        requested_at,
        effective_at,
        limit.amount,
    )


async def in_force(tx: Tx, user_id: str, now: datetime) -> list[PlayerLimit]:
    """Return the limits in force: of those that hold, the one asked for last."""
    rows = await tx.fetch(
        """SELECT DISTINCT ON (kind, period) kind, period, amount FROM player_limits
           WHERE user_id = $1 AND effective_at <= $2
           ORDER BY kind, period, requested_at DESC""",
        user_id,
        now,
    )
    return [PlayerLimit(**dict(row)) for row in rows]


async def count_rounds(tx: Tx, user_id: str, since: datetime) -> list[ToldStake]:
    """Mark a player's rounds since an instant as counted; return how those stand that were not."""
    rows = await tx.fetch(
        """UPDATE rounds SET counted = true
           WHERE user_id = $1 AND placed_at > $2 AND NOT counted AND NOT free_spin
               AND status <> 'rejected'
           RETURNING round_id::text AS stake_id, stake AS staked, coalesce(payout, 0) AS returned,
               placed_at""",
        user_id,
        since,
    )
    return [ToldStake(**dict(row)) for row in rows]


async def played_for(tx: Tx, user_id: str, kind: str, since: datetime) -> int:
    """Return what a player staked since an instant, for a loss limit less what rounds paid."""
    used: int = await tx.fetchval(
        """SELECT coalesce(sum(stake - CASE WHEN $3 = 'loss' THEN coalesce(payout, 0) ELSE 0 END),
                           0)::bigint
           FROM rounds
           WHERE user_id = $1 AND placed_at > $2 AND NOT free_spin AND status <> 'rejected'""",
        user_id,
        since,
        kind,
    )
    return used
