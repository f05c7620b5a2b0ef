"""Tells the wallet to move money that bets are owed, or owe, until it has answered.

Movements are written in the transaction that decides a bet, and sent here in their order, hundreds
together. Each has its own id for ever: what the wallet knows already it only answers again.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from svc.mesh.context import Context
from svc.mesh.errors import PROBLEM_PREFIX, Unavailable
from svc.sportsbook import store_settlement
from svc.sportsbook.store_settlement import TransferOrder
from svc.wallet import contract as wallet

if TYPE_CHECKING:
    from svc.mesh.runtime import Runtime

AT_ONCE = 500
"""Movements of one message: as many as the wallet commits together."""
UNDER_WAY = 2
"""Messages on their way at once: the wallet decides one while the other is written."""
NOT_FINAL = 500
"""Answers from this status on say nothing of the movement: it is asked for again."""


class Payer:
    """Sends what waits, in messages that are on their way side by side.

    A bet's movements keep their order: no message has one of a bet that another one has, too.
    """

    def __init__(self, context: Context) -> None:
        """Nothing runs yet."""
        self.context = context
        self.task: asyncio.Task[None] | None = None
        self.again = False
        self.under_way: dict[asyncio.Task[bool], list[TransferOrder]] = {}

    async def wake(self) -> None:
        """Send what waits, beside whoever calls this."""
        self.again = True
        if self.task is None:
            self.task = asyncio.create_task(self._work())

    async def close(self) -> None:
        """Stop; what was not answered is sent after the next start."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)

    async def _work(self) -> None:
        try:
            while self.again:
                self.again = False
                await self._send_all()
        except Unavailable as failure:
            self.context.log.warning("payments wait for the wallet", cause=failure.detail)
        except Exception:
            self.context.log.exception("payments wait")
        finally:
            for task in self.under_way:
                task.cancel()
            await asyncio.gather(*self.under_way, return_exceptions=True)
            self.under_way.clear()
            self.task = None

    async def _send_all(self) -> None:
        """Send all that waits, oldest first; what the wallet could not decide waits on."""
        whole = True
        while whole:
            sent = [order.transfer_id for orders in self.under_way.values() for order in orders]
            async with self.context.spawn().transaction() as tx:
                orders = await store_settlement.waiting_orders(tx, sent, AT_ONCE)
            if orders:
                if self._has_one_of(orders):
                    whole = await self._answered(asyncio.ALL_COMPLETED)
                self.under_way[asyncio.create_task(_send(orders, self.context.spawn()))] = orders
            if len(self.under_way) == UNDER_WAY or not orders:
                if not self.under_way:
                    return
                whole = await self._answered(asyncio.FIRST_COMPLETED) and whole

    def _has_one_of(self, orders: Sequence[TransferOrder]) -> bool:
        """Tell whether a movement of one of these bets is on its way already."""
        bets = {order.bet_id for order in orders}
        return any(order.bet_id in bets for others in self.under_way.values() for order in others)

    async def _answered(self, which: str) -> bool:
        """Wait for messages that are on their way; tell whether all movements were decided."""
        done, _ = await asyncio.wait(self.under_way, return_when=which)
        for task in done:
            del self.under_way[task]
        whole = [task.result() for task in done]
        return all(whole)


async def _send(orders: Sequence[TransferOrder], context: Context) -> bool:
    """Send one message and record the answers; tell whether all its movements were decided."""
    answer = await context.call(
        wallet.APPLY_BATCH, wallet.Batch(transfers=[_item(order) for order in orders])
    )
    made: list[str] = []
    refused: list[tuple[str, str]] = []
    for order, result in zip(orders, answer.results, strict=True):
        if result.problem is None:
            made.append(order.transfer_id)
        elif _is_final(result.problem):
            name = str(result.problem.get("type", "")).removeprefix(PROBLEM_PREFIX)
            refused.append((order.transfer_id, name))
            context.log.error("the wallet refused a payment", bet_id=order.bet_id, why=name)
    async with context.transaction() as tx:
        await store_settlement.finish_orders(tx, made)
        if refused:
            await store_settlement.refuse_orders(tx, refused, context.now())
    return len(made) + len(refused) == len(orders)


def _is_final(problem: dict[str, object]) -> bool:
    status = problem.get("status")
    return isinstance(status, int) and status < NOT_FINAL


def _item(order: TransferOrder) -> wallet.BatchItem:
    """Return a movement as the wallet takes it; a credit is the one that its event tells of."""
    if order.op == "rollback":
        return wallet.BatchItem(
            op="rollback",
            transfer_id=order.transfer_id,
            original_transfer_id=order.original_transfer_id,
            forced=True,
        )
    return wallet.BatchItem(
        op="credit_balance",
        transfer_id=order.transfer_id,
        user_id=order.user_id,
        amount=order.amount,
        currency=order.currency,
        kind=order.kind,
        reference=order.bet_id,
        stake_transfer_id=order.stake_transfer_id,
    )


_payers: "WeakKeyDictionary[Runtime, Payer]" = WeakKeyDictionary()


def of(context: Context) -> Payer:
    """Return the payer of the running service."""
    payer = _payers.get(context.runtime)
    if payer is None:
        payer = _payers[context.runtime] = Payer(context.spawn())
    return payer


async def sweep(context: Context) -> None:
    """Send what an outage left; and sum up the open risk."""
    await of(context).wake()
    async with context.transaction() as tx:
        await store_settlement.sum_up_risk(tx)
