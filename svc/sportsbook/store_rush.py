"""The SQL of plain bets in a rush: one statement writes many, one accepts, one tells of them."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from svc.mesh.database import Tx
from svc.sportsbook.feed_rules import ALIVE_WITHIN
from svc.sportsbook.rules import OVER, Key, Offer
from svc.sportsbook.store_bets import BetRow, LegRow, columns

WRITE = """
    WITH wanted AS (
        SELECT * FROM unnest($1::text[], $2::integer[], $3::text[], $4::text[], $5::numeric[],
                             $6::integer[], $7::text[], $8::timestamptz[], $9::bigint[])
        AS k (event_id, market_id, specifiers, outcome_id, odds, producer, event_status, starts_at,
              profit)
    ), offered AS (
        SELECT m.market_id
        FROM wanted k
        JOIN event e ON e.event_id = k.event_id
        JOIN market m ON m.event_id = k.event_id AND m.market_id = k.market_id
             AND m.specifiers = k.specifiers
        JOIN outcome o ON o.event_id = k.event_id AND o.market_id = k.market_id
             AND o.specifiers = k.specifiers AND o.outcome_id = k.outcome_id
        LEFT JOIN producer p ON p.producer = m.producer
        WHERE m.status = 'active' AND o.active AND o.result IS NULL AND o.odds = k.odds
          AND m.producer = k.producer AND e.status = k.event_status AND e.status <> ALL ($10)
          AND e.starts_at IS NOT DISTINCT FROM k.starts_at
          AND coalesce(p.up AND p.heard_at >= $11, true)
        ORDER BY m.event_id, m.market_id, m.specifiers
        FOR SHARE OF m, o
    ), held AS (
        SELECT x.amount + k.profit AS amount, k.profit
        FROM exposure x JOIN wanted k USING (event_id, market_id, specifiers, outcome_id)
        ORDER BY x.event_id, x.market_id, x.specifiers, x.outcome_id
        FOR UPDATE OF x
    ), fine AS MATERIALIZED (
        SELECT NOT EXISTS (SELECT FROM player_limit WHERE user_id = ANY ($14::uuid[]))
           AND (SELECT count(*) FROM offered) = cardinality($1)
           AND (SELECT count(*) FROM held WHERE amount <= $12 OR profit <= 0) = cardinality($1)
           AS ok
    ), struck AS (
        INSERT INTO bet (bet_id, user_id, idempotency_key, request_hash, kind, system_sizes, lines,
            unit_stake, stake, currency, odds, odds_policy, potential_payout, lucky,
            stake_transfer_id, rollback_transfer_id, placed_at, recheck_at)
        SELECT n.bet_id, n.user_id, n.key, n.request_hash, n.kind, n.sizes::integer[], n.lines,
            n.unit_stake, n.stake, n.currency, n.odds, n.odds_policy, n.potential_payout, n.lucky,
            n.stake_transfer_id, n.rollback_transfer_id, n.placed_at, n.recheck_at
        FROM fine, unnest($13::uuid[], $14::uuid[], $15::text[], $16::bytea[], $17::text[],
            $18::text[], $19::integer[], $20::bigint[], $21::bigint[], $22::text[], $23::numeric[],
            $24::text[], $25::bigint[], $26::boolean[], $27::uuid[], $28::uuid[],
            $29::timestamptz[], $30::timestamptz[])
        AS n (bet_id, user_id, key, request_hash, kind, sizes, lines, unit_stake, stake, currency,
            odds, odds_policy, potential_payout, lucky, stake_transfer_id, rollback_transfer_id,
            placed_at, recheck_at)
        WHERE fine.ok
    ), legs AS (
        INSERT INTO leg (bet_id, leg_no, event_id, market_id, specifiers, outcome_id, odds)
        SELECT n.*
        FROM fine, unnest($31::uuid[], $32::integer[], $33::text[], $34::integer[], $35::text[],
                          $36::text[], $37::numeric[]) AS n
        WHERE fine.ok
    ), risk AS (
        UPDATE exposure x SET amount = x.amount + k.profit
        FROM wanted k, fine
        WHERE fine.ok AND x.event_id = k.event_id AND x.market_id = k.market_id
          AND x.specifiers = k.specifiers AND x.outcome_id = k.outcome_id
    )
    SELECT ok FROM fine
"""
"""Writes all or none: the rows behind all selections say what was believed, no outcome carries more
than it may, and no player has limits of their own. Locks are taken in the order of all others:
players (before), markets and outcomes, risk."""


class Rush(Struct, frozen=True, kw_only=True):
    """Bets that are written together: with their keys and legs, and the profit on each selection.

    No outcome may cost more than `exposure_max`, in minor units.
    """

    bets: Sequence[tuple[BetRow, str, Sequence[LegRow]]]
    offers: Mapping[Key, Offer]
    profits: Mapping[Key, int]
    exposure_max: int


async def write(tx: Tx, rush: Rush) -> bool:
    """Write plain bets of locked players as pending; False when something is not as believed.

    Raises asyncpg's UniqueViolationError when one of their keys was used before.
    """
    return await tx.fetchval(
        WRITE,
        *columns(
            [
                (*key, offer.odds, offer.producer, offer.event_status, offer.starts_at, profit)
                for key, profit in sorted(rush.profits.items())
                for offer in (rush.offers[key],)
            ],
            9,
        ),
        list(OVER),
        tx.context.now() - ALIVE_WITHIN,
        rush.exposure_max,
        *columns([_inserted(bet, key) for bet, key, _ in rush.bets], 18),
        *columns(
            [
                (leg.bet_id, number, *leg.key, leg.odds)
                for _, _, legs in rush.bets
                for number, leg in enumerate(legs, start=1)
            ],
            7,
        ),
    )


def _inserted(bet: BetRow, key: str) -> tuple[object, ...]:
    sizes = bet.system_sizes
    return (
        bet.bet_id,
        bet.user_id,
        key,
        bet.request_hash,
        bet.kind,
        None if sizes is None else "{" + ",".join(str(size) for size in sizes) + "}",
        bet.lines,
        bet.unit_stake,
        bet.stake,
        bet.currency,
        bet.odds,
        bet.odds_policy,
        bet.potential_payout,
        bet.lucky,
        bet.stake_transfer_id,
        bet.rollback_transfer_id,
        bet.placed_at,
        bet.recheck_at,
    )


async def accept(
    tx: Tx, bet_ids: Sequence[str], user_ids: Sequence[str], now: datetime
) -> set[str]:
    """Accept pending bets under the locks of their players; return those that were.

    The others are given up, or not pending, or their players are excluded. Bets are found by their
    ids and compared with players afterwards: a player may have thousands.
    """
    rows = await tx.fetch(
        """
        WITH free AS (
            SELECT user_id FROM player
            WHERE user_id = ANY ($3::uuid[]) AND (excluded_until IS NULL OR excluded_until <= $2)
            ORDER BY user_id FOR UPDATE
        ), locked AS (
            SELECT bet_id, user_id FROM bet
            WHERE (SELECT count(*) FROM free) > 0 AND bet_id = ANY ($1::uuid[])
              AND status = 'pending' AND expired_at IS NULL
            ORDER BY bet_id FOR UPDATE
        )
        UPDATE bet SET status = 'accepted', accepted_at = $2
        FROM locked JOIN free USING (user_id) WHERE bet.bet_id = locked.bet_id
        RETURNING bet.bet_id::text
        """,
        list(bet_ids),
        now,
        list(user_ids),
    )
    return {row["bet_id"] for row in rows}


class Row(Struct, frozen=True, kw_only=True):
    """A row of the outbox with many events of one kind."""

    row_id: str
    subject: str
    body: bytes
    events: int


async def tell(tx: Tx, bet_ids: Sequence[str], row: Row) -> set[str]:
    """Write a row of the outbox; return which of the accepted bets have decided legs.

    This is read after the bets were locked: a settlement either is seen here or sees the bets.
    """
    rows = await tx.fetch(
        """
        WITH told AS (
            INSERT INTO mesh_outbox (event_id, subject, body, events) VALUES ($2, $3, $4, $5)
        )
        SELECT DISTINCT bet_id::text FROM leg
        WHERE bet_id = ANY ($1::uuid[]) AND (result IS NOT NULL OR cancelled)
        """,
        list(bet_ids),
        row.row_id,
        row.subject,
        row.body,
        row.events,
    )
    tx.pending_events += row.events
    return {row["bet_id"] for row in rows}
