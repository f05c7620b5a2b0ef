"""SQL that reads the ledger and moves nothing: balances, statements and totals."""

from datetime import date, datetime
from hashlib import md5
from typing import Any
from uuid import UUID

from msgspec import Struct

from svc.mesh.database import Tx
from svc.wallet.contract import KindTotal
from svc.wallet.contract_statements import Account

ACCOUNTS: tuple[Account, ...] = ("cash", "bonus", "held")
PLACES = 4
"""Positions of a statement per transfer: one for each of a player's accounts, and a spare one."""
MONTHS_AHEAD = 4


class Line(Struct, frozen=True, kw_only=True):
    """One entry of a player; `position` grows from entry to entry."""

    position: int
    entry_id: str
    transfer_id: str
    account: Account
    amount: int
    balance_after: int
    kind: str
    reference: str
    at: datetime
    currency: str


async def make_partitions(tx: Tx, today: date) -> int:
    """Prepare the months to come; returns how many were new."""
    return int(await tx.fetchval("SELECT make_partitions($1, $2)", today, MONTHS_AHEAD))


async def wallet_of(tx: Tx, user_id: str) -> Any | None:
    """Return a player's currency, cash, bonus and held, None without a wallet."""
    return await tx.fetchrow(
        "SELECT currency, cash, bonus, held, seq FROM wallet WHERE user_id = $1", user_id
    )


async def money_at(tx: Tx, user_id: str, at: datetime) -> Any | None:
    """Return a player's cash, bonus and held as they were at an instant, None before the first."""
    return await tx.fetchrow(
        """
        SELECT cash_after AS cash, bonus_after AS bonus, held_after AS held, seq
        FROM transfer WHERE user_id = $1 AND seq IS NOT NULL AND decided_at <= $2
        ORDER BY seq DESC LIMIT 1
        """,
        user_id,
        at,
    )


async def lines_of(tx: Tx, user_id: str, before: int | None, limit: int) -> list[Line]:
    """Return a player's entries before a position, newest first, `limit` at least.

    Fewer come only at the end. The transfer at the position may have one more before it, or none.
    """
    rows = await tx.fetch(
        """
        SELECT id, seq, kind, currency, reference, decided_at, cash_change, bonus_change,
            held_change, cash_after, bonus_after, held_after
        FROM transfer
        WHERE user_id = $1 AND seq IS NOT NULL AND seq <= $2
            AND (cash_change <> 0 OR bonus_change <> 0 OR held_change <> 0)
        ORDER BY seq DESC LIMIT $3
        """,
        user_id,
        2**62 if before is None else before // PLACES,
        limit + 1,
    )
    lines = [line for row in rows for line in _lines(row)]
    return [line for line in lines if before is None or line.position < before]


async def lines_between(
    tx: Tx,
    user_id: str,
    span: tuple[datetime | None, datetime | None],
    after: int | None,
    limit: int,
) -> list[Line]:
    """Return a player's entries of a span after a position, oldest first, `limit` at least.

    The span is [since, until); None is no bound. Fewer come only at the end.
    """
    rows = await tx.fetch(
        """
        SELECT id, seq, kind, currency, reference, decided_at, cash_change, bonus_change,
            held_change, cash_after, bonus_after, held_after
        FROM transfer
        WHERE user_id = $1 AND seq IS NOT NULL AND seq >= $2
            AND decided_at >= coalesce($3::timestamptz, '-infinity')
            AND decided_at < coalesce($4::timestamptz, 'infinity')
            AND (cash_change <> 0 OR bonus_change <> 0 OR held_change <> 0)
        ORDER BY seq LIMIT $5
        """,
        user_id,
        0 if after is None else after // PLACES,
        *span,
        limit + 1,
    )
    lines = [line for row in rows for line in reversed(_lines(row))]
    return [line for line in lines if after is None or line.position > after]


def _lines(row: Any) -> list[Line]:
    """Return the entries of one transfer, newest first."""
    return [
        Line(
            position=row["seq"] * PLACES + place,
            entry_id=_entry_id(row["id"], account),
            transfer_id=str(row["id"]),
            account=account,
            amount=row[f"{account}_change"],
            balance_after=row[f"{account}_after"],
            kind=row["kind"],
            reference=row["reference"],
            at=row["decided_at"],
            currency=row["currency"],
        )
        for place, account in reversed(list(enumerate(ACCOUNTS)))
        if row[f"{account}_change"]
    ]


def _entry_id(transfer_id: object, account: str) -> str:
    # The id of an entry follows from what it is, so it is the same whenever it is read.
    digest = md5(f"{transfer_id}/{account}".encode(), usedforsecurity=False).digest()
    return str(UUID(bytes=digest, version=3))


async def totals(tx: Tx, since: datetime, until: datetime) -> list[KindTotal]:
    """Return what each kind of transfer moved for players in [since, until), rollbacks netted.

    A jackpot is a prize here, as it is in the events that the sums are compared with.
    """
    rows = await tx.fetch(
        """
        SELECT told.kind, currency, sum(cash_change + bonus_change)::bigint, count(*)
        FROM transfer CROSS JOIN LATERAL (
            SELECT CASE kind WHEN 'jackpot' THEN 'prize' ELSE kind END AS kind) AS told
        WHERE decided_at >= $1 AND decided_at < $2 AND outcome = 'applied'
            AND (cash_change <> 0 OR bonus_change <> 0)
        GROUP BY told.kind, currency
        ORDER BY told.kind, currency
        """,
        since,
        until,
    )
    return [
        KindTotal(kind=kind, currency=currency, amount=amount, transfers=transfers)
        for kind, currency, amount, transfers in rows
    ]
