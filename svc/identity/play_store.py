"""All SQL of counted stakes: one function per statement."""

from collections.abc import Sequence
from datetime import datetime

from svc.identity.contract_limits import CountStake, ToldStake
from svc.mesh.database import Tx


async def staked(tx: Tx, user_id: str, stake_id: str) -> int | None:
    """Return what was counted or told of a player's stake, None before; minor units."""
    return await tx.fetchval(
        "SELECT staked FROM plays WHERE stake_id = $1 AND user_id = $2", stake_id, user_id
    )


async def sums(tx: Tx, user_id: str, since: datetime) -> tuple[int, int]:
    """Return what a player staked since an instant, and what came back of that; minor units."""
    row = await tx.fetchrow(
        """
        SELECT coalesce(sum(staked), 0)::bigint AS staked,
               coalesce(sum(returned), 0)::bigint AS returned
        FROM plays WHERE user_id = $1 AND placed_at > $2
        """,
        user_id,
        since,
    )
    assert row is not None, "a sum is always one row"
    return row["staked"], row["returned"]


async def count(tx: Tx, stake: CountStake) -> None:
    """Record a stake before it is paid."""
    await tx.execute(
        """
        INSERT INTO plays (stake_id, user_id, staked, placed_at, told_at)
        VALUES ($1, $2, $3, $4, $4)
        ON CONFLICT (stake_id) DO UPDATE SET staked = excluded.staked
        WHERE plays.user_id = excluded.user_id
        """,
        stake.stake_id,
        stake.user_id,
        stake.amount,
        stake.placed_at,
    )


async def count_return(tx: Tx, stake_id: str, payment_id: str, amount: int, at: datetime) -> None:
    """Record what was paid for a counted stake, once, in the same window of time as the stake."""
    await tx.execute(
        """
        INSERT INTO plays (stake_id, user_id, staked, returned, placed_at, told_at)
        SELECT $2::uuid, user_id, 0, $3::bigint, placed_at, $4::timestamptz
        FROM plays WHERE stake_id = $1
        ON CONFLICT (stake_id) DO NOTHING
        """,
        stake_id,
        payment_id,
        amount,
        at,
    )


async def take_back(tx: Tx, stake_id: str) -> None:
    """Record that nothing of a stake, or of what was paid for one, stands any more."""
    await tx.execute("UPDATE plays SET staked = 0, returned = 0 WHERE stake_id = $1", stake_id)


async def take_in(tx: Tx, user_id: str, stakes: Sequence[ToldStake], at: datetime) -> None:
    """Record how stakes stand, unless something newer is known."""
    await tx.execute(
        """
        INSERT INTO plays (stake_id, user_id, staked, returned, placed_at, told_at)
        SELECT stake_id, $1, staked, returned, placed_at, $6
        FROM unnest($2::uuid[], $3::bigint[], $4::bigint[], $5::timestamptz[])
             AS told (stake_id, staked, returned, placed_at)
        ON CONFLICT (stake_id) DO UPDATE
        SET staked = excluded.staked, returned = excluded.returned, told_at = excluded.told_at
        WHERE plays.user_id = excluded.user_id AND plays.told_at <= excluded.told_at
        """,
        user_id,
        [each.stake_id for each in stakes],
        [each.staked for each in stakes],
        [each.returned for each in stakes],
        [each.placed_at for each in stakes],
        at,
    )


async def purge(tx: Tx, before: datetime) -> None:
    """Delete stakes that no limit's window reaches any more."""
    await tx.execute("DELETE FROM plays WHERE placed_at < $1", before)
