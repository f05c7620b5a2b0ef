"""Tells of balances that moved: an event for everybody, and the cache for screens."""

import asyncio
from collections.abc import Iterable

import msgspec

from svc.mesh.cache import Cache
from svc.mesh.context import Context
from svc.wallet.book import Money, Record
from svc.wallet.contract import BALANCE_CHANGED, Balance, BalanceChanged
from svc.wallet.store import Changed

PUTS_AT_ONCE = 32
GATHER_S = 0.02
"""A balance that moves again meanwhile is put once."""
PAUSE_S = 0.1
"""While many balances move, screens wait so that money does not: at most 320 writes a second."""

REFRESHING: set[asyncio.Task[None]] = set()
"""Writes to the cache under way: callers do not wait for them."""

encode = msgspec.json.Encoder().encode


def balance_of(user_id: str, currency: str, money: Money, version: int) -> Balance:
    """Return a player's money as callers see it, after so many transfers."""
    return Balance(
        user_id=user_id,
        currency=currency,
        cash=money.cash,
        bonus=money.bonus,
        held=money.held,
        available=money.available,
        debt=money.debt,
        version=version,
    )


def events_of(decided: Iterable[tuple[Record, Context]]) -> list[tuple[str, bytes]]:
    """Return id and body of the event of each balance that moved, caused by what was asked."""
    events: list[tuple[str, bytes]] = []
    for record, context in decided:
        change, after = record.change, record.after
        if not record.user_id or not record.currency or not record.kind or not change:
            continue
        changed = BalanceChanged(
            user_id=record.user_id,
            currency=record.currency,
            cash=after.cash,
            bonus=after.bonus,
            held=after.held,
            available=after.cash - after.held,
            transfer_id=record.transfer_id,
            kind=record.kind,
            amount=change.cash + change.bonus,
            reference=record.reference or "",
        )
        envelope = context.envelope(BALANCE_CHANGED, changed, subject=record.user_id)
        events.append((envelope.id, encode(envelope)))
    return events


def packed(events: list[tuple[str, bytes]]) -> bytes:
    """Return events as one row of the outbox carries them."""
    return msgspec.msgpack.encode(events)


class Refresher:
    """Brings the last committed balances into the cache; a newer one replaces what still waits."""

    def __init__(self, cache: Cache) -> None:
        """Nothing waits."""
        self.cache = cache
        self.waiting: dict[str, tuple[str, Money, int]] = {}
        self.task: asyncio.Task[None] | None = None

    def show(self, changed: Iterable[Changed]) -> None:
        """Put the balances of these wallets soon; nobody waits for it."""
        for one in changed:
            self.waiting[one.user_id] = one.currency, one.money, one.seq
        if self.waiting and self.task is None:
            self.task = asyncio.create_task(self._refresh())
            REFRESHING.add(self.task)
            self.task.add_done_callback(REFRESHING.discard)

    async def _refresh(self) -> None:
        try:
            while self.waiting:
                await asyncio.sleep(GATHER_S)
                count = min(len(self.waiting), PUTS_AT_ONCE)
                some = [self.waiting.popitem() for _ in range(count)]
                await asyncio.gather(
                    *(self.cache.put(user, balance_of(user, *money)) for user, money in some)
                )
                if len(self.waiting) > PUTS_AT_ONCE:
                    await asyncio.sleep(PAUSE_S)
        finally:
            self.task = None


async def finish_refreshing() -> None:
    """Wait until the cache shows what is committed."""
    await asyncio.gather(*REFRESHING)
