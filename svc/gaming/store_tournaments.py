"""SQL of gaming for tournaments and their scores."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from asyncpg import Record

from svc.gaming.contract import Tournament
from svc.mesh.database import Tx

TOURNAMENT = "tournament_id, currency, prizes, starts_at, ends_at, status"


@dataclass(frozen=True)
class Score:
    """What a player has staked in a tournament, in minor units, and since when it stands."""

    user_id: str
    score: int
    reached_at: datetime


def to_tournament(row: Record) -> Tournament:
    """Build a tournament from its row; its name is added by the caller."""
    values: dict[str, Any] = dict(row)
    return Tournament(name="", **values)


def to_score(row: Record) -> Score:
    """Build a score from its row."""
    return Score(str(row["user_id"]), row["score"], row["reached_at"])


async def insert_tournament(tx: Tx, new: Tournament) -> None:
    """Open a tournament, unless its currency has one from the same start."""
    await tx.execute(
        """INSERT INTO tournaments (tournament_id, currency, prizes, starts_at, ends_at)
           VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING""",
        new.tournament_id,
        new.currency,
        new.prizes,
        new.starts_at,
        new.ends_at,
    )


async def earlier_tournaments(tx: Tx, week: str) -> tuple[int, datetime | None]:
    """Return how many tournaments there were in a week of a currency, and when the last ended."""
    row = await tx.fetchrow(
        """SELECT count(*) AS earlier, max(ends_at) AS ends_at FROM tournaments
           WHERE starts_with(tournament_id, $1)""",
        week,
    )
    assert row is not None
    return row["earlier"], row["ends_at"]


async def currencies_without_tournament(tx: Tx, currencies: list[str], now: datetime) -> list[str]:
    """Return the currencies, of those given and those known, in which nothing runs now."""
    rows = await tx.fetch(
        """SELECT currency FROM (SELECT unnest($1::text[]) UNION SELECT currency FROM tournaments)
               AS known (currency)
           WHERE NOT EXISTS (SELECT 1 FROM tournaments
                             WHERE tournaments.currency = known.currency AND ends_at > $2
                                 AND status = 'running')
           ORDER BY currency""",
        currencies,
        now,
    )
    return [row["currency"] for row in rows]


async def find_running(tx: Tx, currency: str, at: datetime) -> Tournament | None:
    """Return the tournament that a stake of this instant counts for; it stays open meanwhile."""
    row = await tx.fetchrow(
        f"""SELECT {TOURNAMENT} FROM tournaments
            WHERE currency = $1 AND status = 'running' AND starts_at <= $2 AND ends_at > $2
            FOR SHARE""",  # noqa: S608 -- a constant
        currency,
        at,
    )
    return to_tournament(row) if row else None


async def read_tournament(tx: Tx, tournament_id: str) -> Tournament | None:
    """Return a tournament."""
    row = await tx.fetchrow(
        f"SELECT {TOURNAMENT} FROM tournaments WHERE tournament_id = $1",  # noqa: S608 -- a constant
        tournament_id,
    )
    return to_tournament(row) if row else None


async def lock_tournament(tx: Tx, tournament_id: str) -> Tournament | None:
    """Return a tournament and keep stakes out of it until the commit."""
    row = await tx.fetchrow(
        f"SELECT {TOURNAMENT} FROM tournaments WHERE tournament_id = $1 FOR UPDATE",  # noqa: S608 -- a constant
        tournament_id,
    )
    return to_tournament(row) if row else None


async def running_tournaments(tx: Tx) -> list[str]:
    """Return the tournaments that are not closed."""
    rows = await tx.fetch(
        "SELECT tournament_id FROM tournaments WHERE status = 'running' ORDER BY tournament_id"
    )
    return [row["tournament_id"] for row in rows]


async def tournaments_due(tx: Tx, before: datetime) -> list[str]:
    """Lock and return the running tournaments that ended before an instant.

    Those that somebody works on just now are left to the next minute.
    """
    rows = await tx.fetch(
        """SELECT tournament_id FROM tournaments WHERE status = 'running' AND ends_at <= $1
           ORDER BY tournament_id FOR UPDATE SKIP LOCKED""",
        before,
    )
    return [row["tournament_id"] for row in rows]


async def add_stake(tx: Tx, tournament_id: str, user_id: str, stake: int, at: datetime) -> Score:
    """Add a stake, in minor units, to a player's score and return the score."""
    row = await tx.fetchrow(
        """INSERT INTO tournament_scores (tournament_id, user_id, score, reached_at)
           VALUES ($1, $2, $3, $4)
           ON CONFLICT (tournament_id, user_id) DO UPDATE
           SET score = tournament_scores.score + EXCLUDED.score,
               reached_at = GREATEST(tournament_scores.reached_at, EXCLUDED.reached_at)
           RETURNING user_id, score, reached_at""",
        tournament_id,
        user_id,
        stake,
        at,
    )
    assert row is not None
    return to_score(row)


async def top_scores(tx: Tx, tournament_id: str, limit: int | None) -> list[Score]:
    """Return the best scores in order, all of them when no limit is given."""
    rows = await tx.fetch(
        """SELECT user_id, score, reached_at FROM tournament_scores WHERE tournament_id = $1
           ORDER BY score DESC, reached_at, user_id DESC LIMIT $2""",
        tournament_id,
        limit,
    )
    return [to_score(row) for row in rows]


async def count_players(tx: Tx, tournament_id: str) -> int:
    """Return how many players have a score."""
    return await tx.fetchval(
        "SELECT count(*) FROM tournament_scores WHERE tournament_id = $1", tournament_id
    )


async def mark_closed(tx: Tx, tournament_id: str, now: datetime) -> None:
    """Store that a tournament is closed; one closed early ended now."""
    await tx.execute(
        """UPDATE tournaments SET status = 'closed', closed_at = $2,
               ends_at = GREATEST(starts_at, LEAST(ends_at, $2))
           WHERE tournament_id = $1""",
        tournament_id,
        now,
    )


async def list_tournaments(tx: Tx, limit: int) -> list[Tournament]:
    """Return the latest tournaments, running ones first; names are added by the caller."""
    rows = await tx.fetch(
        f"""SELECT {TOURNAMENT} FROM tournaments
            ORDER BY status DESC, ends_at DESC, tournament_id LIMIT $1""",  # noqa: S608 -- a constant
        limit,
    )
    return [to_tournament(row) for row in rows]
