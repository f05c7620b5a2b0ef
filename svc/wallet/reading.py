"""What the wallet's reading calls do: balances now and then, statements as pages and as files."""

import re
from typing import Any

from svc.mesh.clock import in_utc
from svc.mesh.context import Context
from svc.mesh.errors import Invalid, NotFound
from svc.wallet import statements
from svc.wallet.book import NOTHING, Money
from svc.wallet.contract import (
    Balance,
    BalanceOf,
    Entries,
    EntriesOf,
    Statement,
    StatementOf,
)
from svc.wallet.contract_statements import Entry
from svc.wallet.export import csv_of
from svc.wallet.refreshing import balance_of

CURSOR = re.compile(r"[0-9]{1,18}")


async def balance(request: BalanceOf, context: Context) -> Balance:
    """Return a player's balance, now or at an instant; raises NotFound without a wallet."""
    then: Any = None
    at = request.at and in_utc(request.at, "at")
    async with context.transaction() as tx:
        found = await statements.wallet_of(tx, request.user_id)
        if at is not None:
            then = await statements.money_at(tx, request.user_id, at)
    if found is None:
        raise NotFound("this user has no wallet")
    row = found if at is None else then
    money = Money(row["cash"], row["bonus"], row["held"]) if row else NOTHING
    version = row["seq"] if row else 0
    return balance_of(request.user_id, found["currency"], money, version)


async def entries(request: EntriesOf, context: Context) -> Entries:
    """Return a page of entries by position: what is written meanwhile moves no page."""
    before = position_of(request.cursor)
    async with context.transaction() as tx:
        if await statements.wallet_of(tx, request.user_id) is None:
            raise NotFound("this user has no wallet")
        lines = await statements.lines_of(tx, request.user_id, before, request.limit + 1)
    page = lines[: request.limit]
    items = [
        Entry(
            entry_id=line.entry_id,
            transfer_id=line.transfer_id,
            account=line.account,
            amount=line.amount,
            balance_after=line.balance_after,
            kind=line.kind,
            title=await context.localizer.text(request.locale, "wallet", f"kind.{line.kind}"),
            reference=line.reference,
            at=line.at,
        )
        for line in page
    ]
    return Entries(
        items=items,
        next_cursor=str(page[-1].position) if len(lines) > request.limit else None,
    )


async def statement(request: StatementOf, context: Context) -> Statement:
    """Return a page of CSV, from the oldest entry on: what is written meanwhile is on the last."""
    after = position_of(request.cursor)
    since = request.since and in_utc(request.since, "since")
    until = request.until and in_utc(request.until, "until")
    async with context.transaction() as tx:
        if await statements.wallet_of(tx, request.user_id) is None:
            raise NotFound("this user has no wallet")
        lines = await statements.lines_between(
            tx, request.user_id, (since, until), after, request.limit + 1
        )
    page = lines[: request.limit]
    kinds = {line.kind for line in page}
    titles = {
        kind: await context.localizer.text(request.locale, "wallet", f"kind.{kind}")
        for kind in sorted(kinds)
    }
    return Statement(
        text=csv_of(page, titles, header=after is None),
        next_cursor=str(page[-1].position) if len(lines) > request.limit else None,
    )


def position_of(cursor: str | None) -> int | None:
    """Return the position that a cursor stands for; raises Invalid for one that is not ours."""
    if cursor is None:
        return None
    if not CURSOR.fullmatch(cursor):
        raise Invalid("this cursor did not come from here - at `$.cursor`")
    return int(cursor)
