"""The SQL of plain bets in a rush: one statement writes many, one accepts, one tells of them."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from svc.mesh.database import Tx
from svc.sportsbook.feed_rules import ALIVE_WITHIN
from svc.sportsbook.rules import OVER, Key, Offer
from svc.sportsbook.store_bets import columns
from svc.sportsbook.store_new_bets import (
    BET_WRITTEN,
    LEG_WRITTEN,
    Struck,
    insertion,
    written_bets,
    written_legs,
)

FIRST_BET = 13
IDS, USERS = (FIRST_BET + list(BET_WRITTEN).index(name) for name in ("bet_id", "user_id"))
FIRST_LEG = FIRST_BET + len(BET_WRITTEN)
WRITE = f"""
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
        SELECT NOT EXISTS (SELECT FROM player_limit WHERE user_id = ANY (${USERS}::text::uuid[]))
           AND (SELECT count(*) FROM offered) = cardinality($1)
           AND (SELECT count(*) FROM held WHERE amount <= $12 OR profit <= 0) = cardinality($1)
           AS ok
    ), struck AS (
        {insertion("bet", BET_WRITTEN, FIRST_BET, "fine, ")} WHERE fine.ok
    ), noted AS (
        INSERT INTO struck (bet_ids) SELECT ${IDS}::text::uuid[] FROM fine WHERE fine.ok
    ), legs AS (
        {insertion("leg", LEG_WRITTEN, FIRST_LEG, "fine, ")} WHERE fine.ok
    ), risk AS (
        UPDATE exposure x SET amount = x.amount + k.profit
        FROM wanted k, fine
        WHERE fine.ok AND x.event_id = k.event_id AND x.market_id = k.market_id
          AND x.specifiers = k.specifiers AND x.outcome_id = k.outcome_id
    )
    SELECT ok FROM fine
"""  # noqa: S608 - constants
"""Writes all or none: the rows behind all selections say what was believed, no outcome carries more
than it may, and no player has limits of their own. Locks are taken in the order of all others:
players (before), markets and outcomes, risk."""


class Rush(Struct, frozen=True, kw_only=True):
    """Bets that are written together: with their keys and legs, and the profit on each selection.

    No outcome may cost more than `exposure_max`, in minor units.
    """

    bets: Sequence[Struck]
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
        *written_bets(rush.bets),
        *written_legs(rush.bets),
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
