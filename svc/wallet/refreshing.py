"""Shows balances that moved to screens: the wallet's bucket has the last that was committed."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from svc.mesh.cache import Cache
from svc.wallet.book import Money
from svc.wallet.contract import Balance

PUTS_AT_ONCE = 32
GATHER_S = 0.02
"""A balance that moves again meanwhile is put once."""
PAUSE_S = 0.1
"""While many balances move, screens wait so that money does not: at most 320 writes a second."""
LAST_AT_ONCE = 1_024
"""Puts of a wallet that stops: nothing else waits then."""

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
        self.stopping = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def show(self, moved: Mapping[str, Shown]) -> None:
        """Put the balances of these users soon; nobody waits for it."""
        self.waiting.update(moved)
        if self.waiting and self.task is None:
            self.task = asyncio.create_task(self._refresh())

    async def finish(self) -> None:
        """Put all that waits, without pauses; returns once the cache shows what is committed."""
        self.stopping.set()
        if self.task is not None:
            await self.task

    async def _refresh(self) -> None:
        try:
            while self.waiting:
                await self._pause(GATHER_S)
                at_once = LAST_AT_ONCE if self.stopping.is_set() else PUTS_AT_ONCE
                count = min(len(self.waiting), at_once)
                some = [self.waiting.popitem() for _ in range(count)]
                await self.cache.put_all({user: balance_of(user, *money) for user, money in some})
                if len(self.waiting) > PUTS_AT_ONCE:
                    await self._pause(PAUSE_S)
        finally:
            self.task = None

    async def _pause(self, seconds: float) -> None:
        """Wait, unless the wallet stops."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
