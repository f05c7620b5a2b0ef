"""The SQL of what bets could cost the house: by outcome, free bets, and who runs in a market.

An outcome could cost what its bets pay if they win, and were paid for parts that were bought back,
less their stakes. An accumulator that is decided costs nothing any more; a single stays, since its
outcome takes no more bets anyway.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from svc.mesh.database import Tx
from svc.sportsbook.rules import Key
from svc.sportsbook.store_bets import BetRow, columns


class FreeBet(Struct, frozen=True, kw_only=True):
    """A free bet that a player was given; `bet_id` tells what it was used for."""

    free_bet_id: str
    user_id: str
    amount: int
    currency: str
    expires_at: datetime
    bet_id: str | None = None


async def held(tx: Tx, keys: Sequence[Key]) -> dict[Key, int]:
    """Return what outcomes could cost, and keep it so until the transaction ends."""
    rows = await tx.fetch(
        """
        SELECT event_id, market_id, specifiers, outcome_id, amount
        FROM exposure
        WHERE (event_id, market_id, specifiers, outcome_id) IN
              (SELECT * FROM unnest($1::text[], $2::integer[], $3::text[], $4::text[]))
        ORDER BY event_id, market_id, specifiers, outcome_id
        FOR UPDATE
        """,
        *columns(keys, 4),
    )
    return {
        (row["event_id"], row["market_id"], row["specifiers"], row["outcome_id"]): row["amount"]
        for row in rows
    }


async def begin(tx: Tx, keys: Sequence[Key]) -> None:
    """Make the rows of outcomes that nobody has bet on yet."""
    await tx.execute(
        """
        INSERT INTO exposure (event_id, market_id, specifiers, outcome_id, amount)
        SELECT n.*, 0 FROM unnest($1::text[], $2::integer[], $3::text[], $4::text[]) AS n
        ON CONFLICT (event_id, market_id, specifiers, outcome_id) DO NOTHING
        """,
        *columns(keys, 4),
    )


async def add(tx: Tx, profits: Mapping[Key, int]) -> None:
    """Add bets' profits to what their outcomes could cost."""
    await tx.execute(
        """
        INSERT INTO exposure (event_id, market_id, specifiers, outcome_id, amount)
        SELECT * FROM unnest($1::text[], $2::integer[], $3::text[], $4::text[], $5::bigint[])
        ON CONFLICT (event_id, market_id, specifiers, outcome_id) DO UPDATE
        SET amount = exposure.amount + excluded.amount
        """,
        *columns([(*key, profits[key]) for key in sorted(profits)], 5),
    )


async def release(tx: Tx, bet_ids: Sequence[str], sign: int = -1) -> None:
    """Take what bets could cost out of their outcomes; with a sign of 1 put it back."""
    if not bet_ids:
        return
    await tx.execute(
        """
        WITH part AS (
            SELECT event_id, market_id, specifiers, outcome_id,
                   sum(potential_payout + cashed_out
                       - CASE WHEN free_bet_id IS NULL THEN stake ELSE 0 END)::bigint AS amount
            FROM leg JOIN bet USING (bet_id)
            WHERE bet_id = ANY ($1::uuid[]) AND part = 'win'
            GROUP BY event_id, market_id, specifiers, outcome_id
        ), held AS (
            SELECT exposure.ctid, part.amount
            FROM exposure JOIN part USING (event_id, market_id, specifiers, outcome_id)
            ORDER BY event_id, market_id, specifiers, outcome_id
            FOR UPDATE OF exposure
        )
        UPDATE exposure SET amount = exposure.amount + $2 * held.amount
        FROM held WHERE exposure.ctid = held.ctid
        """,
        list(bet_ids),
        sign,
    )


async def runners(tx: Tx, key: Key) -> int:
    """Return how many run in a selection's market: outcomes that are offered."""
    return await tx.fetchval(
        """
        SELECT count(*) FROM outcome
        WHERE event_id = $1 AND market_id = $2 AND specifiers = $3 AND active
        """,
        *key[:3],
    )


async def grant(tx: Tx, free: FreeBet, granted_by: str | None, now: datetime) -> None:
    """Give a player a free bet."""
    await tx.execute(
        """
        INSERT INTO free_bet (free_bet_id, user_id, amount, currency, expires_at, granted_by,
                              granted_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        """,
        free.free_bet_id,
        free.user_id,
        free.amount,
        free.currency,
        free.expires_at,
        granted_by,
        now,
    )


async def free_bets(tx: Tx, user_id: str, now: datetime) -> list[FreeBet]:
    """Return the free bets that a player may still use, the next to expire first."""
    rows = await tx.fetch(
        """
        SELECT free_bet_id::text, user_id::text, amount, currency, expires_at, bet_id::text
        FROM free_bet
        WHERE user_id = $1 AND bet_id IS NULL AND expires_at > $2
        ORDER BY expires_at, free_bet_id
        """,
        user_id,
        now,
    )
    return [FreeBet(**dict(row)) for row in rows]


async def use(tx: Tx, bet: BetRow) -> bool:
    """Use a player's free bet for a bet of all of it; False when there is no such unused one."""
    return bool(
        await tx.fetchval(
            """
            UPDATE free_bet SET bet_id = $3
            WHERE free_bet_id = $1 AND user_id = $2 AND bet_id IS NULL AND expires_at > $4
              AND amount = $5 AND currency = $6
            RETURNING true
            """,
            bet.free_bet_id,
            bet.user_id,
            bet.bet_id,
            bet.placed_at,
            bet.stake,
            bet.currency,
        )
    )


async def give_back(tx: Tx, bet_ids: Sequence[str]) -> None:
    """Give free bets back whose bets were void or refused."""
    await tx.execute(
        "UPDATE free_bet SET bet_id = NULL WHERE bet_id = ANY ($1::uuid[])", list(bet_ids)
    )


async def use_again(tx: Tx, bet_ids: Sequence[str]) -> None:
    """Use free bets again whose bets are void no more, unless others used them meanwhile."""
    await tx.execute(
        """
        UPDATE free_bet SET bet_id = bet.bet_id
        FROM bet
        WHERE bet.bet_id = ANY ($1::uuid[]) AND free_bet.free_bet_id = bet.free_bet_id
          AND free_bet.bet_id IS NULL
        """,
        list(bet_ids),
    )
