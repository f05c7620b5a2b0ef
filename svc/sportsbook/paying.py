"""Tells the wallet to move money that bets are owed, or owe, until it has answered.

Movements are written in the transaction that decides a bet, and sent here in their order, hundreds
together. Each has its own id for ever: what the wallet knows already it only answers again.
"""

import asyncio
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
"""Movements of one message; the wallet takes up to 1,000."""
NOT_FINAL = 500
"""Answers from this status on say nothing of the movement: it is asked for again."""


class Payer:
    """Sends what waits; at most one message is on its way, so movements keep their order."""

    def __init__(self, context: Context) -> None:
        """Nothing runs yet."""
        self.context = context
        self.task: asyncio.Task[None] | None = None
        self.again = False

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
                while await self._send():
                    pass
        except Unavailable as failure:
            self.context.log.warning("payments wait for the wallet", cause=failure.detail)
        except Exception:
            self.context.log.exception("payments wait")
        finally:
            self.task = None

    async def _send(self) -> bool:
        """Send one message of what waits; tell whether more may wait."""
        context = self.context.spawn()
        async with context.transaction() as tx:
            orders = await store_settlement.waiting_orders(tx, AT_ONCE)
        if not orders:
            return False
        answer = await context.call(
            wallet.APPLY_BATCH, wallet.Batch(transfers=[_item(order) for order in orders])
        )
        answered: list[tuple[str, str | None]] = []
        for order, result in zip(orders, answer.results, strict=True):
            if result.problem is None:
                answered.append((order.transfer_id, None))
            elif _is_final(result.problem):
                name = str(result.problem.get("type", "")).removeprefix(PROBLEM_PREFIX)
                answered.append((order.transfer_id, name))
                context.log.error("the wallet refused a payment", bet_id=order.bet_id, why=name)
        async with context.transaction() as tx:
            await store_settlement.finish_orders(tx, answered, context.now())
        return len(orders) == AT_ONCE and len(answered) == len(orders)


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
    """Send what an outage left."""
    await of(context).wake()
