"""SQL of gaming for raffles: deposits, their tickets, and draws."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from asyncpg import Record

from svc.gaming.contract import Raffle
from svc.gaming.rules import ticket_id
from svc.mesh.database import Tx

RAFFLE = """raffle_id, currency, prize, winners_wanted, issued, status, draws_at, server_seed,
    commitment"""


@dataclass(frozen=True)
class StoredRaffle:
    """A raffle as stored, its secret seed included."""

    raffle_id: str
    currency: str
    prize: int
    winners_wanted: int
    issued: int
    status: str
    draws_at: datetime
    server_seed: str
    commitment: str


@dataclass(frozen=True)
class Deposit:
    """A deposit as the raffle sees it, in minor units."""

    raffle_id: str | None
    user_id: str
    amount: int
    refunded: int


def to_raffle(row: Record) -> StoredRaffle:
    """Build a raffle from its row."""
    values: dict[str, Any] = dict(row)
    return StoredRaffle(**values)


def to_deposit(row: Record | None) -> Deposit:
    """Build a deposit from its row."""
    assert row is not None
    values: dict[str, Any] = dict(row)
    values["user_id"] = str(values["user_id"])
    return Deposit(**values)


async def insert_raffle(tx: Tx, new: StoredRaffle, now: datetime) -> bool:
    """Open a raffle; False when its currency has an open one."""
    tag = await tx.execute(
        """INSERT INTO raffles (raffle_id, currency, prize, winners_wanted, opened_at, draws_at,
               server_seed, commitment)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING""",
        new.raffle_id,
        new.currency,
        new.prize,
        new.winners_wanted,
        now,
        new.draws_at,
        new.server_seed,
        new.commitment,
    )
    return tag == "INSERT 0 1"


async def count_raffles(tx: Tx, week: str) -> int:
    """Return how many raffles there are or were in a week of a currency."""
    return await tx.fetchval("SELECT count(*) FROM raffles WHERE starts_with(raffle_id, $1)", week)


async def lock_open_raffle(tx: Tx, currency: str) -> StoredRaffle | None:
    """Return a currency's open raffle; ticket numbers are given out one deposit at a time."""
    row = await tx.fetchrow(
        f"SELECT {RAFFLE} FROM raffles WHERE currency = $1 AND status = 'open' FOR UPDATE",  # noqa: S608 -- a constant
        currency,
    )
    return to_raffle(row) if row else None


async def lock_raffle(tx: Tx, raffle_id: str) -> StoredRaffle | None:
    """Return a raffle and keep others from changing it until the commit."""
    row = await tx.fetchrow(
        f"SELECT {RAFFLE} FROM raffles WHERE raffle_id = $1 FOR UPDATE",  # noqa: S608 -- a constant
        raffle_id,
    )
    return to_raffle(row) if row else None


async def raffles_due(tx: Tx, now: datetime) -> list[str]:
    """Lock and return the open raffles whose time has come, but those being drawn just now."""
    rows = await tx.fetch(
        """SELECT raffle_id FROM raffles WHERE status = 'open' AND draws_at <= $1
           ORDER BY raffle_id FOR UPDATE SKIP LOCKED""",
        now,
    )
    return [row["raffle_id"] for row in rows]


async def currencies_without_raffle(tx: Tx, currencies: list[str]) -> list[str]:
    """Return the currencies, of those given and those known, that have no open raffle."""
    rows = await tx.fetch(
        """SELECT currency FROM (SELECT unnest($1::text[]) UNION SELECT currency FROM raffles)
               AS known (currency)
           WHERE NOT EXISTS (SELECT 1 FROM raffles
                             WHERE raffles.currency = known.currency AND status = 'open')
           ORDER BY currency""",
        currencies,
    )
    return [row["currency"] for row in rows]


async def record_deposit(
    tx: Tx, payment_id: str, raffle_id: str, user_id: str, amount: int
) -> Deposit:
    """Store a deposit; a refund heard before it is kept."""
    return to_deposit(
        await tx.fetchrow(
            """INSERT INTO raffle_deposits (payment_id, raffle_id, user_id, amount)
               VALUES ($1, $2, $3, $4)
               ON CONFLICT (payment_id) DO UPDATE
               SET raffle_id = EXCLUDED.raffle_id, amount = EXCLUDED.amount
               RETURNING raffle_id, user_id, amount, refunded""",
            payment_id,
            raffle_id,
            user_id,
            amount,
        )
    )


async def record_refund(tx: Tx, payment_id: str, user_id: str, amount: int) -> Deposit:
    """Add a refund to its deposit, known or not yet."""
    return to_deposit(
        await tx.fetchrow(
            """INSERT INTO raffle_deposits (payment_id, user_id, refunded) VALUES ($1, $2, $3)
               ON CONFLICT (payment_id) DO UPDATE
               SET refunded = raffle_deposits.refunded + EXCLUDED.refunded
               RETURNING raffle_id, user_id, amount, refunded""",
            payment_id,
            user_id,
            amount,
        )
    )


async def issue_tickets(
    tx: Tx, raffle: StoredRaffle, user_id: str, payment_id: str, count: int
) -> None:
    """Give out the next tickets of a locked raffle."""
    await tx.execute(
        """INSERT INTO raffle_tickets (raffle_id, number, user_id, payment_id)
           SELECT $1, $2::integer + step, $3, $4
           FROM generate_series(0, $5::integer - 1) AS step""",
        raffle.raffle_id,
        raffle.issued,
        user_id,
        payment_id,
        count,
    )


async def count_issued(tx: Tx, raffle_id: str, count: int) -> None:
    """Use up ticket numbers."""
    await tx.execute(
        "UPDATE raffles SET issued = issued + $2 WHERE raffle_id = $1", raffle_id, count
    )


async def revoke_tickets(tx: Tx, payment_id: str, keep: int, now: datetime) -> int:
    """Take back a deposit's tickets but the first `keep`; return how many."""
    tag = await tx.execute(
        """UPDATE raffle_tickets SET revoked_at = $3
           WHERE (raffle_id, number) IN
               (SELECT raffle_id, number FROM raffle_tickets
                WHERE payment_id = $1 AND revoked_at IS NULL ORDER BY number OFFSET $2)""",
        payment_id,
        keep,
        now,
    )
    return int(tag.split()[1])


async def tickets_of(tx: Tx, raffle_id: str) -> list[tuple[str, str]]:
    """Return the tickets that take part and their holders, in order."""
    rows = await tx.fetch(
        """SELECT number, user_id FROM raffle_tickets
           WHERE raffle_id = $1 AND revoked_at IS NULL ORDER BY number""",
        raffle_id,
    )
    return [(ticket_id(row["number"]), str(row["user_id"])) for row in rows]


async def place_ticket(tx: Tx, raffle_id: str, ticket: str, place: int) -> None:
    """Record that a ticket won a place."""
    await tx.execute(
        "UPDATE raffle_tickets SET place = $3 WHERE raffle_id = $1 AND number = $2",
        raffle_id,
        int(ticket[1:]),
        place,
    )


async def mark_drawn(tx: Tx, raffle_id: str, list_hash: str, now: datetime) -> None:
    """Store that a raffle was drawn."""
    await tx.execute(
        """UPDATE raffles SET status = 'drawn', list_hash = $2, drawn_at = $3
           WHERE raffle_id = $1""",
        raffle_id,
        list_hash,
        now,
    )


async def list_raffles(tx: Tx, limit: int) -> list[Raffle]:
    """Return the latest raffles, open ones first; names are added by the caller."""
    rows = await tx.fetch(
        """SELECT raffle_id, currency, prize, status, draws_at, commitment, server_seed, list_hash,
               (SELECT count(*) FROM raffle_tickets t
                WHERE t.raffle_id = r.raffle_id AND revoked_at IS NULL) AS tickets,
               (SELECT array_agg(number ORDER BY place) FROM raffle_tickets t
                WHERE t.raffle_id = r.raffle_id AND place IS NOT NULL) AS winners
           FROM raffles r ORDER BY status DESC, draws_at DESC, raffle_id LIMIT $1""",
        limit,
    )
    return [
        Raffle(
            raffle_id=row["raffle_id"],
            name="",
            currency=row["currency"],
            prize=row["prize"],
            tickets=row["tickets"],
            status=row["status"],
            draws_at=row["draws_at"],
            commitment=row["commitment"],
            server_seed=row["server_seed"] if row["status"] == "drawn" else None,
            list_hash=row["list_hash"],
            winners=[ticket_id(number) for number in row["winners"] or ()],
        )
        for row in rows
    ]
