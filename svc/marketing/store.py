"""All SQL of marketing's players, awards and spin chances; loyalty has its own file."""

from datetime import datetime
from decimal import Decimal
from typing import cast

from asyncpg import Record
from msgspec import Struct

from svc.marketing.contract import BonusKind, BonusStatus, Campaign, Product
from svc.mesh.database import Tx

AWARD = (
    "award_id, user_id, campaign, kind, amount, currency, spins, status, transfer_id, awarded_at,"
    " expires_at, product, odds_min, wagering_required, wagered, max_conversion"
)


class Player(Struct, frozen=True, kw_only=True):
    """What marketing knows of a player; money in minor units."""

    user_id: str
    locale: str
    excluded_until: datetime | None
    bonus_balance: int | None
    points: int
    tier: str
    withdrew_at: datetime | None


class Award(Struct, frozen=True, kw_only=True):
    """One award; `transfer_id` is the wallet's key of its credit.

    Without a product nothing is to be wagered, and it never becomes cash.
    """

    award_id: str
    user_id: str
    campaign: str
    kind: BonusKind
    amount: int
    currency: str
    spins: int
    status: BonusStatus
    transfer_id: str
    awarded_at: datetime
    expires_at: datetime | None
    product: Product | None = None
    odds_min: Decimal | None = None
    wagering_required: int = 0
    wagered: int = 0
    max_conversion: int | None = None


class UsedSpin(Struct, frozen=True, kw_only=True):
    """A spin chance that was used up, as it was answered."""

    user_id: str
    game_id: str
    bet_size: int
    currency: str
    remaining: int


async def lock_player(tx: Tx, user_id: str) -> Player:
    """Return a player, made if unknown; all changes of one player stand in line behind this."""
    await tx.execute(
        "INSERT INTO players (user_id) VALUES ($1) ON CONFLICT (user_id) DO NOTHING", user_id
    )
    row = await tx.fetchrow(
        "SELECT user_id, locale, excluded_until, bonus_balance, points, tier, withdrew_at"
        " FROM players WHERE user_id = $1 FOR UPDATE",
        user_id,
    )
    return _player(cast("Record", row))


async def find_player(tx: Tx, user_id: str) -> Player | None:
    """Return a player without a lock, or None."""
    row = await tx.fetchrow(
        "SELECT user_id, locale, excluded_until, bonus_balance, points, tier, withdrew_at"
        " FROM players WHERE user_id = $1",
        user_id,
    )
    return _player(row) if row else None


def _player(row: Record) -> Player:
    return Player(
        user_id=str(row["user_id"]),
        locale=row["locale"],
        excluded_until=row["excluded_until"],
        bonus_balance=row["bonus_balance"],
        points=row["points"],
        tier=row["tier"],
        withdrew_at=row["withdrew_at"],
    )


async def set_profile(tx: Tx, user_id: str, locale: str, marketing_opt_in: bool) -> None:
    """Keep a player's language and consent."""
    await tx.execute(
        "UPDATE players SET locale = $2, marketing_opt_in = $3 WHERE user_id = $1",
        user_id,
        locale,
        marketing_opt_in,
    )


async def set_excluded(tx: Tx, user_id: str, until: datetime) -> None:
    """Keep the later of two exclusions: none of them ends early."""
    await tx.execute(
        "UPDATE players SET excluded_until = greatest(excluded_until, $2) WHERE user_id = $1",
        user_id,
        until,
    )


async def set_bonus_balance(tx: Tx, user_id: str, balance: int, at: datetime) -> None:
    """Keep the wallet's word on the bonus balance, unless a newer one is known."""
    await tx.execute(
        "UPDATE players SET bonus_balance = $2, balance_at = $3"
        " WHERE user_id = $1 AND (balance_at IS NULL OR balance_at <= $3)",
        user_id,
        balance,
        at,
    )


async def insert_award(tx: Tx, award: Award) -> bool:
    """Record an award; False when the campaign has awarded this player before."""
    done = await tx.execute(
        "INSERT INTO awards (award_id, user_id, campaign, kind, amount, currency, spins,"
        " transfer_id, awarded_at, expires_at, product, odds_min, wagering_required,"
        " max_conversion) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"
        " ON CONFLICT (campaign, user_id) DO NOTHING",
        award.award_id,
        award.user_id,
        award.campaign,
        award.kind,
        award.amount,
        award.currency,
        award.spins,
        award.transfer_id,
        award.awarded_at,
        award.expires_at,
        award.product,
        award.odds_min,
        award.wagering_required,
        award.max_conversion,
    )
    return done == "INSERT 0 1"


async def awards_of(tx: Tx, user_id: str) -> list[Award]:
    """Return a player's awards, newest first."""
    rows = await tx.fetch(
        f"SELECT {AWARD} FROM awards WHERE user_id = $1"  # noqa: S608 -- the columns are above
        " ORDER BY awarded_at DESC, award_id DESC LIMIT 200",
        user_id,
    )
    return [_award(row) for row in rows]


async def expired(tx: Tx, now: datetime, limit: int) -> list[tuple[str, str]]:
    """Return users and ids of active awards whose time is over, those that ended first."""
    rows = await tx.fetch(
        "SELECT user_id, award_id FROM awards WHERE status = 'active' AND expires_at <= $1"
        " ORDER BY expires_at LIMIT $2",
        now,
        limit,
    )
    return [(str(row["user_id"]), str(row["award_id"])) for row in rows]


async def lock_award(tx: Tx, award_id: str) -> Award | None:
    """Return an award that is still active, or None; its player is locked before."""
    row = await tx.fetchrow(
        f"SELECT {AWARD} FROM awards WHERE award_id = $1 AND status = 'active' FOR UPDATE",  # noqa: S608 -- the columns are written above
        award_id,
    )
    return _award(row) if row else None


async def follow(tx: Tx, user_id: str, transfer_id: str) -> str | None:
    """Make a transfer the last that a locked player's bonus money got; return the one before."""
    before = await tx.fetchval(
        "UPDATE players SET last_transfer_id = $2 FROM (SELECT last_transfer_id AS before"
        " FROM players WHERE user_id = $1) AS was WHERE user_id = $1 RETURNING was.before",
        user_id,
        transfer_id,
    )
    return str(before) if before else None


async def lock_money_awards(tx: Tx, user_id: str, before: datetime) -> list[Award]:
    """Return a player's active money awards that were given before an instant, oldest first."""
    rows = await tx.fetch(
        f"SELECT {AWARD} FROM awards"  # noqa: S608 -- the columns are above
        " WHERE user_id = $1 AND status = 'active'"
        " AND kind = 'bonus' AND awarded_at <= $2 ORDER BY awarded_at, award_id FOR UPDATE",
        user_id,
        before,
    )
    return [_award(row) for row in rows]


async def note_withdrawal(tx: Tx, user_id: str, at: datetime) -> None:
    """Keep when a player last asked for a withdrawal."""
    await tx.execute(
        "UPDATE players SET withdrew_at = greatest(withdrew_at, $2) WHERE user_id = $1",
        user_id,
        at,
    )


def _award(row: Record) -> Award:
    return Award(
        award_id=str(row["award_id"]),
        user_id=str(row["user_id"]),
        campaign=row["campaign"],
        kind=row["kind"],
        amount=row["amount"],
        currency=row["currency"],
        spins=row["spins"],
        status=row["status"],
        transfer_id=str(row["transfer_id"]),
        awarded_at=row["awarded_at"],
        expires_at=row["expires_at"],
        product=row["product"],
        odds_min=row["odds_min"],
        wagering_required=row["wagering_required"],
        wagered=row["wagered"],
        max_conversion=row["max_conversion"],
    )


async def close_award(tx: Tx, award_id: str, status: BonusStatus, now: datetime) -> None:
    """End an active award."""
    await tx.execute(
        "UPDATE awards SET status = $2, closed_at = $3 WHERE award_id = $1 AND status = 'active'",
        award_id,
        status,
        now,
    )


async def other_bonuses(tx: Tx, award: Award) -> int:
    """Sum the other active money awards of an award's player, in minor units."""
    return await tx.fetchval(
        "SELECT coalesce(sum(amount), 0)::bigint FROM awards WHERE user_id = $1"
        " AND status = 'active' AND kind <> 'free_spins' AND award_id <> $2",
        award.user_id,
        award.award_id,
    )


async def newer_bonuses(tx: Tx, award: Award) -> int:
    """Sum the active money awards of the player that came after one, in minor units."""
    return await tx.fetchval(
        "SELECT coalesce(sum(amount), 0)::bigint FROM awards WHERE user_id = $1"
        " AND status = 'active' AND kind <> 'free_spins' AND (awarded_at, award_id) > ($2, $3)",
        award.user_id,
        award.awarded_at,
        award.award_id,
    )


async def mark_credited(tx: Tx, transfer_id: str, at: datetime) -> None:
    """Note that the wallet credited an award: only then can it be played out."""
    await tx.execute(
        "UPDATE awards SET credited_at = $2 WHERE transfer_id = $1 AND credited_at IS NULL",
        transfer_id,
        at,
    )


async def complete_played_out(tx: Tx, now: datetime, since: datetime) -> None:
    """End the credited money awards of players who have had no bonus money since an instant.

    Nor may a bet be open, whose stake could have been bonus money: what it wins is some again.
    """
    await tx.execute(
        "UPDATE awards SET status = 'completed', closed_at = $1 FROM players"
        " WHERE players.user_id = awards.user_id AND status = 'active' AND kind <> 'free_spins'"
        " AND bonus_balance = 0 AND balance_at <= $2 AND credited_at < balance_at"
        " AND NOT EXISTS (SELECT FROM loyalty_stakes AS stake"
        " WHERE stake.user_id = awards.user_id AND stake.decided_at IS NULL)",
        now,
        since,
    )


async def grant_spins(tx: Tx, award: Award, game_id: str, bet_size: int) -> None:
    """Grant an award's spin chances for a game, each worth `bet_size` minor units."""
    await tx.execute(
        "INSERT INTO spin_chances (award_id, user_id, game_id, bet_size, currency, granted,"
        " remaining, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $6, $7)",
        award.award_id,
        award.user_id,
        game_id,
        bet_size,
        award.currency,
        award.spins,
        award.expires_at,
    )


async def find_used_spin(tx: Tx, spin_id: str) -> UsedSpin | None:
    """Return the answer that a spin got before, or None."""
    row = await tx.fetchrow(
        "SELECT user_id, game_id, bet_size, currency, remaining FROM spins_used WHERE spin_id = $1",
        spin_id,
    )
    if row is None:
        return None
    return UsedSpin(
        user_id=str(row["user_id"]),
        game_id=row["game_id"],
        bet_size=row["bet_size"],
        currency=row["currency"],
        remaining=row["remaining"],
    )


async def take_spin(tx: Tx, user_id: str, game_id: str, now: datetime) -> Record | None:
    """Take one chance from the grant that ends first; None when there is none.

    Returns award_id, bet_size, currency and how many the grant has left.
    """
    return await tx.fetchrow(
        "UPDATE spin_chances SET remaining = remaining - 1 WHERE award_id = ("
        " SELECT award_id FROM spin_chances WHERE user_id = $1 AND game_id = $2 AND remaining > 0"
        " AND expires_at > $3 ORDER BY expires_at LIMIT 1 FOR UPDATE)"
        " RETURNING award_id, bet_size, currency, remaining",
        user_id,
        game_id,
        now,
    )


async def insert_used_spin(
    tx: Tx, spin_id: str, award_id: str, used: UsedSpin, now: datetime
) -> None:
    """Record what a spin was answered, so that asking again answers the same."""
    await tx.execute(
        "INSERT INTO spins_used (spin_id, award_id, user_id, game_id, bet_size, currency,"
        " remaining, used_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        spin_id,
        award_id,
        used.user_id,
        used.game_id,
        used.bet_size,
        used.currency,
        used.remaining,
        now,
    )


async def spins_left(tx: Tx, user_id: str, now: datetime) -> dict[str, int]:
    """Count a player's spin chances by game."""
    rows = await tx.fetch(
        "SELECT game_id, sum(remaining)::integer AS remaining FROM spin_chances"
        " WHERE user_id = $1 AND remaining > 0 AND expires_at > $2"
        " GROUP BY game_id ORDER BY game_id",
        user_id,
        now,
    )
    return {row["game_id"]: row["remaining"] for row in rows}


async def campaign_totals(tx: Tx) -> dict[str, Campaign]:
    """Sum what each campaign has awarded, in minor units of all currencies together."""
    rows = await tx.fetch(
        "SELECT campaign, count(*) AS awards, sum(amount)::bigint AS amount,"
        " sum(spins)::bigint AS spins FROM awards GROUP BY campaign"
    )
    return {
        row["campaign"]: Campaign(
            campaign=row["campaign"],
            name=row["campaign"],
            active=False,
            awards=row["awards"],
            amount=row["amount"],
            spins=row["spins"],
        )
        for row in rows
    }
