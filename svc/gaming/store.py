"""SQL of gaming for players, awards and jackpots; raffles and tournaments have their own files."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from asyncpg import Record

from svc.gaming.contract import Jackpot, JackpotWin, PrizeAwarded
from svc.gaming.rules import E4, Pot
from svc.mesh.database import Tx

POT = """jackpot_id, cycle, salt, commitment, seed, cap, main_e4, reserve_e4, contributed_e4,
    topped_up_e4, paid, target"""


@dataclass(frozen=True)
class StoredPot:
    """A jackpot as stored: the pot of the rules and the secret of its draw."""

    jackpot_id: str
    cycle: int
    salt: str
    commitment: str
    pot: Pot


def to_pot(row: Record) -> StoredPot:
    """Build a jackpot from its row."""
    values: dict[str, Any] = dict(row)
    own = {name: values.pop(name) for name in ("jackpot_id", "cycle", "salt", "commitment")}
    return StoredPot(**own, pot=Pot(**values))


async def register_player(tx: Tx, user_id: str, currency: str, at: datetime) -> None:
    """Record a new player."""
    await tx.execute(
        """INSERT INTO players (user_id, currency, registered_at) VALUES ($1, $2, $3)
           ON CONFLICT (user_id) DO UPDATE
           SET currency = EXCLUDED.currency, registered_at = EXCLUDED.registered_at""",
        user_id,
        currency,
        at,
    )


async def exclude_player(tx: Tx, user_id: str, until: datetime) -> None:
    """Exclude a player; the later of two ends holds."""
    await tx.execute(
        """INSERT INTO players (user_id, excluded_until) VALUES ($1, $2)
           ON CONFLICT (user_id) DO UPDATE
           SET excluded_until = GREATEST(players.excluded_until, EXCLUDED.excluded_until)""",
        user_id,
        until,
    )


async def is_excluded(tx: Tx, user_id: str, now: datetime) -> bool:
    """Return whether a player is excluded now."""
    return bool(
        await tx.fetchval(
            "SELECT true FROM players WHERE user_id = $1 AND excluded_until > $2", user_id, now
        )
    )


async def insert_award(
    tx: Tx, prize: PrizeAwarded, place: int, event_id: str, now: datetime
) -> None:
    """Store an award; the same place of a source is never awarded twice."""
    await tx.execute(
        """INSERT INTO awards (award_id, user_id, kind, source_id, place, amount, currency,
               transfer_id, event_id, awarded_at)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)""",
        prize.award_id,
        prize.user_id,
        prize.kind,
        prize.source_id,
        place,
        prize.amount,
        prize.currency,
        prize.transfer_id,
        event_id,
        now,
    )


async def mark_notified(tx: Tx, event_id: str, at: datetime) -> None:
    """Record that a winner was told."""
    await tx.execute(
        "UPDATE awards SET notified_at = $2 WHERE event_id = $1 AND notified_at IS NULL",
        event_id,
        at,
    )


async def insert_jackpot(tx: Tx, new: StoredPot, currency: str) -> None:
    """Store a currency's first pot, unless it has one."""
    await tx.execute(
        """INSERT INTO jackpots (jackpot_id, currency, seed, cap, target, salt, commitment)
           VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING""",
        new.jackpot_id,
        currency,
        new.pot.seed,
        new.pot.cap,
        new.pot.target,
        new.salt,
        new.commitment,
    )


async def lock_jackpot(tx: Tx, currency: str) -> StoredPot | None:
    """Return a currency's pot; bets wait here for each other, so one of them reaches the target."""
    row = await tx.fetchrow(
        f"SELECT {POT} FROM jackpots WHERE currency = $1 FOR UPDATE",  # noqa: S608 -- a constant
        currency,
    )
    return to_pot(row) if row else None


async def save_jackpot(tx: Tx, changed: StoredPot) -> None:
    """Store a pot after a contribution or a win."""
    pot = changed.pot
    await tx.execute(
        """UPDATE jackpots SET main_e4 = $2, reserve_e4 = $3, contributed_e4 = $4,
               topped_up_e4 = $5, paid = $6, target = $7, salt = $8, commitment = $9, cycle = $10
           WHERE jackpot_id = $1""",
        changed.jackpot_id,
        pot.main_e4,
        pot.reserve_e4,
        pot.contributed_e4,
        pot.topped_up_e4,
        pot.paid,
        pot.target,
        changed.salt,
        changed.commitment,
        changed.cycle,
    )


async def insert_win(tx: Tx, won: StoredPot, award_id: str, amount: int, now: datetime) -> None:
    """Store a pot that was won, its draw now public."""
    await tx.execute(
        """INSERT INTO jackpot_wins (jackpot_id, cycle, award_id, amount, target, salt, commitment,
               won_at)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8)""",
        won.jackpot_id,
        won.cycle,
        award_id,
        amount,
        won.pot.target,
        won.salt,
        won.commitment,
        now,
    )


async def list_jackpots(tx: Tx) -> list[Jackpot]:
    """Return all pots with the last win of each; names are added by the caller."""
    rows = await tx.fetch(
        """SELECT j.jackpot_id, j.currency, j.seed, j.cap, j.cycle, j.main_e4, j.commitment,
               w.cycle AS won_cycle, w.amount, w.target, w.salt, w.commitment AS won_commitment,
               w.won_at
           FROM jackpots j
           LEFT JOIN jackpot_wins w ON w.jackpot_id = j.jackpot_id AND w.cycle = j.cycle - 1
           ORDER BY j.jackpot_id"""
    )
    return [
        Jackpot(
            jackpot_id=row["jackpot_id"],
            name="",
            currency=row["currency"],
            value=row["seed"] + row["main_e4"] // E4,
            seed=row["seed"],
            wins=row["cycle"] - 1,
            commitment=row["commitment"],
            cap=row["cap"],
            cycle=row["cycle"],
            last_win=to_win(row) if row["won_cycle"] else None,
        )
        for row in rows
    ]


def to_win(row: Record) -> JackpotWin:
    """Build the last win of a pot from its columns."""
    return JackpotWin(
        cycle=row["won_cycle"],
        amount=row["amount"],
        target=row["target"],
        salt=row["salt"],
        commitment=row["won_commitment"],
        won_at=row["won_at"],
    )
