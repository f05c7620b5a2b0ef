"""The SQL of events, markets, outcomes and producers: one function per statement."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from asyncpg import Record
from msgspec import Struct

from svc.mesh.database import Tx
from svc.sportsbook import house
from svc.sportsbook.contract import EventStatus, Fixture, MarketStatus
from svc.sportsbook.feed_rules import ALIVE_WITHIN
from svc.sportsbook.rules import Key, Offer
from svc.sportsbook.uof_messages import FixtureDocument, MarketOdds

MarketKey = tuple[int, str]


class EventRow(Struct, frozen=True, kw_only=True):
    """An event as it is stored."""

    event_id: str
    sport: str
    home: str
    away: str
    name: str
    starts_at: datetime | None
    status: EventStatus
    score: str
    status_ms: int
    fixture_changed_ms: int
    fixture_generated_at: datetime | None
    stopped_ms: int
    version: int


class ClockRow(Struct, frozen=True, kw_only=True):
    """A market of an event as one producer left it; `producer` last set the market's state."""

    market_id: int
    specifiers: str
    status: MarketStatus
    producer: int
    applied_ms: int
    handed_over: bool


EVENT_COLUMNS = (
    "event_id, sport, home, away, name, starts_at, status, score, status_ms, fixture_changed_ms,"
    " fixture_generated_at, stopped_ms, version"
)


def _event(row: Record) -> EventRow:
    return EventRow(**dict(row))


async def lock_event(tx: Tx, event_id: str) -> EventRow:
    """Lock an event for the rest of the transaction, make it if need be, raise its version.

    Messages about one event are worked on one after the other because of this lock.
    """
    row = await tx.fetchrow(
        "INSERT INTO event (event_id) VALUES ($1) ON CONFLICT (event_id)"  # noqa: S608 - a constant
        f" DO UPDATE SET version = event.version + 1 RETURNING {EVENT_COLUMNS}",
        event_id,
    )
    assert row is not None
    return _event(row)


async def hold_event(tx: Tx, event_id: str) -> None:
    """Let no message about an event be worked on until the transaction ends."""
    await tx.execute("SELECT FROM event WHERE event_id = $1 FOR UPDATE", event_id)


async def event(tx: Tx, event_id: str) -> EventRow | None:
    """Return an event, or None."""
    row = await tx.fetchrow(
        f"SELECT {EVENT_COLUMNS} FROM event WHERE event_id = $1",  # noqa: S608 - a constant
        event_id,
    )
    return None if row is None else _event(row)


async def events(tx: Tx, status: str | None, sport: str | None, limit: int) -> list[Fixture]:
    """Return events by start time, those without one last."""
    rows = await tx.fetch(
        """
        SELECT event_id, sport, name, starts_at, status, score
        FROM event
        WHERE ($1::text IS NULL OR status = $1) AND ($2::text IS NULL OR lower(sport) = lower($2))
        ORDER BY starts_at NULLS LAST, event_id
        LIMIT $3
        """,
        status,
        sport,
        limit,
    )
    return [Fixture(**dict(row)) for row in rows]


async def set_event_status(
    tx: Tx, event_id: str, status: str | None, score: str | None, at_ms: int
) -> None:
    """Record where an event stands; None leaves a field as it is."""
    await tx.execute(
        """
        UPDATE event
        SET status = coalesce($2, status), score = coalesce($3, score), status_ms = $4
        WHERE event_id = $1
        """,
        event_id,
        status,
        score,
        at_ms,
    )


async def set_fixture(tx: Tx, document: FixtureDocument, name: str) -> None:
    """Record who plays whom, when and in which sport; empty fields leave what was known."""
    await tx.execute(
        """
        UPDATE event
        SET sport = coalesce(nullif($2, ''), sport), home = coalesce(nullif($3, ''), home),
            away = coalesce(nullif($4, ''), away), name = coalesce(nullif($5, ''), name),
            starts_at = coalesce($6, starts_at),
            status = CASE WHEN status IN ('not_started', 'cancelled', 'postponed', 'delayed')
                          THEN coalesce($7, status) ELSE status END,
            fixture_generated_at = $8
        WHERE event_id = $1
        """,
        document.event_id,
        document.sport,
        document.home,
        document.away,
        name,
        document.start_time,
        document.status,
        document.generated_at,
    )


async def change_fixture(
    tx: Tx, event_id: str, starts_at: datetime | None, status: str | None, at_ms: int
) -> None:
    """Record a new start time or status; None leaves a field as it is."""
    await tx.execute(
        """
        UPDATE event
        SET starts_at = coalesce($2, starts_at), status = coalesce($3, status),
            fixture_changed_ms = $4
        WHERE event_id = $1
        """,
        event_id,
        starts_at,
        status,
        at_ms,
    )


async def clocks(tx: Tx, event_id: str, producer: int) -> dict[MarketKey, ClockRow]:
    """Return the event's markets with the time of this producer's last message (0: none yet)."""
    rows = await tx.fetch(
        """
        SELECT m.market_id, m.specifiers, m.status, m.producer,
               coalesce(c.applied_ms, 0) AS applied_ms,
               coalesce(c.handed_over, false) AS handed_over
        FROM market m
        LEFT JOIN market_clock c ON c.event_id = m.event_id AND c.market_id = m.market_id
             AND c.specifiers = m.specifiers AND c.producer = $2
        WHERE m.event_id = $1
        """,
        event_id,
        producer,
    )
    return {(row["market_id"], row["specifiers"]): ClockRow(**dict(row)) for row in rows}


async def put_markets(tx: Tx, event_id: str, producer: int, markets: Sequence[MarketOdds]) -> None:
    """Set the status of different markets; one whose results are known stays settled."""
    await tx.execute(
        """
        INSERT INTO market (event_id, market_id, specifiers, status, producer, cashout_status)
        SELECT $1, n.market_id, n.specifiers, n.status, $2, n.cashout_status
        FROM unnest($3::integer[], $4::text[], $5::text[], $6::smallint[])
             AS n (market_id, specifiers, status, cashout_status)
        ON CONFLICT (event_id, market_id, specifiers) DO UPDATE
        SET status = CASE WHEN market.decided THEN market.status ELSE excluded.status END,
            producer = excluded.producer, cashout_status = excluded.cashout_status
        """,
        event_id,
        producer,
        *_columns(
            [(each.id, each.specifiers, each.status, each.cashout_status) for each in markets], 4
        ),
    )


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    """Return rows as the arrays of unnest, one per column."""
    columns: list[list[Any]] = [list(column) for column in zip(*rows, strict=True)]
    return columns or [[] for _ in range(width)]


async def stop_markets(
    tx: Tx, event_id: str, status: MarketStatus, markets: Sequence[MarketKey]
) -> None:
    """Take markets off sale; only those that are active."""
    await tx.executemany(
        """
        UPDATE market SET status = $4
        WHERE event_id = $1 AND market_id = $2 AND specifiers = $3 AND status = 'active'
        """,
        [(event_id, market_id, specifiers, status) for market_id, specifiers in markets],
    )


async def put_clocks(
    tx: Tx, event_id: str, producer: int, at_ms: int, markets: Sequence[tuple[int, str, bool]]
) -> None:
    """Record that a producer's message of this time was applied to these different markets."""
    await tx.execute(
        """
        INSERT INTO market_clock
            (event_id, market_id, specifiers, producer, applied_ms, handed_over)
        SELECT $1, n.market_id, n.specifiers, $2, $3, n.handed_over
        FROM unnest($4::integer[], $5::text[], $6::boolean[])
             AS n (market_id, specifiers, handed_over)
        ON CONFLICT (event_id, market_id, specifiers, producer) DO UPDATE
        SET applied_ms = excluded.applied_ms, handed_over = excluded.handed_over
        """,
        event_id,
        producer,
        at_ms,
        *_columns(markets, 3),
    )


async def put_outcomes(tx: Tx, event_id: str, markets: Sequence[MarketOdds]) -> None:
    """Set the prices of the outcomes that a message lists; of one listed twice the last holds."""
    rows = {
        (market.id, market.specifiers, each.id): (
            market.id,
            market.specifiers,
            each.id,
            each.odds,
            each.active and each.odds is not None,
            *each.chances,
        )
        for market in markets
        for each in market.outcomes
    }
    await tx.execute(
        """
        INSERT INTO outcome (event_id, market_id, specifiers, outcome_id, odds, active,
                             chance_win, chance_half_win, chance_refund, chance_half_lose)
        SELECT $1, n.*
        FROM unnest($2::integer[], $3::text[], $4::text[], $5::numeric[], $6::boolean[],
                    $7::numeric[], $8::numeric[], $9::numeric[], $10::numeric[]) AS n
        ON CONFLICT (event_id, market_id, specifiers, outcome_id) DO UPDATE
        SET odds = coalesce(excluded.odds, outcome.odds), active = excluded.active,
            chance_win = excluded.chance_win, chance_half_win = excluded.chance_half_win,
            chance_refund = excluded.chance_refund, chance_half_lose = excluded.chance_half_lose
        """,
        event_id,
        *_columns(list(rows.values()), 9),
    )


async def drop_outcomes(tx: Tx, event_id: str, markets: Sequence[MarketOdds]) -> None:
    """Take off the outcomes that a market's message no longer lists."""
    listed = [
        (market.id, market.specifiers, each.id) for market in markets for each in market.outcomes
    ]
    await tx.execute(
        """
        UPDATE outcome SET active = false
        WHERE event_id = $1 AND active
          AND (market_id, specifiers) IN (SELECT * FROM unnest($2::integer[], $3::text[]))
          AND (market_id, specifiers, outcome_id) NOT IN (
              SELECT * FROM unnest($4::integer[], $5::text[], $6::text[]))
        """,
        event_id,
        *_columns([(market.id, market.specifiers) for market in markets], 2),
        *_columns(listed, 3),
    )


async def markets(tx: Tx, event_id: str) -> list[Record]:
    """Return an event's outcomes with their markets: a market without outcomes has one row.

    Active markets of a producer that is down are suspended.
    """
    return await tx.fetch(
        """
        SELECT m.market_id, m.specifiers, o.outcome_id, o.odds, o.active,
               CASE WHEN m.status = 'active' AND NOT coalesce(p.up AND p.heard_at >= $2, true)
                    THEN 'suspended' ELSE m.status END AS status
        FROM market m
        LEFT JOIN producer p USING (producer)
        LEFT JOIN outcome o USING (event_id, market_id, specifiers)
        WHERE event_id = $1
        ORDER BY m.market_id, m.specifiers, length(o.outcome_id), o.outcome_id
        """,
        event_id,
        tx.context.now() - ALIVE_WITHIN,
    )


async def lock_offers(tx: Tx, keys: Sequence[Key]) -> dict[Key, Offer]:
    """Return what stands behind selections, and keep it so until the transaction ends.

    Share locks on market and outcome: the price that is checked is the price in force when the
    bet is written, and a settlement either comes before (and is seen here) or sees the bet. Odds
    are as old as their producer's last message about the event: what it does not list stays.
    """
    rows = await tx.fetch(
        """
        SELECT m.event_id, m.market_id, m.specifiers, o.outcome_id, o.odds, o.active,
               o.result IS NOT NULL AS decided, m.status AS market_status, m.producer,
               e.status AS event_status, e.starts_at,
               coalesce(p.up AND p.heard_at >= $5, true) AS producer_up,
               CASE WHEN e.status = 'live' THEN $6::interval + (
                   SELECT to_timestamp(max(c.applied_ms) / 1000.0) FROM market_clock c
                   WHERE c.event_id = m.event_id AND c.producer = m.producer) END AS holds_until
        FROM unnest($1::text[], $2::integer[], $3::text[], $4::text[])
             AS k (event_id, market_id, specifiers, outcome_id)
        JOIN event e ON e.event_id = k.event_id
        JOIN market m ON m.event_id = k.event_id AND m.market_id = k.market_id
             AND m.specifiers = k.specifiers
        JOIN outcome o ON o.event_id = k.event_id AND o.market_id = k.market_id
             AND o.specifiers = k.specifiers AND o.outcome_id = k.outcome_id
        LEFT JOIN producer p ON p.producer = m.producer
        ORDER BY m.event_id, m.market_id, m.specifiers
        FOR SHARE OF m, o
        """,
        *(list(column) for column in zip(*keys, strict=True)),
        tx.context.now() - ALIVE_WITHIN,
        house.live_odds_hold(tx.context),
    )
    found: dict[Key, Offer] = {}
    for row in rows:
        fields = dict(row)
        key = tuple(
            fields.pop(name) for name in ("event_id", "market_id", "specifiers", "outcome_id")
        )
        found[key] = Offer(**fields)
    return found
