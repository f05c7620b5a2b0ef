"""All SQL of reporting: counts and sums by day, and the days that were closed."""

from datetime import date, datetime

import msgspec
from msgspec import Struct

from svc.mesh.database import Tx
from svc.reporting.contract import DailyReport
from svc.reporting.rules import Movement


class Sum(Struct, frozen=True, kw_only=True):
    """What the events of a day say of one kind and currency, in minor units."""

    day: date
    kind: str
    currency: str
    amount: int
    movements: int


async def count(tx: Tx, day: date, event_type: str) -> None:
    """Count an event."""
    await tx.execute(
        """
        INSERT INTO event_counts (day, type, events) VALUES ($1, $2, 1)
        ON CONFLICT (day, type) DO UPDATE SET events = event_counts.events + 1
        """,
        day,
        event_type,
    )


async def add(tx: Tx, day: date, movement: Movement) -> None:
    """Add money to the sum of its day, kind and currency."""
    await tx.execute(
        """
        INSERT INTO money (day, kind, currency, amount, movements) VALUES ($1, $2, $3, $4, 1)
        ON CONFLICT (day, kind, currency) DO UPDATE
        SET amount = money.amount + excluded.amount, movements = money.movements + 1
        """,
        day,
        movement.kind,
        movement.currency,
        movement.amount,
    )


async def counts(tx: Tx) -> dict[str, int]:
    """Return how many events were heard, by type."""
    rows = await tx.fetch(
        "SELECT type, sum(events)::bigint AS events FROM event_counts GROUP BY type ORDER BY type"
    )
    return {row["type"]: row["events"] for row in rows}


async def counts_by_day(tx: Tx, event_type: str, since: date, until: date) -> dict[str, int]:
    """Return how many events of a type there were on each day, both days included."""
    rows = await tx.fetch(
        """
        SELECT day, events FROM event_counts
        WHERE type = $1 AND day BETWEEN $2 AND $3 ORDER BY day
        """,
        event_type,
        since,
        until,
    )
    return {row["day"].isoformat(): row["events"] for row in rows}


async def sums(tx: Tx, since: date, until: date) -> list[Sum]:
    """Return the money of each day, kind and currency, both days included."""
    rows = await tx.fetch(
        """
        SELECT day, kind, currency, amount, movements FROM money
        WHERE day BETWEEN $1 AND $2 ORDER BY day, kind, currency
        """,
        since,
        until,
    )
    return [
        Sum(
            day=row["day"],
            kind=row["kind"],
            currency=row["currency"],
            amount=int(row["amount"]),
            movements=row["movements"],
        )
        for row in rows
    ]


async def forget(tx: Tx, since: date) -> None:
    """Forget counts and sums of a day and of all after it."""
    # Money first, as everywhere: events are worked on meanwhile.
    await tx.execute("DELETE FROM money WHERE day >= $1", since)
    await tx.execute("DELETE FROM event_counts WHERE day >= $1", since)


async def close_day(tx: Tx, day: date, report: DailyReport, now: datetime) -> None:
    """Keep the report of a day; closing it again replaces it."""
    await tx.execute(
        """
        INSERT INTO closed_days (day, report, closed_at) VALUES ($1, $2, $3)
        ON CONFLICT (day) DO UPDATE SET report = excluded.report, closed_at = excluded.closed_at
        """,
        day,
        msgspec.json.encode(report).decode(),
        now,
    )
