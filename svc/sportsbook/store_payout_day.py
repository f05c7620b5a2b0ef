"""The SQL of what players were paid in a day: statements over many bets at once."""

from collections.abc import Collection, Sequence
from datetime import date

from msgspec import Struct, structs

from svc.mesh.database import Tx
from svc.sportsbook.store_bets import columns

DayKey = tuple[str, str, date]
"""Whose day it is: player, currency, day in UTC."""


class Paid(Struct, frozen=True, kw_only=True):
    """What was paid in a day, what would have been without the limit, and the limit."""

    paid_id: str
    user_id: str
    currency: str
    day: date
    amount: int
    owed: int
    most: int

    @property
    def key(self) -> DayKey:
        """Return whose day it is."""
        return self.user_id, self.currency, self.day


async def lock(tx: Tx, user_ids: Collection[str]) -> None:
    """Let one transaction after the other reckon a player's day."""
    await tx.execute(
        """
        SELECT pg_advisory_xact_lock(hashtextextended('sportsbook day ' || user_id, 0))
        FROM unnest($1::text[]) AS user_id
        """,
        sorted(user_ids),
    )


async def of_bets(tx: Tx, bet_ids: Sequence[str]) -> dict[str, Paid]:
    """Return what bets were paid, by bet."""
    rows = await tx.fetch(
        """
        SELECT paid_id::text, user_id::text, currency, day, amount, owed, most
        FROM paid_in_day WHERE paid_id = ANY ($1::uuid[])
        """,
        list(bet_ids),
    )
    return {row["paid_id"]: Paid(**dict(row)) for row in rows}


async def totals(tx: Tx, user_ids: Collection[str], days: Collection[date]) -> dict[DayKey, int]:
    """Return what players were paid altogether on these days."""
    rows = await tx.fetch(
        """
        SELECT user_id::text, currency, day, sum(amount)::bigint AS amount
        FROM paid_in_day WHERE user_id = ANY ($1::uuid[]) AND day = ANY ($2::date[])
        GROUP BY user_id, currency, day
        """,
        list(user_ids),
        list(days),
    )
    return {(row["user_id"], row["currency"], row["day"]): row["amount"] for row in rows}


async def put(tx: Tx, paid: Sequence[Paid]) -> None:
    """Write what was paid."""
    await tx.execute(
        """
        INSERT INTO paid_in_day (paid_id, user_id, currency, day, amount, owed, most)
        SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::date[], $5::bigint[],
                             $6::bigint[], $7::bigint[])
        ON CONFLICT (paid_id) DO UPDATE
        SET amount = excluded.amount, owed = excluded.owed
        """,
        *columns([structs.astuple(each) for each in paid], 7),
    )


async def drop(tx: Tx, bet_ids: Sequence[str]) -> None:
    """Forget what was paid for bets that it was taken back from."""
    await tx.execute("DELETE FROM paid_in_day WHERE paid_id = ANY ($1::uuid[])", list(bet_ids))


async def look_again(tx: Tx, keys: Sequence[DayKey]) -> None:
    """Note that there is room again for what was cut on these days."""
    await tx.execute(
        """
        UPDATE paid_in_day SET again = true
        WHERE (user_id, currency, day) IN
              (SELECT * FROM unnest($1::uuid[], $2::text[], $3::date[]))
          AND owed > amount
        """,
        *columns(keys, 3),
    )


async def take_again(tx: Tx, limit: int) -> list[str]:
    """Return bets for which there may be room again, each once."""
    rows = await tx.fetch(
        """
        UPDATE paid_in_day SET again = false
        WHERE paid_id IN (SELECT paid_id FROM paid_in_day WHERE again LIMIT $1)
        RETURNING paid_id::text
        """,
        limit,
    )
    return [row["paid_id"] for row in rows]
