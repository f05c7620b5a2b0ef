"""The SQL of bets and their legs: one function per statement."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import msgspec
from asyncpg import Record
from msgspec import Struct

from svc.mesh.database import Tx
from svc.sportsbook.contract import (
    BetKind,
    BetResult,
    BetStatus,
    LegResult,
    Liability,
    OddsPolicy,
)
from svc.sportsbook.rules import Key
from svc.sportsbook.rules_settlement import (
    OPEN,
    VOID,
    LegState,
    Rounding,
    leg_factor,
    leg_result,
)


class BetRow(Struct, frozen=True, kw_only=True):
    """A bet as it is stored; money in minor units.

    `stake` is all of it: the unit stake times the lines, twice each way. `version` counts what
    happened to it since it was accepted. `running` is the part that was not cashed out. `counted`
    stands against limits of the player's own. `payout_max` and `rounding` are those that it was
    struck on; bets from before these were kept have neither.
    """

    bet_id: str
    user_id: str
    request_hash: bytes
    kind: BetKind
    system_sizes: list[int] | None = None
    each_way: bool = False
    lines: int = 1
    unit_stake: int
    stake: int
    currency: str
    odds: Decimal
    odds_policy: OddsPolicy = "none"
    potential_payout: int
    free_bet_id: str | None = None
    lucky: bool = False
    counted: bool = False
    payout_max: int | None = None
    rounding: Rounding | None = None
    status: BetStatus
    version: int = 0
    running: Decimal = Decimal(1)
    cashed_out: int = 0
    result: BetResult | None = None
    payout: int | None = None
    refusal: str | None = None
    stake_transfer_id: str
    rollback_transfer_id: str
    payout_transfer_id: str | None = None
    placed_at: datetime
    recheck_at: datetime | None = None
    expired_at: datetime | None = None
    settled_at: datetime | None = None
    event_ids: list[str] | None = None


class LegRow(Struct, frozen=True, kw_only=True):
    """A leg of a bet, with what the feed said of its outcome and with its teams' names.

    The place half of an each-way leg is a leg of its own. `deduction` is what Rule 4 takes.
    """

    bet_id: str
    event_id: str
    market_id: int
    specifiers: str
    outcome_id: str
    part: Literal["win", "place"] = "win"
    odds: Decimal
    deduction: Decimal = Decimal(0)
    result: int | None = None
    void_factor: Decimal | None = None
    dead_heat_factor: Decimal | None = None
    cancelled: bool = False
    home: str = ""
    away: str = ""

    @property
    def key(self) -> Key:
        """Return what the leg is on."""
        return self.event_id, self.market_id, self.specifiers, self.outcome_id

    @property
    def word(self) -> LegResult:
        """Return the word for the leg's result; a cancelled leg is void whatever came in."""
        return self.state.word

    @property
    def state(self) -> LegState:
        """Return what is known of the leg; one that is void or still open counts as 1."""
        if self.cancelled:
            return VOID
        result, void, dead_heat = self.result, self.void_factor, self.dead_heat_factor
        if result is None or void is None or dead_heat is None:
            return OPEN
        factor = leg_factor(self.odds, result, void, dead_heat, self.deduction)
        return LegState(leg_result(result, void), factor)


BET_COLUMNS = (
    "bet_id::text, user_id::text, request_hash, kind, system_sizes, each_way, lines, unit_stake,"
    " stake, currency, odds, odds_policy, potential_payout, free_bet_id::text, lucky, counted,"
    " payout_max, rounding, status,"
    " version, running, cashed_out, result, payout, refusal::text, stake_transfer_id::text,"
    " rollback_transfer_id::text, payout_transfer_id::text, placed_at, recheck_at, expired_at,"
    " settled_at"
)


def _bet(row: Record) -> BetRow:
    return BetRow(**dict(row))


async def by_keys(tx: Tx, asked: Sequence[tuple[str, str]]) -> dict[tuple[str, str], BetRow]:
    """Return the bets that were asked for before, by player and key."""
    rows = await tx.fetch(
        f"SELECT idempotency_key, {BET_COLUMNS} FROM bet"  # noqa: S608 - a constant
        " WHERE (user_id, idempotency_key) IN (SELECT * FROM unnest($1::uuid[], $2::text[]))",
        [user_id for user_id, _ in asked],
        [key for _, key in asked],
    )
    found: dict[tuple[str, str], BetRow] = {}
    for row in rows:
        fields = dict(row)
        key = fields.pop("idempotency_key")
        found[fields["user_id"], key] = BetRow(**fields)
    return found


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


def columns(rows: Sequence[Sequence[Any]], width: int) -> list[list[Any]]:
    """Return rows as the arrays of unnest, one per column."""
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(width)]


async def told(tx: Tx, bet_ids: Sequence[str]) -> tuple[dict[str, list[str]], set[str]]:
    """Return the events of bets in the order of their legs, and the bets with decided legs."""
    rows = await tx.fetch(
        """
        SELECT bet_id::text, event_id, part, result IS NOT NULL OR cancelled AS decided
        FROM leg WHERE bet_id = ANY ($1::uuid[]) ORDER BY leg.bet_id, leg_no
        """,
        list(bet_ids),
    )
    events: dict[str, list[str]] = {bet_id: [] for bet_id in bet_ids}
    for row in rows:
        if row["part"] == "win":
            events[row["bet_id"]].append(row["event_id"])
    return events, {row["bet_id"] for row in rows if row["decided"]}


async def lock_unasked(tx: Tx, bet_id: str) -> bool:
    """Lock a bet, its legs first; False when its second look is over, and the wallet may be asked.

    Whoever looks again may have read the bet before somebody else was done with looking.
    """
    await tx.execute("SELECT FROM leg WHERE bet_id = $1 ORDER BY leg_no FOR UPDATE", bet_id)
    return bool(
        await tx.fetchval(
            """
            SELECT true FROM bet
            WHERE bet_id = $1 AND status = 'pending' AND recheck_at IS NOT NULL
            FOR UPDATE
            """,
            bet_id,
        )
    )


async def strike_again(
    tx: Tx, bet_id: str, odds_legs: Sequence[Decimal], odds: Decimal, potential_payout: int
) -> None:
    """Strike a locked bet at other prices, those of its win legs in their order."""
    await tx.execute(
        """
        UPDATE leg SET odds = n.odds FROM unnest($2::numeric[]) WITH ORDINALITY AS n (odds, leg_no)
        WHERE bet_id = $1 AND leg.leg_no = n.leg_no AND leg.odds <> n.odds
        """,
        bet_id,
        list(odds_legs),
    )
    await tx.execute(
        "UPDATE bet SET odds = $2, potential_payout = $3, recheck_at = NULL WHERE bet_id = $1",
        bet_id,
        odds,
        potential_payout,
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
    """Return bets that were placed before an instant and still wait for an answer."""
    rows = await tx.fetch(
        f"SELECT {BET_COLUMNS} FROM bet"  # noqa: S608 - a constant
        " WHERE bet_id = ANY (ARRAY(SELECT unnest(bet_ids) FROM struck)) AND status = 'pending'"
        " AND placed_at < $1 ORDER BY placed_at LIMIT $2",
        before,
        limit,
    )
    return [_bet(row) for row in rows]


async def forget_struck(tx: Tx) -> None:
    """Forget which bets were written together where all of them have their answers."""
    await tx.execute(
        """
        DELETE FROM struck WHERE NOT EXISTS (
            SELECT FROM bet WHERE bet_id = ANY (struck.bet_ids) AND status = 'pending')
        """
    )


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
        SELECT bet_id::text, event_id, market_id, specifiers, outcome_id, part, odds, deduction,
               result, void_factor, dead_heat_factor, cancelled, home, away
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


async def liabilities(tx: Tx) -> list[Liability]:
    """Sum what accepted bets could cost, by currency."""
    rows = await tx.fetch(
        """
        SELECT currency, sum(open_bets)::bigint AS open_bets, sum(stakes)::bigint AS stakes,
               sum(potential_payout)::bigint AS potential_payout
        FROM open_risk
        GROUP BY currency HAVING sum(open_bets) > 0 ORDER BY currency
        """
    )
    return [Liability(**dict(row)) for row in rows]
