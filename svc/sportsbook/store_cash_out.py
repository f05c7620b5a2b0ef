"""The SQL of buying bets back: what open legs are worth now, offers, and what was taken."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from msgspec import Struct

from svc.mesh.database import Tx
from svc.sportsbook.rules import Key
from svc.sportsbook.rules_cash_out import Chances


class Quote(Struct, frozen=True, kw_only=True):
    """An offer for a bet as it was at a version; `taken_at` None: nobody took it yet."""

    quote_id: str
    bet_id: str
    version: int
    amount: int
    expires_at: datetime
    idempotency_key: str | None = None
    fraction: Decimal | None = None
    paid: int | None = None
    taken_at: datetime | None = None


async def chances(tx: Tx, keys: Sequence[Key]) -> dict[Key, Chances]:
    """Return what the feed says of outcomes' chances, and whether bets on them may be sold."""
    rows = await tx.fetch(
        """
        SELECT event_id, market_id, specifiers, outcome_id, cashout_status,
               chance_win AS win, chance_half_win AS half_win, chance_refund AS refund,
               chance_half_lose AS half_lose
        FROM outcome JOIN market USING (event_id, market_id, specifiers)
        WHERE (event_id, market_id, specifiers, outcome_id) IN
              (SELECT * FROM unnest($1::text[], $2::integer[], $3::text[], $4::text[]))
        """,
        *(list(column) for column in zip(*keys, strict=True)),
    )
    found: dict[Key, Chances] = {}
    for row in rows:
        fields = dict(row)
        key = tuple(
            fields.pop(name) for name in ("event_id", "market_id", "specifiers", "outcome_id")
        )
        found[key] = Chances(**fields)
    return found


async def put_quote(tx: Tx, quote: Quote, now: datetime) -> None:
    """Write an offer."""
    await tx.execute(
        """
        INSERT INTO cash_out (quote_id, bet_id, version, amount, quoted_at, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6)
        """,
        quote.quote_id,
        quote.bet_id,
        quote.version,
        quote.amount,
        now,
        quote.expires_at,
    )


async def quotes(tx: Tx, bet_id: str, quote_id: str, idempotency_key: str) -> list[Quote]:
    """Return an offer for a bet, and the one that was taken under a key, if any."""
    rows = await tx.fetch(
        """
        SELECT quote_id::text, bet_id::text, version, amount, expires_at, idempotency_key,
               fraction, paid, taken_at
        FROM cash_out
        WHERE bet_id = $1 AND (quote_id = $2 OR idempotency_key = $3)
        """,
        bet_id,
        quote_id,
        idempotency_key,
    )
    return [Quote(**dict(row)) for row in rows]


async def take(tx: Tx, taken: Quote, transfer_id: str, now: datetime) -> None:
    """Record that an offer was taken, and under which id it is paid."""
    await tx.execute(
        """
        UPDATE cash_out
        SET idempotency_key = $2, fraction = $3, paid = $4, transfer_id = $5, taken_at = $6
        WHERE quote_id = $1 AND taken_at IS NULL
        """,
        taken.quote_id,
        taken.idempotency_key,
        taken.fraction,
        taken.paid,
        transfer_id,
        now,
    )


async def run_on(tx: Tx, bet_id: str, running: Decimal, potential_payout: int, paid: int) -> None:
    """Leave a part of a bet running after the rest was bought back."""
    await tx.execute(
        """
        UPDATE bet
        SET running = $2, potential_payout = $3, cashed_out = cashed_out + $4,
            version = version + 1
        WHERE bet_id = $1
        """,
        bet_id,
        running,
        potential_payout,
        paid,
    )


async def bought_back(tx: Tx, bet_id: str, paid: int, transfer_id: str, now: datetime) -> None:
    """End a bet that was bought back whole."""
    await tx.execute(
        """
        UPDATE bet
        SET status = 'cashed_out', result = 'cashed_out', payout = $2, payout_transfer_id = $3,
            settled_at = $4, cashed_out = cashed_out + $2, version = version + 1
        WHERE bet_id = $1
        """,
        bet_id,
        paid,
        transfer_id,
        now,
    )
