"""Refunds: the money leaves the wallet first, then the provider gives the deposit back."""

from typing import Literal

from svc.mesh.context import Context
from svc.mesh.database import Tx
from svc.mesh.errors import (
    Conflict,
    IdempotencyMismatch,
    NotFound,
    Refused,
    Unavailable,
    problem,
)
from svc.payment import (
    answers,
    provider,
    refund_returns,
    rules,
    store_deposits,
    store_disputes,
    store_players,
    store_refund_returns,
    store_refunds,
)
from svc.payment.contract import PAYMENT_REFUNDED, Deposit, PaymentRefunded, RefundDeposit
from svc.payment.store_deposits import DepositRow
from svc.payment.store_refunds import PROVIDER, RefundRow
from svc.wallet import contract as wallet

End = Literal["done", "refused", "owed"]
KIND = "refund"
STEPS_MAX = 6


async def request(asked: RefundDeposit, context: Context) -> Deposit:
    """Give a deposit back; the same key gets the same answer.

    Raises InsufficientFunds when the player has spent it, Conflict when it did not succeed or is
    given back already, Unavailable while the wallet does not answer (ask again).
    """
    row = await _take_in(asked, asked.actor_id or "operator", context)
    row = await advance(context, row.refund_id)
    if row.refusal is not None:
        raise answers.stored_refusal(row.refusal)
    async with context.transaction() as tx:
        deposit = await store_deposits.find(tx, row.deposit_id)
    if deposit is None:
        raise NotFound("there is no such deposit")
    return await answers.deposit(context, deposit)


async def _take_in(asked: RefundDeposit, actor: str, context: Context) -> RefundRow:
    now = context.now()
    async with context.transaction() as tx:
        deposit = await store_deposits.lock(tx, asked.deposit_id)
        if deposit is None:
            raise NotFound("there is no such deposit")
        known = await store_refunds.by_key(tx, actor, asked.idempotency_key)
        if known is not None:
            if known.deposit_id != asked.deposit_id:
                raise IdempotencyMismatch
            return known
        left = deposit.paid - await refund_returns.given_back(tx, deposit.deposit_id)
        if deposit.status != "succeeded" or left <= 0:
            raise Conflict("only a deposit that succeeded can be given back", state=deposit.status)
        if await store_disputes.is_disputed(tx, deposit.deposit_id):
            raise Conflict("this deposit was charged back; its money is with the bank")
        row = _new(context, deposit, actor, left)
        if not await store_refunds.insert(tx, row, asked.idempotency_key, rules.next_try(now, 0)):
            raise Conflict("this deposit is being given back already")
    return row


def _new(context: Context, deposit: DepositRow, actor: str, amount: int) -> RefundRow:
    return RefundRow(
        refund_id=context.new_id(),
        deposit_id=deposit.deposit_id,
        actor=actor,
        amount=amount,
        transfer_id=context.new_id(),
        rollback_transfer_id=context.new_id(),
        state="requested",
        refusal=None,
        created_at=context.now(),
        tries=0,
    )


async def found_at_provider(tx: Tx, deposit: DepositRow, total: int) -> None:
    """Book what the provider gave back without being asked, `total` being all it gave back.

    The deposit is locked. The sweep takes the money: by then the wallet has credited the deposit,
    even if its success and its refund became known at the same time.
    """
    # What came back may have been given back again, so all refunds together may be more.
    most = deposit.paid + await store_refund_returns.returned_of(tx, deposit.deposit_id)
    extra = min(total, most) - await store_refunds.known_of(tx, deposit.deposit_id)
    if extra <= 0:
        return
    row = _new(tx.context, deposit, PROVIDER, extra)
    key, now = f"{deposit.deposit_id}:{total}", row.created_at
    await store_refunds.insert(tx, row, key, rules.next_try(now, 0))


async def look(context: Context, refund_id: str) -> None:
    """Bring an unfinished refund on. Raises Unavailable when somebody does not answer."""
    async with context.transaction() as tx:
        row = await store_refunds.find(tx, refund_id)
        if row is None:
            return
        await store_refunds.tried(tx, refund_id, rules.next_try(context.now(), row.tries + 1))
    await advance(context, refund_id)


async def advance(context: Context, refund_id: str) -> RefundRow:
    """Do the next steps until the refund is finished or waits for the provider."""
    for _ in range(STEPS_MAX):
        async with context.transaction() as tx:
            row = await store_refunds.find(tx, refund_id)
            deposit = await store_deposits.find(tx, row.deposit_id) if row else None
        if row is None or deposit is None:
            raise NotFound("there is no such refund")
        if row.state == "requested":
            await _deduct(context, row, deposit)
        elif row.state == "deducted":
            if not await _give_back(context, row, deposit):
                return row
        elif row.state == "undoing":
            await context.call(
                wallet.ROLLBACK,
                wallet.Rollback(
                    transfer_id=row.rollback_transfer_id, original_transfer_id=row.transfer_id
                ),
            )
            await _end(context, row, deposit, "refused")
        else:
            return row
    raise Unavailable("the refund did not come to rest")


async def _move(
    context: Context, row: RefundRow, to: str, refusal: dict[str, object] | None = None
) -> None:
    async with context.transaction() as tx:
        await store_refunds.move(tx, row.refund_id, row.state, to, context.now(), refusal=refusal)


async def _end(
    context: Context,
    row: RefundRow,
    deposit: DepositRow,
    to: End,
    *,
    refusal: dict[str, object] | None = None,
    provider_id: str | None = None,
) -> None:
    """Bring a refund to rest, and take in what the provider told of others meanwhile."""
    from svc.payment import webhooks  # webhooks apply refunds, and refunds release webhooks

    now = context.now()
    async with context.transaction() as tx:
        await store_players.lock(tx, deposit.user_id)
        await store_deposits.lock(tx, deposit.deposit_id)
        if not await store_refunds.move(
            tx, row.refund_id, row.state, to, now, refusal=refusal, provider_id=provider_id
        ):
            return
        if to == "owed":
            flag = f"{row.amount} owed after a refund"
            await store_deposits.flag(tx, deposit.deposit_id, flag, now)
        if to != "refused":
            await _finish(tx, row, deposit.deposit_id, announce=to == "done")
        await webhooks.release_parked(tx, deposit.provider_id or "")


async def _deduct(context: Context, row: RefundRow, deposit: DepositRow) -> None:
    transfer = wallet.Transfer(
        transfer_id=row.transfer_id,
        user_id=deposit.user_id,
        amount=row.amount,
        currency=deposit.currency,
        kind=KIND,
        reference=deposit.deposit_id,
        # What the provider gave back already and the player spent, they owe.
        forced=row.actor == PROVIDER,
    )
    try:
        await context.call(wallet.DEDUCT_BALANCE, transfer)
    except Refused as refusal:
        if row.actor != PROVIDER:
            await _end(context, row, deposit, "refused", refusal=answers.of_wallet(refusal))
            return
        # The money is gone and could not even be made a debt: a person must look at it.
        await _end(context, row, deposit, "owed")
    else:
        await _move(context, row, "deducted")


async def _give_back(context: Context, row: RefundRow, deposit: DepositRow) -> bool:
    """Have the provider give it back; False when it does not answer and the sweep must go on."""
    provider_id = None
    if row.actor != PROVIDER:
        try:
            refund = await _asked_for(context, row, deposit.provider_id or "")
        except provider.Rejected as rejected:
            await _move(context, row, "undoing", problem(Conflict(rejected.message)))
            return True
        except Unavailable as failure:
            context.log.warning("refund waits", refund_id=row.refund_id, cause=str(failure))
            return False
        provider_id = refund.id
    await _end(context, row, deposit, "done", provider_id=provider_id)
    return True


async def _asked_for(context: Context, row: RefundRow, payment: str) -> provider.Refund:
    """Have the provider make a refund, unless it has made it already. Raises as the provider.

    After a day its key may be forgotten there, and it could be made a second time: then the list
    of the payment's refunds tells first whether it was made.
    """
    at = provider.of(context)
    if not rules.may_be_asked_for(row.created_at, context.now()):
        made = await at.given_back(row.refund_id, payment)
        if made is not None:
            return made
    return await at.give_back(row.refund_id, payment, row.amount)


async def _finish(tx: Tx, row: RefundRow, deposit_id: str, *, announce: bool) -> None:
    deposit = await store_deposits.lock(tx, deposit_id)
    if deposit is None:
        return
    known = await refund_returns.given_back(tx, deposit_id)
    if known >= deposit.paid and rules.climbs(deposit.status, "refunded"):
        await store_deposits.climb(tx, deposit_id, "refunded", tx.context.now())
    if announce:
        await tx.publish(
            PAYMENT_REFUNDED,
            PaymentRefunded(
                payment_id=deposit_id,
                user_id=deposit.user_id,
                amount=row.amount,
                currency=deposit.currency,
            ),
            subject=deposit_id,
        )
    tx.after_commit(lambda: answers.refresh_deposit(tx.context, deposit_id))
