"""Deposits that an operator looks at first: authorised, then captured, in part, or let go."""

from svc.mesh.context import Context
from svc.mesh.errors import Conflict, NotFound
from svc.payment import answers, deposits, provider, store_deposits
from svc.payment.contract import CaptureDeposit, Deposit, ReleaseDeposit
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
