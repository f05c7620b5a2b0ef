"""All SQL of casino: sessions, rounds, and what is known of players."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from asyncpg import Record

from svc.casino.contract import GameTotal, RoundPlayed, SessionStatus
from svc.mesh.database import Tx


@dataclass(frozen=True)
class Player:
    """What other services' events say of a player."""

    excluded_until: datetime | None = None
    refunded_at: datetime | None = None
    free_spins: int = 0
    kyc_status: str = "none"
    disputed: bool = False


@dataclass(frozen=True)
class Session:
    """A session as stored, the secret seed included."""

    session_id: str
    user_id: str
    game_id: str
    server_seed: str
    server_seed_hash: str
    client_seed: str
    status: SessionStatus
    next_nonce: int
    rounds: int
    staked: int
    paid: int
    started_at: datetime


@dataclass(frozen=True)
class Round:
    """A round as stored; `outcome` and `payout` once played, `refusal` once rejected."""

    round_id: str
    session_id: str
    user_id: str
    request_hash: str
    nonce: int
    stake: int
    currency: str
    choice: dict[str, Any]
    free_spin: bool
    status: str
    stake_transfer_id: str
    payout_transfer_id: str
    rollback_transfer_id: str
    outcome: dict[str, Any] | None
    payout: int | None
    refusal: dict[str, Any] | None
    placed_at: datetime
    counted: bool = False


PLAYER = "excluded_until, refunded_at, free_spins, kyc_status, disputed"
SESSION = """session_id, user_id, game_id, server_seed, server_seed_hash, client_seed, status,
    next_nonce, rounds, staked, paid, started_at"""
ROUND = """round_id, session_id, user_id, request_hash, nonce, stake, currency, choice, free_spin,
    status, stake_transfer_id, payout_transfer_id, rollback_transfer_id, outcome, payout, refusal,
    placed_at, counted"""


def to_session(row: Record) -> Session:
    """Build a session from its row."""
    values: dict[str, Any] = dict(row)
    values |= {name: str(values[name]) for name in ("session_id", "user_id")}
    return Session(**values)


def to_round(row: Record) -> Round:
    """Build a round from its row: ids as text, documents decoded."""
    values: dict[str, Any] = dict(row)
    for name in ("choice", "outcome", "refusal"):
        values[name] = None if values[name] is None else msgspec.json.decode(values[name])
    for name in ("round_id", "session_id", "user_id"):
        values[name] = str(values[name])
    for name in ("stake_transfer_id", "payout_transfer_id", "rollback_transfer_id"):
        values[name] = str(values[name])
    return Round(**values)


async def insert_session(tx: Tx, session: Session) -> None:
    """Store a new session."""
    await tx.execute(
        """INSERT INTO sessions (session_id, user_id, game_id, server_seed, server_seed_hash,
               client_seed, started_at)
           VALUES ($1, $2, $3, $4, $5, $6, $7)""",
        session.session_id,
        session.user_id,
        session.game_id,
        session.server_seed,
        session.server_seed_hash,
        session.client_seed,
        session.started_at,
    )


async def read_session(tx: Tx, session_id: str, user_id: str) -> Session | None:
    """Return a player's own session."""
    row = await tx.fetchrow(
        f"SELECT {SESSION} FROM sessions WHERE session_id = $1 AND user_id = $2",  # noqa: S608 -- a constant
        session_id,
        user_id,
    )
    return to_session(row) if row else None


async def lock_session(tx: Tx, session_id: str, user_id: str) -> Session | None:
    """Return a player's own session and keep others from changing it until the commit."""
    row = await tx.fetchrow(
        f"SELECT {SESSION} FROM sessions WHERE session_id = $1 AND user_id = $2 FOR UPDATE",  # noqa: S608 -- a constant
        session_id,
        user_id,
    )
    return to_session(row) if row else None


async def take_nonce(tx: Tx, session_id: str) -> None:
    """Use up the session's next nonce."""
    await tx.execute(
        "UPDATE sessions SET next_nonce = next_nonce + 1 WHERE session_id = $1", session_id
    )


async def count_round(tx: Tx, session_id: str, stake: int, payout: int) -> Session:
    """Add a played round, in minor units, to its session and return the session."""
    row = await tx.fetchrow(
        f"""UPDATE sessions SET rounds = rounds + 1, staked = staked + $2, paid = paid + $3
            WHERE session_id = $1 RETURNING {SESSION}""",  # noqa: S608 -- a constant
        session_id,
        stake,
        payout,
    )
    assert row is not None
    return to_session(row)


async def close_session(tx: Tx, session_id: str, now: datetime) -> Session:
    """Close a session and return it."""
    row = await tx.fetchrow(
        f"""UPDATE sessions SET status = 'closed', closed_at = $2
            WHERE session_id = $1 RETURNING {SESSION}""",  # noqa: S608 -- a constant
        session_id,
        now,
    )
    assert row is not None
    return to_session(row)


async def find_round(tx: Tx, user_id: str, idempotency_key: str) -> Round | None:
    """Return the round that a player's key was used for."""
    row = await tx.fetchrow(
        f"SELECT {ROUND} FROM rounds WHERE user_id = $1 AND idempotency_key = $2",  # noqa: S608 -- a constant
        user_id,
        idempotency_key,
    )
    return to_round(row) if row else None


async def insert_round(tx: Tx, new: Round, idempotency_key: str) -> bool:
    """Store a pending round; False when the player's key is taken."""
    tag = await tx.execute(
        """INSERT INTO rounds (round_id, session_id, user_id, idempotency_key, request_hash, nonce,
               stake, currency, choice, free_spin, stake_transfer_id, payout_transfer_id,
               rollback_transfer_id, placed_at, counted)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
           ON CONFLICT (user_id, idempotency_key) DO NOTHING""",
        new.round_id,
        new.session_id,
        new.user_id,
        idempotency_key,
        new.request_hash,
        new.nonce,
        new.stake,
        new.currency,
        msgspec.json.encode(new.choice).decode(),
        new.free_spin,
        new.stake_transfer_id,
        new.payout_transfer_id,
        new.rollback_transfer_id,
        new.placed_at,
        new.counted,
    )
    return tag == "INSERT 0 1"


async def lock_round(tx: Tx, round_id: str) -> Round:
    """Return a round and keep others from deciding it until the commit."""
    row = await tx.fetchrow(
        f"SELECT {ROUND} FROM rounds WHERE round_id = $1 FOR UPDATE",  # noqa: S608 -- a constant
        round_id,
    )
    assert row is not None
    return to_round(row)


async def finish_round(tx: Tx, played: Round, payout_event_id: str, now: datetime) -> None:
    """Store what a round came to."""
    await tx.execute(
        """UPDATE rounds SET status = 'played', stake = $2, currency = $3, outcome = $4,
               payout = $5, payout_event_id = $6, decided_at = $7
           WHERE round_id = $1""",
        played.round_id,
        played.stake,
        played.currency,
        msgspec.json.encode(played.outcome).decode(),
        played.payout,
        payout_event_id,
        now,
    )


async def reject_round(
    tx: Tx, round_id: str, refusal: dict[str, Any], now: datetime
) -> Round | None:
    """Store why a round was refused; None when it is decided already."""
    row = await tx.fetchrow(
        f"""UPDATE rounds SET status = 'rejected', refusal = $2, decided_at = $3
            WHERE round_id = $1 AND status IN ('pending', 'reversing') RETURNING {ROUND}""",  # noqa: S608 -- a constant
        round_id,
        msgspec.json.encode(refusal).decode(),
        now,
    )
    return to_round(row) if row else None


async def reverse_rounds_of(tx: Tx, session_id: str) -> int:
    """Give back the stakes of a session that closes; return how many rounds that concerns.

    Free spins stay pending: nothing was staked, and their result cannot be chosen any more.
    """
    tag = await tx.execute(
        """UPDATE rounds SET status = 'reversing'
           WHERE session_id = $1 AND status = 'pending' AND NOT free_spin""",
        session_id,
    )
    return int(tag.split()[1])


async def reverse_round(tx: Tx, round_id: str) -> Round:
    """Begin to give back the stake of a round that was paid and may not be played."""
    row = await tx.fetchrow(
        f"UPDATE rounds SET status = 'reversing' WHERE round_id = $1 RETURNING {ROUND}",  # noqa: S608 -- a constant
        round_id,
    )
    assert row is not None
    return to_round(row)


async def reverse_rounds_before(tx: Tx, before: datetime) -> int:
    """Begin to give back the stakes of rounds that nobody finished; return how many."""
    tag = await tx.execute(
        """UPDATE rounds SET status = 'reversing'
           WHERE status = 'pending' AND NOT free_spin AND placed_at < $1""",
        before,
    )
    return int(tag.split()[1])


async def unfinished_rounds(tx: Tx, before: datetime, limit: int) -> list[Round]:
    """Return rounds whose stake is to be given back, and free spins left pending, oldest first."""
    rows = await tx.fetch(
        f"""SELECT {ROUND} FROM rounds
            WHERE status = 'reversing' OR (status = 'pending' AND free_spin AND placed_at < $1)
            ORDER BY placed_at LIMIT $2""",  # noqa: S608 -- a constant
        before,
        limit,
    )
    return [to_round(row) for row in rows]


async def last_round(tx: Tx, session_id: str) -> RoundPlayed | None:
    """Return the last round that was played in a session."""
    row = await tx.fetchrow(
        """SELECT round_id, nonce, outcome, payout FROM rounds
           WHERE session_id = $1 AND status = 'played' ORDER BY nonce DESC LIMIT 1""",
        session_id,
    )
    if row is None:
        return None
    return RoundPlayed(
        round_id=str(row["round_id"]),
        nonce=row["nonce"],
        outcome=msgspec.json.decode(row["outcome"]),
        payout=row["payout"],
    )


async def mark_notified(tx: Tx, payout_event_id: str, at: datetime) -> None:
    """Record that the player was told of a payout."""
    await tx.execute(
        """UPDATE rounds SET notified_at = $2
           WHERE payout_event_id = $1 AND notified_at IS NULL""",
        payout_event_id,
        at,
    )


async def read_player(tx: Tx, user_id: str) -> Player:
    """Return what is known of a player; nothing is also an answer."""
    row = await tx.fetchrow(
        f"SELECT {PLAYER} FROM players WHERE user_id = $1",  # noqa: S608 -- a constant
        user_id,
    )
    return Player(**dict(row)) if row else Player()


async def hold_player(tx: Tx, user_id: str) -> Player:
    """Return what is known of a player, which nobody changes until the commit."""
    held = f"SELECT {PLAYER} FROM players WHERE user_id = $1 FOR NO KEY UPDATE"  # noqa: S608 -- a constant
    row = await tx.fetchrow(held, user_id)
    if row is None:
        await tx.execute(
            "INSERT INTO players (user_id) VALUES ($1) ON CONFLICT (user_id) DO NOTHING", user_id
        )
        row = await tx.fetchrow(held, user_id)
    assert row is not None
    return Player(**dict(row))


async def exclude_player(tx: Tx, user_id: str, until: datetime) -> None:
    """Exclude a player; the later of two ends holds."""
    await tx.execute(
        """INSERT INTO players (user_id, excluded_until) VALUES ($1, $2)
           ON CONFLICT (user_id) DO UPDATE
           SET excluded_until = GREATEST(players.excluded_until, EXCLUDED.excluded_until)""",
        user_id,
        until,
    )


async def note_refund(tx: Tx, user_id: str, at: datetime) -> None:
    """Record when a player's deposit was last given back."""
    await tx.execute(
        """INSERT INTO players (user_id, refunded_at) VALUES ($1, $2)
           ON CONFLICT (user_id) DO UPDATE
           SET refunded_at = GREATEST(players.refunded_at, EXCLUDED.refunded_at)""",
        user_id,
        at,
    )


async def note_withdrawal(tx: Tx, user_id: str, at: datetime) -> None:
    """Record when a player last asked for a withdrawal."""
    await tx.execute(
        """INSERT INTO players (user_id, withdrawal_requested_at) VALUES ($1, $2)
           ON CONFLICT (user_id) DO UPDATE
           SET withdrawal_requested_at =
               GREATEST(players.withdrawal_requested_at, EXCLUDED.withdrawal_requested_at)""",
        user_id,
        at,
    )


async def add_free_spins(tx: Tx, user_id: str, spins: int) -> None:
    """Add spin chances that marketing awarded."""
    await tx.execute(
        """INSERT INTO players (user_id, free_spins) VALUES ($1, $2)
           ON CONFLICT (user_id) DO UPDATE
           SET free_spins = players.free_spins + EXCLUDED.free_spins""",
        user_id,
        spins,
    )


async def use_free_spin(tx: Tx, user_id: str) -> None:
    """Take one spin chance off the count."""
    await tx.execute(
        "UPDATE players SET free_spins = GREATEST(free_spins - 1, 0) WHERE user_id = $1", user_id
    )


async def add_to_totals(tx: Tx, game_id: str, currency: str, staked: int, paid: int) -> None:
    """Add one round, in minor units, to the sums of its game."""
    await tx.execute(
        """INSERT INTO game_totals (game_id, currency, rounds, staked, paid)
           VALUES ($1, $2, 1, $3, $4)
           ON CONFLICT (game_id, currency) DO UPDATE
           SET rounds = game_totals.rounds + 1, staked = game_totals.staked + EXCLUDED.staked,
               paid = game_totals.paid + EXCLUDED.paid""",
        game_id,
        currency,
        staked,
        paid,
    )


async def totals(tx: Tx) -> list[GameTotal]:
    """Return the sums of all games."""
    rows = await tx.fetch(
        """SELECT game_id, currency, rounds, staked, paid FROM game_totals
           ORDER BY game_id, currency"""
    )
    return [GameTotal(**dict(row)) for row in rows]
