"""The SQL of what this service knows of players: one function per statement."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from svc.identity.contract import ToldStake
from svc.mesh.database import Tx
from svc.sportsbook.contract import LimitExceeded


class Player(Struct, frozen=True, kw_only=True):
    """A player as far as bets are concerned."""

    user_id: str
    locale: str
    excluded_until: datetime | None
    watched_since: datetime | None
    kyc_status: str = "none"
    disputed: bool = False


class PlayerLimit(Struct, frozen=True, kw_only=True):
    """A limit in force: at most `amount` minor units in a period."""

    kind: str
    period: str
    amount: int


async def ensure(tx: Tx, user_id: str) -> None:
    """Make the player's row if it is not there: events and bets come in any order."""
    await tx.execute(
        "INSERT INTO player (user_id) VALUES ($1) ON CONFLICT (user_id) DO NOTHING", user_id
    )


async def ensure_all(tx: Tx, user_ids: Sequence[str]) -> None:
    """Make the rows of players that are not there: events and bets come in any order."""
    await tx.execute(
        """
        INSERT INTO player (user_id) SELECT unnest($1::uuid[])
        ON CONFLICT (user_id) DO NOTHING
        """,
        list(user_ids),
    )


async def lock_all(tx: Tx, user_ids: Sequence[str]) -> dict[str, Player]:
    """Lock players, in the order of their ids: bets of each are taken in one after the other."""
    rows = await tx.fetch(
        """
        SELECT user_id::text, locale, excluded_until, watched_since, kyc_status, disputed
        FROM player WHERE user_id = ANY ($1::uuid[]) ORDER BY player.user_id FOR UPDATE
        """,
        list(user_ids),
    )
    return {row["user_id"]: Player(**dict(row)) for row in rows}


async def locale(tx: Tx, user_id: str) -> str:
    """Return the player's language, English when unknown."""
    found: str | None = await tx.fetchval("SELECT locale FROM player WHERE user_id = $1", user_id)
    return found or "en"


async def set_locale(tx: Tx, user_id: str, locale: str) -> None:
    """Record the player's language."""
    await tx.execute(
        """
        INSERT INTO player (user_id, locale) VALUES ($1, $2)
        ON CONFLICT (user_id) DO UPDATE SET locale = excluded.locale
        """,
        user_id,
        locale,
    )


async def exclude(tx: Tx, user_id: str, until: datetime) -> None:
    """Exclude a player until an instant; an earlier end never shortens a later one."""
    await tx.execute(
        """
        INSERT INTO player (user_id, excluded_until) VALUES ($1, $2)
        ON CONFLICT (user_id) DO UPDATE
        SET excluded_until = greatest(player.excluded_until, excluded.excluded_until)
        """,
        user_id,
        until,
    )


async def watch(tx: Tx, user_id: str, since: datetime) -> None:
    """Put a player under watch; the first time counts."""
    await tx.execute(
        """
        INSERT INTO player (user_id, watched_since) VALUES ($1, $2)
        ON CONFLICT (user_id) DO UPDATE
        SET watched_since = least(player.watched_since, excluded.watched_since)
        """,
        user_id,
        since,
    )


async def set_kyc(tx: Tx, user_id: str, status: str, at: datetime) -> None:
    """Keep the newest state of the verification, in whatever order events come."""
    await tx.execute(
        """
        INSERT INTO player (user_id, kyc_status, kyc_at) VALUES ($1, $2, $3)
        ON CONFLICT (user_id) DO UPDATE
        SET kyc_status = excluded.kyc_status, kyc_at = excluded.kyc_at
        WHERE player.kyc_at IS NULL OR player.kyc_at <= excluded.kyc_at
        """,
        user_id,
        status,
        at,
    )


async def note_dispute(tx: Tx, dispute_id: str, user_id: str, *, closed: bool) -> None:
    """Keep that a dispute began or ended, in whatever order its news come."""
    await ensure(tx, user_id)
    await lock_all(tx, [user_id])  # two disputes of one player stand in line
    await tx.execute(
        """
        INSERT INTO dispute (dispute_id, user_id, closed) VALUES ($1, $2, $3)
        ON CONFLICT (dispute_id) DO UPDATE SET closed = dispute.closed OR excluded.closed
        """,
        dispute_id,
        user_id,
        closed,
    )
    await tx.execute(
        """
        UPDATE player
        SET disputed = EXISTS (SELECT FROM dispute WHERE user_id = $1 AND NOT closed)
        WHERE user_id = $1
        """,
        user_id,
    )


async def put_limit(
    tx: Tx, user_id: str, limit: PlayerLimit, requested_at: datetime, effective_at: datetime
) -> None:
    """Record that a player asked for a limit, and from when it holds."""
    await tx.execute(
        """
        INSERT INTO player_limit (user_id, kind, period, requested_at, effective_at, amount)
        VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (user_id, kind, period, requested_at) DO NOTHING
        """,
        user_id,
        limit.kind,
        limit.period,
        requested_at,
        effective_at,
        limit.amount,
    )


async def limits(tx: Tx, user_ids: Sequence[str], now: datetime) -> dict[str, list[PlayerLimit]]:
    """Return players' stake and loss limits in force: of each kind the one asked for last."""
    rows = await tx.fetch(
        """
        SELECT DISTINCT ON (player_limit.user_id, kind, period)
               user_id::text, kind, period, amount
        FROM player_limit
        WHERE user_id = ANY ($1::uuid[]) AND kind IN ('stake', 'loss') AND effective_at <= $2
        ORDER BY player_limit.user_id, kind, period, requested_at DESC
        """,
        list(user_ids),
        now,
    )
    found: dict[str, list[PlayerLimit]] = {}
    for row in rows:
        limit = PlayerLimit(kind=row["kind"], period=row["period"], amount=row["amount"])
        found.setdefault(row["user_id"], []).append(limit)
    return found


async def count_bets(tx: Tx, user_id: str, since: datetime) -> list[ToldStake]:
    """Mark a player's bets since an instant as counted; return how those stand that were not."""
    rows = await tx.fetch(
        """
        UPDATE bet SET counted = true
        WHERE user_id = $1 AND placed_at > $2 AND NOT counted AND status <> 'rejected'
            AND free_bet_id IS NULL
        RETURNING bet_id::text AS stake_id, stake AS staked, placed_at,
            CASE WHEN status = 'cashed_out' THEN cashed_out
                 ELSE cashed_out + coalesce(payout, 0) END AS returned
        """,
        user_id,
        since,
    )
    return [ToldStake(**dict(row)) for row in rows]


async def check_limit(
    tx: Tx, user_id: str, limit: PlayerLimit, since: datetime, stake: int
) -> None:
    """Hold a further stake against a player's own limit; raises LimitExceeded.

    A stake limit counts stakes, a loss limit stakes less what bets of the period paid. The stake of
    a free bet is the house's, so neither counts those.
    """
    used: int = await tx.fetchval(
        """
        SELECT coalesce(sum(stake - CASE WHEN $3 <> 'loss' THEN 0
                                    WHEN status = 'cashed_out' THEN cashed_out
                                    ELSE cashed_out + coalesce(payout, 0) END), 0)::bigint
        FROM bet
        WHERE user_id = $1 AND placed_at >= $2 AND status <> 'rejected'
            AND free_bet_id IS NULL
        """,
        user_id,
        since,
        limit.kind,
    )
    if used + stake > limit.amount:
        raise LimitExceeded(
            f"your {limit.kind} limit per {limit.period} leaves {max(limit.amount - used, 0)}",
            limit=limit.amount,
            left=max(limit.amount - used, 0),
            period=limit.period,
        )
