"""SQL of the provider's statement, and of its comparison with our books."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from msgspec import Struct

from svc.mesh.database import Tx
from svc.payment.contract_reports import PaymentDifference, PaymentKind, Reconciliation
from svc.payment.store import as_json

BOOKS = """
    SELECT 'deposit' AS kind, provider_id, currency, coalesce(received, amount) AS amount
    FROM deposits WHERE status IN ('succeeded', 'refunded')
    UNION ALL
    SELECT 'refund', deposits.provider_id, deposits.currency, -refunds.amount
    FROM refunds JOIN deposits USING (deposit_id) WHERE refunds.state IN ('done', 'owed')
    UNION ALL
    SELECT 'refund', deposits.provider_id, deposits.currency, refund_returns.amount
    FROM refund_returns JOIN deposits USING (deposit_id) WHERE refund_returns.state = 'credited'
    UNION ALL
    SELECT 'withdrawal', provider_id, currency, -amount
    FROM withdrawals WHERE state IN ('paid', 'paid_pending_capture', 'returning')
    UNION ALL
    SELECT 'chargeback', provider_id, currency, -debited
    FROM disputes WHERE state NOT IN ('noted', 'debiting')
    UNION ALL
    SELECT 'chargeback', provider_id, currency, credited
    FROM disputes WHERE state = 'credited'
"""
"""What we booked: signed from the player's side, once the provider and the wallet were asked."""


class Line(Struct, frozen=True, kw_only=True):
    """A line of the provider's statement, signed from the player's side."""

    movement_id: str
    kind: PaymentKind
    provider_id: str
    amount: int
    currency: str
    moved_at: datetime


class BookTotal(Struct, frozen=True, kw_only=True):
    """What a kind came to, at the provider and in our books."""

    kind: PaymentKind
    currency: str
    provider: int
    booked: int


async def keep(tx: Tx, lines: Sequence[Line]) -> None:
    """Keep lines of the statement; those that are known stay as they are."""
    await tx.executemany(
        """
        INSERT INTO statement (movement_id, kind, provider_id, amount, currency, moved_at)
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (movement_id) DO NOTHING
        """,
        [msgspec.structs.astuple(line) for line in lines],
    )


async def totals(tx: Tx) -> list[BookTotal]:
    """Sum the statement and our books by kind and currency."""
    rows = await tx.fetch(
        f"""
        SELECT kind, currency, sum(provider)::bigint AS provider, sum(booked)::bigint AS booked
        FROM (
            SELECT kind, currency, amount AS provider, 0 AS booked FROM statement
            UNION ALL
            SELECT kind, currency, 0, amount FROM ({BOOKS}) AS books
        ) AS both_sides
        GROUP BY kind, currency ORDER BY kind, currency
        """  # noqa: S608 -- constants
    )
    return [
        BookTotal(
            kind=row["kind"],
            currency=row["currency"],
            provider=row["provider"],
            booked=row["booked"],
        )
        for row in rows
    ]


async def differences(tx: Tx) -> list[PaymentDifference]:
    """Return each payment, payout or dispute on which the statement and our books differ."""
    rows = await tx.fetch(
        f"""
        SELECT kind, provider_id, currency, sum(provider)::bigint AS provider,
            sum(booked)::bigint AS booked
        FROM (
            SELECT kind, provider_id, currency, amount AS provider, 0 AS booked FROM statement
            UNION ALL
            SELECT kind, provider_id, currency, 0, amount FROM ({BOOKS}) AS books
        ) AS both_sides
        GROUP BY kind, provider_id, currency HAVING sum(provider) <> sum(booked)
        ORDER BY kind, provider_id
        """  # noqa: S608 -- constants
    )
    return [
        PaymentDifference(
            kind=row["kind"],
            provider_id=row["provider_id"],
            currency=row["currency"],
            provider=row["provider"],
            booked=row["booked"],
        )
        for row in rows
    ]


async def looked_until(tx: Tx) -> datetime | None:
    """Return how far the newest comparison looked; None before the first."""
    found: datetime | None = await tx.fetchval("SELECT max(until) FROM reconciliations")
    return found


async def record(tx: Tx, reconciliation_id: str, found: Reconciliation) -> None:
    """Keep what a comparison found."""
    await tx.execute(
        """
        INSERT INTO reconciliations (reconciliation_id, until, differences, report)
        VALUES ($1, $2, $3, $4)
        """,
        reconciliation_id,
        found.until,
        found.differences,
        as_json(found),
    )


async def newest(tx: Tx) -> Reconciliation | None:
    """Return what the newest comparison found."""
    report: str | None = await tx.fetchval(
        "SELECT report FROM reconciliations ORDER BY until DESC LIMIT 1"
    )
    return msgspec.json.decode(report, type=Reconciliation) if report else None
