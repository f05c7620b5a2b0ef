"""The SQL of bets and their legs: one function per statement."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgspec
from asyncpg import Record
from msgspec import Struct

from svc.mesh.database import Tx
from svc.sportsbook.contract import BetKind, BetResult, BetStatus, LegResult, Liability
from svc.sportsbook.rules import Key, leg_factor, leg_result
from svc.sportsbook.uof_messages import BetCancel, BetSettlement, MarketResult


class BetRow(Struct, frozen=True, kw_only=True):
    """A bet as it is stored; money in minor units."""

    bet_id: str
    user_id: str
    request_hash: bytes
    kind: BetKind
    stake: int
    currency: str
    odds: Decimal
    potential_payout: int
    status: BetStatus
    result: BetResult | None = None
    payout: int | None = None
    refusal: str | None = None
    stake_transfer_id: str
    rollback_transfer_id: str
    placed_at: datetime
    expired_at: datetime | None = None
    settled_at: datetime | None = None


class LegRow(Struct, frozen=True, kw_only=True):
    """A leg of a bet, with what the feed said of its outcome and with its teams' names."""

    bet_id: str
    event_id: str
    market_id: int
    specifiers: str
    outcome_id: str
    odds: Decimal
    result: int | None = None
    void_factor: Decimal | None = None
    dead_heat_factor: Decimal | None = None
    cancelled: bool = False
    home: str = ""
    away: str = ""

    @property
    def word(self) -> LegResult:
        """Return the word for the leg's result; a cancelled leg is void whatever came in."""
        if self.cancelled:
            return "void"
        if self.result is None or self.void_factor is None:
            return "open"
        return leg_result(self.result, self.void_factor)

    @property
    def factor(self) -> Fraction:
        """Return what multiplies the stake; a leg that is void or still open counts as 1."""
        known = self.result, self.void_factor, self.dead_heat_factor
        if self.cancelled or known[0] is None or known[1] is None or known[2] is None:
            return Fraction(1)
        return leg_factor(self.odds, known[0], known[1], known[2])


BET_COLUMNS = (
    "bet_id::text, user_id::text, request_hash, kind, stake, currency, odds, potential_payout,"
    " status, result, payout, refusal::text, stake_transfer_id::text, rollback_transfer_id::text,"
    " placed_at, expired_at, settled_at"
)


def _bet(row: Record) -> BetRow:
    return BetRow(**dict(row))


async def by_key(tx: Tx, user_id: str, idempotency_key: str) -> BetRow | None:
    """Return the bet that a player asked for under a key, or None."""
    row = await tx.fetchrow(
        f"SELECT {BET_COLUMNS} FROM bet"  # noqa: S608 - a constant
        " WHERE user_id = $1 AND idempotency_key = $2",
        user_id,
        idempotency_key,
    )
    return None if row is None else _bet(row)


async def by_id(tx: Tx, bet_id: str, user_id: str | None = None) -> BetRow | None:
    """Return a bet, of one player when given, or None."""
    row = await tx.fetchrow(
        f"SELECT {BET_COLUMNS} FROM bet"  # noqa: S608 - a constant
        " WHERE bet_id = $1 AND ($2::uuid IS NULL OR user_id = $2)",
        bet_id,
        user_id,
    )
    return None if row is None else _bet(row)


async def page(
    tx: Tx, user_id: str, status: str | None, before: str | None, limit: int
) -> list[BetRow]:
    """Return a player's bets, newest first, from before a bet on (ids are ordered by time)."""
    rows = await tx.fetch(
        f"SELECT {BET_COLUMNS} FROM bet"  # noqa: S608 - a constant
        " WHERE user_id = $1 AND ($2::text IS NULL OR status = $2)"
        " AND ($3::uuid IS NULL OR bet_id < $3)"
        " ORDER BY bet.bet_id DESC LIMIT $4",
        user_id,
        status,
        before,
        limit,
    )
    return [_bet(row) for row in rows]


async def insert(
    tx: Tx, bet: BetRow, idempotency_key: str, odds_legs: Sequence[Decimal], keys: Sequence[Key]
) -> None:
    """Write a pending one-line bet with its legs, in two statements."""
    await tx.execute(
        """
        INSERT INTO bet (bet_id, user_id, idempotency_key, request_hash, kind, lines, unit_stake,
            stake, currency, odds, potential_payout, stake_transfer_id, rollback_transfer_id,
            placed_at)
        VALUES ($1, $2, $3, $4, $5, 1, $6, $6, $7, $8, $9, $10, $11, $12)
        """,
        bet.bet_id,
        bet.user_id,
        idempotency_key,
        bet.request_hash,
        bet.kind,
        bet.stake,
        bet.currency,
        bet.odds,
        bet.potential_payout,
        bet.stake_transfer_id,
        bet.rollback_transfer_id,
        bet.placed_at,
    )
    await tx.executemany(
        """
        INSERT INTO leg (bet_id, leg_no, event_id, market_id, specifiers, outcome_id, odds)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        """,
        [
            (bet.bet_id, number, *key, odds)
            for number, (key, odds) in enumerate(zip(keys, odds_legs, strict=True), start=1)
        ],
    )


async def accept(tx: Tx, bet_id: str, now: datetime) -> bool:
    """Accept a pending bet; False when it is not pending any more, or given up."""
    return bool(
        await tx.fetchval(
            """
            UPDATE bet SET status = 'accepted', accepted_at = $2
            WHERE bet_id = $1 AND status = 'pending' AND expired_at IS NULL
            RETURNING true
            """,
            bet_id,
            now,
        )
    )


async def reject(tx: Tx, bet_id: str, refusal: dict[str, Any]) -> bool:
    """Reject a pending bet for good, with the answer that every repetition gets."""
    return bool(
        await tx.fetchval(
            """
            UPDATE bet SET status = 'rejected', refusal = $2::jsonb
            WHERE bet_id = $1 AND status = 'pending'
            RETURNING true
            """,
            bet_id,
            msgspec.json.encode(refusal).decode(),
        )
    )


async def expire(tx: Tx, bet_id: str, now: datetime) -> bool:
    """Give a pending bet up: from now on it can only be rolled back, not accepted."""
    return bool(
        await tx.fetchval(
            """
            UPDATE bet SET expired_at = coalesce(expired_at, $2)
            WHERE bet_id = $1 AND status = 'pending'
            RETURNING true
            """,
            bet_id,
            now,
        )
    )


async def pending(tx: Tx, before: datetime, limit: int) -> list[BetRow]:
    """Return bets that were placed before an instant and still wait for the wallet."""
    rows = await tx.fetch(
        f"SELECT {BET_COLUMNS} FROM bet"  # noqa: S608 - a constant
        " WHERE status = 'pending' AND placed_at < $1 ORDER BY placed_at LIMIT $2",
        before,
        limit,
    )
    return [_bet(row) for row in rows]


async def lock(tx: Tx, bet_ids: Sequence[str]) -> list[BetRow]:
    """Lock bets, in the order of their ids so that two messages never wait for each other."""
    rows = await tx.fetch(
        f"SELECT {BET_COLUMNS} FROM bet"  # noqa: S608 - a constant
        " WHERE bet_id = ANY ($1::uuid[]) ORDER BY bet.bet_id FOR UPDATE",
        list(bet_ids),
    )
    return [_bet(row) for row in rows]


async def legs(tx: Tx, bet_ids: Sequence[str]) -> dict[str, list[LegRow]]:
    """Return the legs of bets, by bet and in their order."""
    rows = await tx.fetch(
        """
        SELECT bet_id::text, event_id, market_id, specifiers, outcome_id, odds, result,
               void_factor, dead_heat_factor, cancelled, home, away
        FROM leg JOIN event USING (event_id)
        WHERE bet_id = ANY ($1::uuid[])
        ORDER BY leg.bet_id, leg_no
        """,
        list(bet_ids),
    )
    found: dict[str, list[LegRow]] = {bet_id: [] for bet_id in bet_ids}
    for row in rows:
        leg = LegRow(**dict(row))
        found[leg.bet_id].append(leg)
    return found


async def settle_legs(tx: Tx, message: BetSettlement, markets: Sequence[MarketResult]) -> list[str]:
    """Write results on the legs of bets that are not paid yet, or on legs still open.

    Returns the ids of their bets. A result older than the one that stands changes nothing.
    """
    rows = await tx.fetch(
        """
        UPDATE leg
        SET result = r.result, void_factor = r.void_factor,
            dead_heat_factor = r.dead_heat_factor, settled_ms = $2
        FROM unnest($3::integer[], $4::text[], $5::text[], $6::smallint[], $7::numeric[],
                    $8::numeric[])
             AS r (market_id, specifiers, outcome_id, result, void_factor, dead_heat_factor), bet
        WHERE leg.event_id = $1 AND leg.market_id = r.market_id AND leg.specifiers = r.specifiers
          AND leg.outcome_id = r.outcome_id AND bet.bet_id = leg.bet_id
          AND (bet.status IN ('pending', 'accepted') OR leg.result IS NULL)
          AND coalesce(leg.settled_ms, 0) <= $2
        RETURNING leg.bet_id::text
        """,
        message.event_id,
        message.timestamp,
        *_columns(markets),
    )
    return [row["bet_id"] for row in rows]


async def differing_legs(tx: Tx, message: BetSettlement, markets: Sequence[MarketResult]) -> int:
    """Count legs of decided bets whose result a newer message states otherwise."""
    return await tx.fetchval(
        """
        SELECT count(*)
        FROM leg
        JOIN unnest($3::integer[], $4::text[], $5::text[], $6::smallint[], $7::numeric[],
                    $8::numeric[])
             AS r (market_id, specifiers, outcome_id, result, void_factor, dead_heat_factor)
          ON leg.market_id = r.market_id AND leg.specifiers = r.specifiers
             AND leg.outcome_id = r.outcome_id
        WHERE leg.event_id = $1 AND leg.settled_ms <= $2
          AND (leg.result, leg.void_factor, leg.dead_heat_factor)
              IS DISTINCT FROM (r.result, r.void_factor, r.dead_heat_factor)
        """,
        message.event_id,
        message.timestamp,
        *_columns(markets),
    )


def _columns(markets: Sequence[MarketResult]) -> list[list[Any]]:
    """Return results as the arrays of unnest, one per column."""
    rows = [
        (
            market.id,
            market.specifiers,
            each.id,
            each.result,
            each.void_factor,
            each.dead_heat_factor,
        )
        for market in markets
        for each in market.outcomes
    ]
    columns: list[list[Any]] = [list(column) for column in zip(*rows, strict=True)]
    return columns or [[], [], [], [], [], []]


CANCELLED_IN_WINDOW = """
    leg.event_id = $1 AND bet.bet_id = leg.bet_id AND NOT leg.cancelled
    AND (leg.market_id, leg.specifiers) IN (SELECT * FROM unnest($2::integer[], $3::text[]))
    AND ($4::bigint IS NULL OR bet.placed_at >= to_timestamp($4 / 1000.0))
    AND ($5::bigint IS NULL OR bet.placed_at < to_timestamp($5 / 1000.0))
"""
"""Legs that a bet_cancel is about: a bet is struck when its price is checked, at `placed_at`."""


async def cancel_legs(tx: Tx, message: BetCancel) -> list[str]:
    """Void legs of bets that are not decided yet; return the ids of their bets."""
    rows = await tx.fetch(
        f"UPDATE leg SET cancelled = true FROM bet WHERE {CANCELLED_IN_WINDOW}"  # noqa: S608 - a constant
        " AND bet.status IN ('pending', 'accepted') RETURNING leg.bet_id::text",
        *_window(message),
    )
    return [row["bet_id"] for row in rows]


async def decided_legs(tx: Tx, message: BetCancel) -> int:
    """Count legs that a cancellation is about, of bets that were decided before it came."""
    return await tx.fetchval(
        f"SELECT count(*) FROM leg, bet WHERE {CANCELLED_IN_WINDOW}"  # noqa: S608 - a constant
        " AND bet.status IN ('settled', 'cancelled', 'cashed_out')",
        *_window(message),
    )


def _window(message: BetCancel) -> tuple[object, ...]:
    return (
        message.event_id,
        [market.id for market in message.markets],
        [market.specifiers for market in message.markets],
        message.start_time,
        message.end_time,
    )


async def finish(
    tx: Tx,
    bet_id: str,
    *,
    status: BetStatus,
    result: BetResult,
    payout: int,
    transfer_id: str,
    now: datetime,
) -> None:
    """Write what became of an accepted bet, and under which transfer the wallet pays."""
    await tx.execute(
        """
        UPDATE bet
        SET status = $2, result = $3, payout = $4, payout_transfer_id = $5, settled_at = $6
        WHERE bet_id = $1 AND status = 'accepted'
        """,
        bet_id,
        status,
        result,
        payout,
        transfer_id,
        now,
    )


async def liabilities(tx: Tx) -> list[Liability]:
    """Sum what accepted bets could cost, by currency."""
    rows = await tx.fetch(
        """
        SELECT currency, count(*) AS open_bets, sum(stake)::bigint AS stakes,
               sum(potential_payout)::bigint AS potential_payout
        FROM bet WHERE status = 'accepted'
        GROUP BY currency ORDER BY currency
        """
    )
    return [Liability(**dict(row)) for row in rows]
