"""Deposits: taken in, asked for at the provider, and credited once it says that they are paid."""

import asyncio
from datetime import datetime

from svc.mesh.context import Context
from svc.mesh.database import Tx
from svc.mesh.errors import IdempotencyMismatch, Invalid, Unavailable, problem
from svc.payment import answers, provider, rules, store_deposits, store_players
from svc.payment.contract import (
    PAYMENT_FAILED,
    PAYMENT_SUCCESS,
    Deposit,
    PaymentFailed,
    PaymentSuccess,
    RequestDeposit,
    SelfExcluded,
)
from svc.payment.rules import Player
from svc.payment.store_deposits import DepositRow

EXPIRED = "expired"
REGISTRATION_ASKED = 20
REGISTRATION_PAUSE_S = 0.05
"""A player who has just registered may be quicker than the event about it: wait up to 1 s."""


async def request(asked: RequestDeposit, context: Context) -> Deposit:
    """Take a deposit in and start it at the provider.

    The same key gets the same answer. Raises what forbids the deposit, IdempotencyMismatch for
    the key with another body, Invalid when the provider does not know the method.
    """
    for _ in range(REGISTRATION_ASKED):
        row = await _take_in(asked, context)
        if row is not None:
            break
        await asyncio.sleep(REGISTRATION_PAUSE_S)
    else:
        raise Unavailable("this player's account is not known here yet")
    if row.answered_status is None:
        row = await start(context, row)
        refusal = row.refusal
        async with context.transaction() as tx:
            await store_deposits.answer(tx, row.deposit_id, row.status, refusal)
            row = await store_deposits.lock(tx, row.deposit_id) or row
    if row.refusal is not None:
        raise answers.stored_refusal(row.refusal)
    return await answers.deposit(context, row, first_answer=True)


async def _take_in(asked: RequestDeposit, context: Context) -> DepositRow | None:
    """Store the deposit, pending or refused, or return the one of the key.

    None for a player who is not known yet: what is to be checked of them is not there.
    """
    row = _new(asked, context)
    async with context.transaction() as tx:
        player = await store_players.lock(tx, asked.user_id)
        known = await store_deposits.by_key(tx, asked.user_id, asked.idempotency_key)
        if known is not None:
            if known.request_hash != row.request_hash:
                raise IdempotencyMismatch
            return known
        if player.currency is None:
            return None
        refusal = await answers.refusal_of(_check(tx, player, asked, row.created_at))
        next_try = rules.next_try(row.created_at, 0)
        await store_deposits.insert(tx, row, asked.idempotency_key, next_try)
        if refusal is None:
            return row
        # No payment was begun, so none has failed: nobody is told but who asks with this key.
        await store_deposits.answer(tx, row.deposit_id, "failed", problem(refusal))
        await store_deposits.climb(
            tx, row.deposit_id, "failed", row.created_at, reason=refusal.name
        )
        return await store_deposits.find(tx, row.deposit_id)


def _new(asked: RequestDeposit, context: Context) -> DepositRow:
    return DepositRow(
        deposit_id=context.new_id(),
        user_id=asked.user_id,
        request_hash=rules.request_hash(asked.amount, asked.currency, asked.method),
        amount=asked.amount,
        currency=asked.currency,
        method=asked.method,
        transfer_id=context.new_id(),
        status="pending",
        provider_id=None,
        next_action=None,
        reason=None,
        answered_status=None,
        refusal=None,
        flag=None,
        created_at=context.now(),
        tries=0,
        reviewed=rules.is_reviewed(asked.amount, context.runtime.settings.get),
    )


async def _check(tx: Tx, player: Player, asked: RequestDeposit, now: datetime) -> None:
    policy = rules.policy_of(tx.context.runtime.settings.get)
    rules.check_player(player, asked.currency, now, must_be_verified=policy.must_be_verified)
    limits = rules.limits_in_force(await store_players.limits(tx, asked.user_id), now)
    deposited = {
        period: await store_deposits.deposited_since(tx, asked.user_id, now - rules.PERIODS[period])
        for period in limits
    }
    rules.check_limits(limits, deposited, asked.amount, asked.currency)


async def start(context: Context, row: DepositRow) -> DepositRow:
    """Ask the provider for the payment, always with the same key, and keep what it says.

    A provider that does not answer changes nothing: the sweep asks again.
    """
    if row.status != "pending" or row.provider_id is not None:
        return row
    if await _beaten_by_exclusion(context, row):
        async with context.transaction() as tx:
            return await store_deposits.find(tx, row.deposit_id) or row
    try:
        intent = await provider.of(context).pay_in(
            row.deposit_id, row.amount, row.currency, row.method, manual=row.reviewed
        )
    except provider.Rejected as rejected:
        field = "method" if rejected.code == "resource_missing" else "amount"
        refusal = problem(Invalid(f"{rejected.message} - at `$.{field}`"))
        async with context.transaction() as tx:
            await store_deposits.answer(tx, row.deposit_id, "failed", refusal)
            await fail(tx, row.deposit_id, rejected.code)
    except Unavailable as failure:
        context.log.warning("deposit waits", deposit_id=row.deposit_id, cause=str(failure))
    else:
        await apply(context, row.deposit_id, intent)
    async with context.transaction() as tx:
        return await store_deposits.find(tx, row.deposit_id) or row


async def _beaten_by_exclusion(context: Context, row: DepositRow) -> bool:
    """Fail a deposit that the provider was not asked for, when its player is excluded by now."""
    async with context.transaction() as tx:
        player = await store_players.lock(tx, row.user_id)
        until = player.excluded_until
        if until is None or until <= context.now():
            return False
        refusal = problem(SelfExcluded(until=until.isoformat()))
        await store_deposits.answer(tx, row.deposit_id, "failed", refusal)
        await fail(tx, row.deposit_id, SelfExcluded.name)
        return True


async def look(context: Context, deposit_id: str) -> None:
    """Bring a pending deposit on: ask for the payment again, or how it stands.

    Raises Unavailable when the provider does not answer.
    """
    async with context.transaction() as tx:
        row = await store_deposits.find(tx, deposit_id)
        if row is None or row.status != "pending":
            return
        await store_deposits.tried(tx, deposit_id, rules.next_try(context.now(), row.tries + 1))
    # One that is authorised waits for an operator, however long that takes.
    authorised = row.reviewed and row.provider_id is not None
    if not authorised and not rules.may_be_asked_for(row.created_at, context.now()):
        await _give_up(context, row)
        return
    if row.provider_id is None:
        row = await start(context, row)
        if row.status != "pending":
            return
        if row.provider_id is None:
            raise Unavailable("the payment provider does not answer")
    # A repeated request gets its first answer, however old: only reading tells the state of now.
    await apply(context, deposit_id, await provider.of(context).intent(row.provider_id))


async def _give_up(context: Context, row: DepositRow) -> None:
    """End a deposit that nobody completed for a day; should it be paid after all, it is credited.

    Raises Unavailable when the provider does not answer.
    """
    if row.provider_id is None:
        async with context.transaction() as tx:
            await fail(tx, row.deposit_id, EXPIRED)
        return
    try:
        intent = await provider.of(context).cancel(f"{row.deposit_id}.cancel", row.provider_id)
    except provider.Rejected:
        intent = await provider.of(context).intent(row.provider_id)  # it was decided meanwhile
    await apply(context, row.deposit_id, intent)


async def apply(context: Context, deposit_id: str, intent: provider.Intent) -> None:
    """Keep how a payment stands at the provider, as its own answer tells."""
    from svc.payment import webhooks  # webhooks apply deposits, and deposits release webhooks

    async with context.transaction() as tx:
        user_id = await store_deposits.user_of(tx, deposit_id)
        if user_id is None:
            return
        await store_players.lock(tx, user_id)
        await know(tx, deposit_id, intent)
        status = intent.status
        if status == "succeeded":
            await succeed(tx, deposit_id, intent)
        elif status == "canceled" or (
            status == "requires_payment_method" and intent.last_payment_error
        ):
            await fail(tx, deposit_id, reason_of(intent))
        await webhooks.release_parked(tx, intent.id)


def reason_of(intent: provider.Intent) -> str:
    """Return the provider's word for a payment that failed."""
    failure = intent.last_payment_error
    return (failure.code if failure else "") or intent.status


async def know(tx: Tx, deposit_id: str, intent: provider.Intent) -> None:
    """Keep the provider's id of a deposit."""
    await store_deposits.know_at_provider(
        tx, deposit_id, intent.id, intent.next_action, tx.context.now()
    )
    _refresh_after(tx, deposit_id)


async def succeed(tx: Tx, deposit_id: str, intent: provider.Intent) -> None:
    """Credit a deposit that was paid, once; one paid in another amount is flagged instead."""
    user_id = await store_deposits.user_of(tx, deposit_id)
    if user_id is None:
        return
    await store_players.lock(tx, user_id)
    row = await store_deposits.lock(tx, deposit_id)
    if row is None or not rules.climbs(row.status, "succeeded"):
        return
    now = tx.context.now()
    received, currency = intent.amount_received or intent.amount, intent.currency.upper()
    told = (intent.amount, received, currency)
    captured = rules.captured((row.amount, row.currency), told)
    if captured is None:
        await store_deposits.flag(tx, deposit_id, f"paid {received} {currency}", now)
        tx.context.log.error("a deposit was paid differently", deposit_id=deposit_id, paid=told)
        return
    first = not await store_deposits.has_succeeded_before(tx, user_id)
    part = captured if captured < row.amount else None
    await store_deposits.climb(tx, deposit_id, "succeeded", now, is_first=first, received=part)
    event_id = await tx.publish(
        PAYMENT_SUCCESS,
        PaymentSuccess(
            payment_id=deposit_id,
            user_id=user_id,
            amount=captured,
            currency=row.currency,
            method=row.method,
            transfer_id=row.transfer_id,
            first=first,
        ),
        subject=deposit_id,
    )
    await store_deposits.told(tx, deposit_id, event_id)
    _refresh_after(tx, deposit_id)


async def fail(tx: Tx, deposit_id: str, reason: str) -> None:
    """Keep that a deposit came to nothing, unless it is known to have succeeded."""
    row = await store_deposits.lock(tx, deposit_id)
    if row is None or not rules.climbs(row.status, "failed"):
        return
    await store_deposits.climb(tx, deposit_id, "failed", tx.context.now(), reason=reason)
    await tx.publish(
        PAYMENT_FAILED,
        PaymentFailed(
            payment_id=deposit_id,
            user_id=row.user_id,
            amount=row.amount,
            currency=row.currency,
            reason=reason,
        ),
        subject=deposit_id,
    )
    _refresh_after(tx, deposit_id)


def _refresh_after(tx: Tx, deposit_id: str) -> None:
    tx.after_commit(lambda: answers.refresh_deposit(tx.context, deposit_id))
