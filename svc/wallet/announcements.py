"""Tells of balances that moved: an event for everybody, and the cache for screens."""

import asyncio
from collections.abc import Iterable

from msgspec import structs

from svc.mesh.database import Tx
from svc.wallet.book import Money, Record
from svc.wallet.contract import BALANCE_CHANGED, Balance, BalanceChanged

REFRESHING: set[asyncio.Task[None]] = set()
"""Writes to the cache under way: callers do not wait for them."""


def balance_of(user_id: str, currency: str, money: Money) -> Balance:
    """Return a player's money as callers see it."""
    return Balance(
        user_id=user_id,
        currency=currency,
        cash=money.cash,
        bonus=money.bonus,
        held=money.held,
        available=money.available,
    )


async def announce(tx: Tx, records: Iterable[Record]) -> None:
    """Publish each balance that moved; after the commit, put the last ones into the cache."""
    latest: dict[str, Balance] = {}
    for record in records:
        if not record.change or not record.user_id or not record.currency or not record.kind:
            continue
        balance = balance_of(record.user_id, record.currency, record.after)
        latest[record.user_id] = balance
        changed = BalanceChanged(
            **structs.asdict(balance),
            transfer_id=record.transfer_id,
            kind=record.kind,
            amount=record.change.cash + record.change.bonus,
            reference=record.reference or "",
        )
        await tx.publish(BALANCE_CHANGED, changed, subject=record.user_id)

    async def refresh() -> None:
        for balance in latest.values():
            await tx.context.cache.put(balance.user_id, balance)

    async def start_refreshing() -> None:
        task = asyncio.create_task(refresh())
        REFRESHING.add(task)
        task.add_done_callback(REFRESHING.discard)

    if latest:
        tx.after_commit(start_refreshing)


async def finish_refreshing() -> None:
    """Wait until the cache shows what is committed."""
    await asyncio.gather(*REFRESHING)
