"""Shows balances that moved to screens: the wallet's bucket has the last that was committed."""

import asyncio
from collections.abc import Mapping

from svc.mesh.cache import Cache
from svc.wallet.book import Money
from svc.wallet.contract import Balance

PUTS_AT_ONCE = 32
GATHER_S = 0.02
"""A balance that moves again meanwhile is put once."""
PAUSE_S = 0.1
"""While many balances move, screens wait so that money does not: at most 320 writes a second."""

REFRESHING: set[asyncio.Task[None]] = set()
"""Writes to the cache under way: callers do not wait for them."""

Shown = tuple[str, Money, int]
"""What a screen shows of a wallet: its currency, its money, and after how many transfers."""


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


class Refresher:
    """Brings the last committed balances into the cache; a newer one replaces what still waits."""

    def __init__(self, cache: Cache) -> None:
        """Nothing waits."""
        self.cache = cache
        self.waiting: dict[str, Shown] = {}
        self.task: asyncio.Task[None] | None = None

    def show(self, moved: Mapping[str, Shown]) -> None:
        """Put the balances of these users soon; nobody waits for it."""
        self.waiting.update(moved)
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
                await self.cache.put_all({user: balance_of(user, *money) for user, money in some})
                if len(self.waiting) > PUTS_AT_ONCE:
                    await asyncio.sleep(PAUSE_S)
        finally:
            self.task = None


async def finish_refreshing() -> None:
    """Wait until the cache shows what is committed."""
    await asyncio.gather(*REFRESHING)
