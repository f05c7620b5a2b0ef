"""Callers who keep asking whatever dies, and note outside the database what they were told."""

import asyncio
import random
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from svc.mesh.clock import new_id
from svc.mesh.contract import Call
from svc.mesh.errors import Denied, Refused, RemoteBug, Unavailable
from svc.wallet import contract as wallet
from svc.wallet.contract import Kind, Receipt
from tests.bench.acknowledged import OF_ANOTHER_BODY, TOMBSTONE, Log
from tests.support.mesh import Operator

CURRENCY = "EUR"
OPENING = 5_000
STAKE_MAX = 900
REPEATED = 300
"""So many of the last acknowledged requests are asked again after a fault."""
AGAIN_WITHIN_S = 25.0
PAUSE_S = 0.02
"""Whoever was not answered asks again, but not in a busy loop."""

Told = tuple[int, int, int] | str
"""Cash, bonus and held right after it, or the name of the refusal."""


@dataclass(frozen=True)
class Asked:
    """One request; `change` is what it does to the player's money if it is applied."""

    call: Call[Any, Receipt]
    body: Any
    user_id: str
    change: int

    @property
    def transfer_id(self) -> str:
        """Return the id that the caller chose."""
        return self.body.transfer_id


class Load:
    """Players who stake, win, hold, capture, release and roll back, each in a closed loop."""

    def __init__(self, operator: Operator, log: Path, seed: int, players: int = 12) -> None:
        """Nobody asks yet."""
        self.operator = operator
        self.log = Log(log)
        self.chance = random.Random(seed)
        self.players = [new_id() for _ in range(players)]
        self.told: dict[str, Told] = {}
        self.recent: deque[Asked] = deque(maxlen=REPEATED)
        self.unanswered: dict[str, Asked] = {}
        self.wrong: list[str] = []
        self.waited_for = 0
        self.reached = asyncio.Event()
        self.stopping = False
        self.callers: list[asyncio.Task[None]] = []

    async def start(self, callers: int = 16) -> None:
        """Give every player money, then let callers ask until `stop`."""
        for player in self.players:
            await self.ask(self.credit(player, OPENING, "deposit"))
        self.callers = [asyncio.create_task(self._keep_asking()) for _ in range(callers)]

    async def stop(self) -> None:
        """Let every caller finish what it began."""
        self.stopping = True
        await asyncio.gather(*self.callers)

    async def acknowledges(self, count: int) -> None:
        """Return when so many more requests have got an answer."""
        self.waited_for = count
        self.reached.clear()
        waiting = asyncio.create_task(self.reached.wait())
        await asyncio.wait([waiting, *self.callers], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        for caller in self.callers:
            if caller.done():
                caller.result()

    async def ask(self, asked: Asked) -> Told | None:
        """Ask once and note the answer; None when there is none."""
        transfer_id, user, change = asked.transfer_id, asked.user_id, asked.change
        try:
            receipt = await self.operator.call(asked.call, asked.body, wait_s=1.0)
        except Refused as refusal:
            self.log.refused(transfer_id, user, change, refusal)
            return self._noted(asked, refusal.name)
        except (Unavailable, RemoteBug, Denied):
            self.log.unknown(transfer_id, user, change)
            if transfer_id not in self.told:
                self.unanswered[transfer_id] = asked
            return None
        self.log.applied(user, change, receipt)
        return self._noted(asked, (receipt.cash, receipt.bonus, receipt.held))

    def _noted(self, asked: Asked, told: Told) -> Told:
        before = self.told.setdefault(asked.transfer_id, told)
        if told not in (before, OF_ANOTHER_BODY):
            self.wrong.append(f"{asked.transfer_id}: {before} was answered, now {told}")
        self.unanswered.pop(asked.transfer_id, None)
        self.recent.append(asked)
        self.waited_for -= 1
        if not self.waited_for:
            self.reached.set()
        return told

    async def ask_again(self, callers: int = 32, within_s: float = AGAIN_WITHIN_S) -> int:
        """Ask what has no answer and the last that have one anew; return how many.

        Whoever gets no answer within that time is noted as wrong.
        """
        requests = [*self.recent, *self.unanswered.values()]
        waiting = iter(requests)
        end = asyncio.get_running_loop().time() + within_s

        async def caller() -> None:
            for asked in waiting:
                while await self.ask(asked) is None:
                    if asyncio.get_running_loop().time() > end:
                        self.wrong.append(f"{asked.transfer_id}: asked again, never answered")
                        break
                    await asyncio.sleep(PAUSE_S)

        await asyncio.gather(*(caller() for _ in range(callers)))
        return len(requests)

    async def _keep_asking(self) -> None:
        ways = (self._play,) * 12 + (self._hold,) * 3 + (self._undo, self._repeat, self._bury) * 2
        while not self.stopping:
            if await self.chance.choice(ways)(self.chance.choice(self.players)) is None:
                await asyncio.sleep(PAUSE_S)

    async def _play(self, player: str) -> Told | None:
        """Stake or win; now and then more than there is, which is refused."""
        amount = self.chance.randint(0, STAKE_MAX)
        if self.chance.random() < 0.4:
            return await self.ask(self.credit(player, amount, "bet_payout"))
        return await self.ask(self.deduct(player, amount))

    async def _hold(self, player: str) -> Told | None:
        """Hold, then capture all or part of it, or release it."""
        amount, hold_id = self.chance.randint(2, STAKE_MAX), new_id()
        body = wallet.Hold(
            transfer_id=new_id(), hold_id=hold_id, user_id=player, amount=amount,
            currency=CURRENCY, kind="withdrawal", reference="load",
        )  # fmt: skip
        held = await self.ask(Asked(wallet.HOLD, body, player, 0))
        if held is None or isinstance(held, str):
            return held
        if self.chance.random() < 0.4:
            release = wallet.Release(transfer_id=new_id(), hold_id=hold_id)
            return await self.ask(Asked(wallet.RELEASE, release, player, 0))
        part = amount // 2 if self.chance.random() < 0.5 else None
        capture = wallet.Capture(transfer_id=new_id(), hold_id=hold_id, amount=part)
        return await self.ask(Asked(wallet.CAPTURE, capture, player, -(part or amount)))

    async def _undo(self, player: str) -> Told | None:
        """Stake and roll it back."""
        stake = self.deduct(player, self.chance.randint(1, STAKE_MAX))
        told = await self.ask(stake)
        if told is None or isinstance(told, str):
            return told
        return await self.ask(self.rollback(stake, -stake.change))

    async def _bury(self, player: str) -> Told | None:
        """Roll back what never came; when it comes after all it must be refused for ever."""
        late = self.deduct(player, 1)
        undone = await self.ask(self.rollback(late, 0))
        if undone is None:
            return None
        told = await self.ask(late)
        if told not in (None, TOMBSTONE):
            self.wrong.append(f"{late.transfer_id}: rolled back before it came, then {told}")
        return told

    async def _repeat(self, player: str) -> Told | None:
        """Ask for something answered once more, or for something else under its id."""
        if not self.recent:
            return await self._play(player)
        asked = self.chance.choice(self.recent)
        if not isinstance(asked.body, wallet.Transfer) or self.chance.random() < 0.5:
            return await self.ask(asked)
        if self.told[asked.transfer_id] == TOMBSTONE:
            return await self.ask(asked)
        other = replace(asked.body, amount=asked.body.amount + 1)
        change = other.amount if asked.call is wallet.CREDIT_BALANCE else -other.amount
        told = await self._asked_otherwise(Asked(asked.call, other, asked.user_id, change))
        if told not in (None, OF_ANOTHER_BODY):
            self.wrong.append(f"{asked.transfer_id}: with another body answered {told}")
        return told

    async def _asked_otherwise(self, asked: Asked) -> Told | None:
        """Ask under an id that was decided on with another body."""
        try:
            receipt = await self.operator.call(asked.call, asked.body, wait_s=1.0)
        except Refused as refusal:
            self.log.refused(asked.transfer_id, asked.user_id, asked.change, refusal)
            return refusal.name
        except (Unavailable, RemoteBug, Denied):
            return None
        self.log.applied(asked.user_id, asked.change, receipt)
        return receipt.cash, receipt.bonus, receipt.held

    def deduct(self, player: str, amount: int) -> Asked:
        """Return a stake."""
        return Asked(wallet.DEDUCT_BALANCE, _transfer(player, amount, "bet"), player, -amount)

    def credit(self, player: str, amount: int, kind: Kind) -> Asked:
        """Return a credit."""
        return Asked(wallet.CREDIT_BALANCE, _transfer(player, amount, kind), player, amount)

    def rollback(self, of: Asked, change: int) -> Asked:
        """Return a rollback."""
        body = wallet.Rollback(transfer_id=new_id(), original_transfer_id=of.transfer_id)
        return Asked(wallet.ROLLBACK, body, of.user_id, change)


def _transfer(player: str, amount: int, kind: Kind) -> wallet.Transfer:
    return wallet.Transfer(
        transfer_id=new_id(), user_id=player, amount=amount, currency=CURRENCY, kind=kind,
        reference="load",
    )  # fmt: skip
