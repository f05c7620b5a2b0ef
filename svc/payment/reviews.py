"""What an operator decides: deposits that were only authorised, payouts that nobody answered."""

from svc.mesh.context import Context
from svc.mesh.errors import Conflict, NotFound
from svc.payment import (
    answers,
    deposits,
    provider,
    rules,
    store_deposits,
    store_withdrawals,
    withdrawals,
)
from svc.payment.contract import (
    AbandonWithdrawal,
    CaptureDeposit,
    Deposit,
    ReleaseDeposit,
    Withdrawal,
)
from svc.payment.store_deposits import DepositRow


async def capture(asked: CaptureDeposit, context: Context) -> Deposit:
    """Take an authorised deposit or a part of it; doing so again changes nothing.

    Raises NotFound, Conflict when it is not authorised or was decided otherwise, Unavailable when
    the provider does not answer (ask again).
    """
    row = await _authorised(context, asked.deposit_id)
    amount = row.amount if asked.amount is None else asked.amount
    if row.status in {"succeeded", "refunded"} and row.paid == amount:
        return await answers.deposit(context, row)
    return await _decide(
        context, row, lambda at, payment: at.capture(f"{row.deposit_id}.capture", payment, amount)
    )


async def release(asked: ReleaseDeposit, context: Context) -> Deposit:
    """Let an authorised deposit go: it fails, and the player keeps the money. Raises as capture."""
    row = await _authorised(context, asked.deposit_id)
    if row.status == "failed":
        return await answers.deposit(context, row)
    return await _decide(
        context, row, lambda at, payment: at.cancel(f"{row.deposit_id}.cancel", payment)
    )


async def _authorised(context: Context, deposit_id: str) -> DepositRow:
    async with context.transaction() as tx:
        row = await store_deposits.find(tx, deposit_id)
    if row is None:
        raise NotFound("there is no such deposit")
    if not row.reviewed or row.provider_id is None:
        raise Conflict("this deposit is not authorised for a capture", state=row.status)
    return row


async def _decide(context: Context, row: DepositRow, ask: provider.Ask) -> Deposit:
    if row.status != "pending" or row.provider_id is None:
        raise Conflict("this deposit was decided already", state=row.status)
    try:
        intent = await ask(provider.of(context), row.provider_id)
    except provider.Rejected as rejected:
        raise Conflict(rejected.message, state=row.status) from rejected
    await deposits.apply(context, row.deposit_id, intent)
    async with context.transaction() as tx:
        return await answers.deposit(context, await store_deposits.find(tx, row.deposit_id) or row)


async def abandon(asked: AbandonWithdrawal, context: Context) -> Withdrawal:
    """Give a withdrawal's money back when the provider, asked by a person, knows nothing of it.

    Raises NotFound, Conflict as long as we may ask ourselves or once it is known how it ended,
    Unavailable when the wallet does not answer (ask again).
    """
    now = context.now()
    async with context.transaction() as tx:
        row = await store_withdrawals.lock(tx, asked.withdrawal_id)
        if row is None:
            raise NotFound("there is no such withdrawal")
        if row.state == "submitting" and not rules.may_be_asked_for(row.created_at, now):
            await store_withdrawals.move(
                tx, row.withdrawal_id, ("submitting",), "releasing", now, reason=deposits.EXPIRED
            )
        elif row.reason != deposits.EXPIRED:
            raise Conflict("this withdrawal is not one that was never answered", state=row.state)
    return await answers.withdrawal(
        context, await withdrawals.advance(context, asked.withdrawal_id)
    )
