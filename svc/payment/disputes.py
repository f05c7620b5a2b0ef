"""Chargebacks: what the bank took leaves the wallet, even into debt; what it gave back returns."""

from svc.mesh.context import Context
from svc.mesh.database import Tx
from svc.mesh.errors import NotFound, Unavailable
from svc.payment import provider, rules, store_deposits, store_disputes, store_withdrawals
from svc.payment.contract import (
    DISPUTE_CLOSED,
    PAYMENT_DISPUTED,
    DisputeClosed,
    PaymentDisputed,
)
from svc.payment.store_deposits import DepositRow
from svc.payment.store_disputes import DisputeRow
from svc.wallet import contract as wallet

KIND = "chargeback"
DISPUTED = "disputed"
STEPS_MAX = 6


async def apply(tx: Tx, deposit: DepositRow, told: provider.Dispute) -> str:
    """Keep how a dispute of a locked deposit stands, in whatever order its news come.

    Its player is locked too, so that a withdrawal was either taken in before, and is stopped, or
    sees the dispute. Returns the dispute's id, to move its money after the commit. An inquiry is
    only flagged. What is told in another currency than the deposit's is no sum of ours: it moves
    no money, and blocks payouts all the same.
    """
    now = tx.context.now()
    listed = told.balance_transactions or []
    told_in = {each.upper() for each in (told.currency, *(line.currency for line in listed))}
    ours = told_in == {deposit.currency}
    if not ours:
        flag = f"disputed in {'/'.join(sorted(told_in))}"
        await store_deposits.flag(tx, deposit.deposit_id, flag, now)
        tx.context.log.error("a dispute differs", deposit_id=deposit.deposit_id, told=flag)
    news = _news(tx.context, deposit, told, ours=ours)
    row, before = await store_disputes.join(tx, news, now)
    await store_deposits.flag(tx, deposit.deposit_id, f"disputed: {news.reason}", now)
    begun = await store_disputes.begin_debit(tx, row.dispute_id, now)
    if begun or (row.taken_elsewhere and before in {None, "open"}):
        await store_withdrawals.stop_for(tx, row.user_id, DISPUTED, now)
    if begun:
        await _announce(tx, row)
    if before is None or rules.climbs_dispute(before, news.outcome):
        await store_disputes.decide(tx, row.dispute_id, news.outcome)
        # Of ours a lost one is told here, a won one with its credit. One that was announced before
        # it was told in another currency ends with no more money.
        ends = news.outcome == "lost" if ours else row.state != "noted"
        if ends:
            await _announce_end(tx, row, won=news.outcome == "won")
    await _begin_credit(tx, row.dispute_id)
    return row.dispute_id


def _news(
    context: Context, deposit: DepositRow, told: provider.Dispute, *, ours: bool
) -> DisputeRow:
    """Return what a webhook tells of a dispute; sums only when all of it is in our currency."""
    listed = told.balance_transactions
    taken, returned = rules.dispute_money(
        told.status, told.amount, None if listed is None else [each.net for each in listed]
    )
    return DisputeRow(
        dispute_id=context.new_id(),
        provider_id=told.id,
        deposit_id=deposit.deposit_id,
        user_id=deposit.user_id,
        currency=deposit.currency,
        reason=told.reason or DISPUTED,
        outcome=rules.outcome_of(told.status),
        taken=taken if ours else 0,
        returned=returned if ours else 0,
        state="noted",
        debited=0,
        credited=0,
        debit_transfer_id=context.new_id(),
        credit_transfer_id=context.new_id(),
        tries=0,
        taken_elsewhere=not ours and taken > 0,
    )


async def _begin_credit(tx: Tx, dispute_id: str) -> None:
    """Fix what comes back to the player, once the debit was made and the bank has returned it."""
    if not await store_disputes.begin_credit(tx, dispute_id, tx.context.now()):
        return
    row = await store_disputes.find(tx, dispute_id)
    if row is not None:
        await _announce_end(tx, row, won=True)


async def _announce(tx: Tx, row: DisputeRow) -> None:
    await tx.publish(
        PAYMENT_DISPUTED,
        PaymentDisputed(
            dispute_id=row.dispute_id,
            payment_id=row.deposit_id,
            user_id=row.user_id,
            amount=row.taken,
            currency=row.currency,
            reason=row.reason,
        ),
        subject=row.deposit_id,
    )


async def _announce_end(tx: Tx, row: DisputeRow, *, won: bool) -> None:
    await tx.publish(
        DISPUTE_CLOSED,
        DisputeClosed(
            dispute_id=row.dispute_id,
            payment_id=row.deposit_id,
            user_id=row.user_id,
            won=won,
            returned=row.credited,
            currency=row.currency,
        ),
        subject=row.deposit_id,
    )


async def look(context: Context, dispute_id: str) -> None:
    """Bring a dispute's money on. Raises Unavailable when the wallet does not answer."""
    async with context.transaction() as tx:
        row = await store_disputes.find(tx, dispute_id)
        if row is None:
            return
        await store_disputes.tried(tx, dispute_id, rules.next_try(context.now(), row.tries + 1))
    await advance(context, dispute_id)


async def advance(context: Context, dispute_id: str) -> None:
    """Make the wallet's calls that a dispute leads to; each can be repeated."""
    for _ in range(STEPS_MAX):
        async with context.transaction() as tx:
            row = await store_disputes.find(tx, dispute_id)
        if row is None:
            raise NotFound("there is no such dispute")
        if row.state == "debiting":
            # The money is with the bank already: what the player has not of it, they owe.
            transfer = _transfer(row, row.debit_transfer_id, row.debited, forced=True)
            await context.call(wallet.DEDUCT_BALANCE, transfer)
            async with context.transaction() as tx:
                if await store_disputes.move(tx, dispute_id, "debiting", "debited"):
                    await _begin_credit(tx, dispute_id)
        elif row.state == "crediting":
            transfer = _transfer(row, row.credit_transfer_id, row.credited)
            await context.call(wallet.CREDIT_BALANCE, transfer)
            async with context.transaction() as tx:
                await store_disputes.move(tx, dispute_id, "crediting", "credited")
        else:
            return
    raise Unavailable("the dispute did not come to rest")


def _transfer(
    row: DisputeRow, transfer_id: str, amount: int, *, forced: bool = False
) -> wallet.Transfer:
    return wallet.Transfer(
        transfer_id=transfer_id,
        user_id=row.user_id,
        amount=amount,
        currency=row.currency,
        kind=KIND,
        reference=row.deposit_id,
        forced=forced,
    )
