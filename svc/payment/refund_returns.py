"""Refunds that failed late: the bank sent the money back, so it returns to the player's wallet."""

from svc.mesh.context import Context
from svc.mesh.database import Tx
from svc.mesh.errors import NotFound
from svc.payment import (
    answers,
    provider,
    rules,
    store_deposits,
    store_refund_returns,
    store_refunds,
)
from svc.payment.contract import REFUND_RETURNED, RefundReturned
from svc.payment.store_deposits import DepositRow
from svc.payment.store_refund_returns import ReturnRow
from svc.wallet import contract as wallet

KIND = "refund"


async def apply(tx: Tx, deposit: DepositRow, told: provider.Refund) -> str | None:
    """Keep that a refund of a locked deposit came back; returns its id, to credit it afterwards.

    None as long as we have not booked so much as given back: the news of that are still on their
    way, and this waits for them.
    """
    known = await store_refund_returns.known(tx, told.id)
    if known is not None:
        return known
    returned = await store_refund_returns.returned_of(tx, deposit.deposit_id)
    if await store_refund_returns.given_of(tx, deposit.deposit_id) < returned + told.amount:
        return None
    row = ReturnRow(
        return_id=tx.context.new_id(),
        provider_id=told.id,
        deposit_id=deposit.deposit_id,
        amount=told.amount,
        transfer_id=tx.context.new_id(),
        state="crediting",
        tries=0,
    )
    await store_refund_returns.insert(tx, row, tx.context.now())
    if deposit.status == "refunded":
        # The one way down: refunds have a lattice of their own, and this one ended otherwise.
        await store_deposits.climb(tx, deposit.deposit_id, "succeeded", tx.context.now())
        tx.after_commit(lambda: answers.refresh_deposit(tx.context, deposit.deposit_id))
    return row.return_id


async def look(context: Context, return_id: str) -> None:
    """Bring a return on. Raises Unavailable when the wallet does not answer."""
    async with context.transaction() as tx:
        row = await store_refund_returns.find(tx, return_id)
        if row is None:
            return
        at = rules.next_try(context.now(), row.tries + 1)
        await store_refund_returns.tried(tx, return_id, at)
    await advance(context, return_id)


async def advance(context: Context, return_id: str) -> None:
    """Credit what came back, once. Raises Unavailable when the wallet does not answer."""
    async with context.transaction() as tx:
        row = await store_refund_returns.find(tx, return_id)
        deposit = await store_deposits.find(tx, row.deposit_id) if row else None
    if row is None or deposit is None:
        raise NotFound("there is no such refund")
    if row.state != "crediting":
        return
    credit = wallet.Transfer(
        transfer_id=row.transfer_id,
        user_id=deposit.user_id,
        amount=row.amount,
        currency=deposit.currency,
        kind=KIND,
        reference=deposit.deposit_id,
    )
    await context.call(wallet.CREDIT_BALANCE, credit)
    async with context.transaction() as tx:
        if await store_refund_returns.credited(tx, return_id):
            await tx.publish(
                REFUND_RETURNED,
                RefundReturned(
                    payment_id=deposit.deposit_id,
                    user_id=deposit.user_id,
                    amount=row.amount,
                    currency=deposit.currency,
                ),
                subject=deposit.deposit_id,
            )


async def given_back(tx: Tx, deposit_id: str) -> int:
    """Return how much of a deposit is given back and stayed so, in minor units."""
    known = await store_refunds.known_of(tx, deposit_id)
    return known - await store_refund_returns.returned_of(tx, deposit_id)
