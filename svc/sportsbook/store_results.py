"""The SQL of what the feed says of results: settlements, voids by window, and their undoing.

The feed's statements may come in any order. What holds is what the newest one by its own timestamp
says; legs follow their outcomes and windows, those of paid bets too.
"""

from collections.abc import Sequence
from typing import Any

from svc.mesh.database import Tx
from svc.sportsbook.store_events import MarketKey
from svc.sportsbook.uof_messages import (
    BetCancel,
    BetSettlement,
    MarketRef,
    MarketResult,
    RollbackBetCancel,
    RollbackBetSettlement,
)

NO_END = 2**63 - 1
"""The end of a window that has none."""


async def rolled_back(tx: Tx, event_id: str) -> dict[MarketKey, int]:
    """Return the times (ms) of the newest rollbacks of the event's markets that had one."""
    rows = await tx.fetch(
        """
        SELECT market_id, specifiers, rolled_back_ms FROM market
        WHERE event_id = $1 AND rolled_back_ms > 0
        """,
        event_id,
    )
    return {(row["market_id"], row["specifiers"]): row["rolled_back_ms"] for row in rows}


async def close_markets(tx: Tx, settlement: BetSettlement, markets: Sequence[MarketResult]) -> None:
    """Mark markets as settled: their results are known."""
    await tx.executemany(
        """
        INSERT INTO market (event_id, market_id, specifiers, status, producer, decided)
        VALUES ($1, $2, $3, 'settled', $4, true)
        ON CONFLICT (event_id, market_id, specifiers) DO UPDATE
        SET status = 'settled', decided = true
        """,
        [
            (settlement.event_id, market.id, market.specifiers, settlement.product)
            for market in markets
        ],
    )


async def put_results(tx: Tx, settlement: BetSettlement, markets: Sequence[MarketResult]) -> None:
    """Record the results of outcomes, unless newer ones are there."""
    await tx.executemany(
        """
        INSERT INTO outcome (event_id, market_id, specifiers, outcome_id, active,
                             result, void_factor, dead_heat_factor, settled_ms)
        VALUES ($1, $2, $3, $4, false, $5, $6, $7, $8)
        ON CONFLICT (event_id, market_id, specifiers, outcome_id) DO UPDATE
        SET result = excluded.result, void_factor = excluded.void_factor,
            dead_heat_factor = excluded.dead_heat_factor, settled_ms = excluded.settled_ms
        WHERE coalesce(outcome.settled_ms, 0) <= excluded.settled_ms
        """,
        [
            (
                settlement.event_id, market.id, market.specifiers, each.id,
                each.result, each.void_factor, each.dead_heat_factor, settlement.timestamp,
            )
            for market in markets
            for each in market.outcomes
        ],
    )  # fmt: skip


async def take_back_results(tx: Tx, rollback: RollbackBetSettlement) -> None:
    """Take back the results of markets that are not newer than the rollback, in three statements.

    A market without any result is open again, but suspended: only new odds let bets in.
    """
    await tx.execute(
        """
        INSERT INTO market (event_id, market_id, specifiers, status, producer, rolled_back_ms)
        SELECT $1, market_id, specifiers, 'suspended', $5, $2
        FROM unnest($3::integer[], $4::text[]) AS m (market_id, specifiers)
        ON CONFLICT (event_id, market_id, specifiers) DO UPDATE
        SET rolled_back_ms = greatest(market.rolled_back_ms, excluded.rolled_back_ms)
        """,
        rollback.event_id,
        rollback.timestamp,
        *_keys(rollback.markets),
        rollback.product or 0,
    )
    await tx.execute(
        """
        UPDATE outcome
        SET result = NULL, void_factor = NULL, dead_heat_factor = NULL, settled_ms = NULL
        WHERE event_id = $1 AND settled_ms <= $2
          AND (market_id, specifiers) IN (SELECT * FROM unnest($3::integer[], $4::text[]))
        """,
        rollback.event_id,
        rollback.timestamp,
        *_keys(rollback.markets),
    )
    await tx.execute(
        """
        UPDATE market
        SET decided = false,
            status = CASE WHEN status = 'settled' THEN 'suspended' ELSE status END
        WHERE event_id = $1 AND decided
          AND (market_id, specifiers) IN (SELECT * FROM unnest($2::integer[], $3::text[]))
          AND NOT EXISTS (
              SELECT FROM outcome o
              WHERE o.event_id = market.event_id AND o.market_id = market.market_id
                AND o.specifiers = market.specifiers AND o.result IS NOT NULL)
        """,
        rollback.event_id,
        *_keys(rollback.markets),
    )


async def behind(tx: Tx, event_id: str, markets: Sequence[MarketRef | MarketResult]) -> list[str]:
    """Return the bets with legs on these markets that do not say what their outcomes say, by id."""
    rows = await tx.fetch(
        """
        SELECT DISTINCT leg.bet_id, leg.bet_id::text
        FROM outcome o
        JOIN leg ON leg.event_id = o.event_id AND leg.market_id = o.market_id
             AND leg.specifiers = o.specifiers AND leg.outcome_id = o.outcome_id
        WHERE o.event_id = $1
          AND (o.market_id, o.specifiers) IN (SELECT * FROM unnest($2::integer[], $3::text[]))
          AND (leg.result, leg.void_factor, leg.dead_heat_factor)
              IS DISTINCT FROM (o.result, o.void_factor, o.dead_heat_factor)
        ORDER BY leg.bet_id
        """,
        event_id,
        *_keys(markets),
    )
    return [row[1] for row in rows]


async def follow(tx: Tx, event_id: str, bet_ids: Sequence[str]) -> None:
    """Let bets' legs on an event say what their outcomes say.

    Legs of bets that are paid follow too: what was paid is then put right by the difference.
    """
    await tx.execute(
        """
        UPDATE leg
        SET result = o.result, void_factor = o.void_factor,
            dead_heat_factor = o.dead_heat_factor, settled_ms = o.settled_ms
        FROM outcome o
        WHERE leg.bet_id = ANY ($2::uuid[]) AND leg.event_id = $1
          AND o.event_id = $1 AND o.market_id = leg.market_id
          AND o.specifiers = leg.specifiers AND o.outcome_id = leg.outcome_id
          AND (leg.result, leg.void_factor, leg.dead_heat_factor)
              IS DISTINCT FROM (o.result, o.void_factor, o.dead_heat_factor)
        """,
        event_id,
        list(bet_ids),
    )


async def put_voids(tx: Tx, message: BetCancel | RollbackBetCancel) -> list[MarketRef]:
    """Record a window's cancellation or its undoing; return the markets that it changes now.

    A cancellation that is not newer than its undoing changes nothing, and the other way round; nor
    does one that is known: a window without an end must not reach bets that were struck later.
    Bets that are being written hold the markets: they are waited for, so that they are seen here.
    """
    await tx.execute(
        """
        SELECT FROM market
        WHERE event_id = $1
          AND (market_id, specifiers) IN (SELECT * FROM unnest($2::integer[], $3::text[]))
        ORDER BY market_id, specifiers
        FOR UPDATE
        """,
        message.event_id,
        *_keys(message.markets),
    )
    undoing = isinstance(message, RollbackBetCancel)
    rows = await tx.fetch(
        """
        INSERT INTO market_void
            (event_id, market_id, specifiers, start_ms, end_ms, cancelled_ms, undone_ms)
        SELECT DISTINCT $1, market_id, specifiers, $4::bigint, $5::bigint, $6::bigint, $7::bigint
        FROM unnest($2::integer[], $3::text[]) AS m (market_id, specifiers)
        ON CONFLICT (event_id, market_id, specifiers, start_ms, end_ms) DO UPDATE
        SET cancelled_ms = greatest(market_void.cancelled_ms, excluded.cancelled_ms),
            undone_ms = greatest(market_void.undone_ms, excluded.undone_ms)
        WHERE market_void.cancelled_ms < excluded.cancelled_ms
           OR market_void.undone_ms < excluded.undone_ms
        RETURNING market_id, specifiers, cancelled_ms > undone_ms AS holds
        """,
        message.event_id,
        *_keys(message.markets),
        *_window(message),
        0 if undoing else message.timestamp,
        message.timestamp if undoing else 0,
    )
    return [
        MarketRef(id=row["market_id"], specifiers=row["specifiers"])
        for row in rows
        if row["holds"] != undoing
    ]


async def void_legs(tx: Tx, message: BetCancel, markets: Sequence[MarketRef]) -> list[str]:
    """Void legs of bets struck in the window; return the ids of bets that changed.

    A bet is struck when its price is checked, at `placed_at`.
    """
    rows = await tx.fetch(
        """
        UPDATE leg SET cancelled = true
        FROM bet
        WHERE leg.event_id = $1 AND NOT leg.cancelled AND bet.bet_id = leg.bet_id
          AND (leg.market_id, leg.specifiers) IN (SELECT * FROM unnest($2::integer[], $3::text[]))
          AND bet.placed_at >= to_timestamp($4::bigint / 1000.0)
          AND ($5::bigint = 9223372036854775807 OR bet.placed_at < to_timestamp($5 / 1000.0))
        RETURNING leg.bet_id::text
        """,
        message.event_id,
        *_keys(markets),
        *_window(message),
    )
    return [row["bet_id"] for row in rows]


async def revive_legs(
    tx: Tx, message: RollbackBetCancel, markets: Sequence[MarketRef]
) -> list[str]:
    """Undo the void of legs struck in the window, unless another window still voids them.

    Returns the ids of bets that changed.
    """
    rows = await tx.fetch(
        """
        UPDATE leg SET cancelled = false
        FROM bet
        WHERE leg.event_id = $1 AND leg.cancelled AND bet.bet_id = leg.bet_id
          AND (leg.market_id, leg.specifiers) IN (SELECT * FROM unnest($2::integer[], $3::text[]))
          AND bet.placed_at >= to_timestamp($4::bigint / 1000.0)
          AND ($5::bigint = 9223372036854775807 OR bet.placed_at < to_timestamp($5 / 1000.0))
          AND NOT EXISTS (
              SELECT FROM market_void v
              WHERE v.event_id = leg.event_id AND v.market_id = leg.market_id
                AND v.specifiers = leg.specifiers AND v.cancelled_ms > v.undone_ms
                AND bet.placed_at >= to_timestamp(v.start_ms / 1000.0)
                AND (v.end_ms = 9223372036854775807
                     OR bet.placed_at < to_timestamp(v.end_ms / 1000.0)))
        RETURNING leg.bet_id::text
        """,
        message.event_id,
        *_keys(markets),
        *_window(message),
    )
    return [row["bet_id"] for row in rows]


def _window(message: BetCancel | RollbackBetCancel) -> tuple[int, int]:
    return message.start_time or 0, NO_END if message.end_time is None else message.end_time


def _keys(markets: Sequence[MarketRef | MarketResult]) -> tuple[list[Any], list[Any]]:
    """Return markets as the two arrays of unnest, each once."""
    keys = sorted({(market.id, market.specifiers) for market in markets})
    return [key[0] for key in keys], [key[1] for key in keys]
