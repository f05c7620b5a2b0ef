"""payment, as the mesh runs it: what it hears and calls, then one handler for each."""

import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial

from svc.identity import contract as identity
from svc.mesh.context import Context
from svc.mesh.contract import RawMessage
from svc.mesh.database import Tx
from svc.mesh.envelope import CloudEvent
from svc.mesh.errors import NotFound, Unavailable
from svc.mesh.service import Hear, Service
from svc.mesh.types import UUID_PATTERN, Empty
from svc.notification import contract as notification
from svc.payment import (
    answers,
    deposits,
    disputes,
    provider,
    reconciliation,
    refund_returns,
    refunds,
    reviews,
    rules,
    store_deposits,
    store_disputes,
    store_players,
    store_refund_returns,
    store_refunds,
    store_statement,
    store_webhooks,
    store_withdrawals,
    webhooks,
    withdrawals,
)
from svc.payment.contract import (
    ABANDON_WITHDRAWAL,
    CANCEL_WITHDRAWAL,
    CAPTURE_DEPOSIT,
    GET_DEPOSIT,
    GET_WITHDRAWAL,
    PAYMENT,
    PAYMENT_FAILED,
    PAYMENT_REFUNDED,
    PAYMENT_SUCCESS,
    RECEIVE_WEBHOOK,
    REFUND_DEPOSIT,
    RELEASE_DEPOSIT,
    REQUEST_DEPOSIT,
    REQUEST_WITHDRAWAL,
    AbandonWithdrawal,
    CaptureDeposit,
    Deposit,
    DepositOf,
    PaymentFailed,
    PaymentRefunded,
    PaymentSuccess,
    RefundDeposit,
    ReleaseDeposit,
    RequestDeposit,
    RequestWithdrawal,
    Withdrawal,
    WithdrawalOf,
)
from svc.payment.contract_reports import (
    PENDING,
    RECONCILE,
    RECONCILIATION,
    PendingPayments,
    PendingReport,
    Reconciliation,
    ReconciliationOf,
)
from svc.payment.rules import AnnouncedLimit
from svc.scheduler import contract as scheduler
from svc.wallet import contract as wallet

SWEEP = "sweep-payments"
RECONCILED = "reconcile-payments"
SWEPT_MAX = 25
"""How many payments of a kind one sweep looks at; what is left is taken by the next."""
PARKED_FOR = timedelta(days=3)
"""So long a webhook of an unknown payment is tried again: as long as Stripe would send it."""


JOBS = {SWEEP: "*/10 * * * * *", RECONCILED: "0 7 * * * *"}
"""The sweep every ten seconds; the comparison seven minutes past each hour."""


def _is_ours(job: scheduler.JobDue) -> bool:
    return job.service == "payment" and job.name in JOBS


def _is_deposit_limit(change: identity.LimitChanged) -> bool:
    return change.kind == "deposit"


payment = Service(
    PAYMENT,
    hears=(
        Hear(identity.USER_REGISTERED, "know the player's currency and language"),
        Hear(identity.PROFILE_UPDATED, "keep the language"),
        Hear(identity.SELF_EXCLUDED, "take no deposits of an excluded player"),
        Hear(identity.LIMIT_CHANGED, "keep deposits below the player's limits", _is_deposit_limit),
        Hear(identity.KYC_CHANGED, "move no money of a player whose verification was rejected"),
        Hear(PAYMENT_SUCCESS, "refresh the cached deposit, in every instance's name"),
        Hear(PAYMENT_FAILED, "refresh the cached deposit"),
        Hear(PAYMENT_REFUNDED, "refresh the cached deposit"),
        Hear(notification.NOTIFICATION_DELIVERED, "know that a deposit was confirmed"),
        Hear(notification.NOTIFICATION_FAILED, "flag a deposit whose confirmation was lost"),
        Hear(
            scheduler.JOB_DUE, "go on with what was left, and compare with the provider", _is_ours
        ),
    ),
    calls=(
        wallet.HOLD,
        wallet.CAPTURE,
        wallet.RELEASE,
        wallet.DEDUCT_BALANCE,
        wallet.CREDIT_BALANCE,
        wallet.ROLLBACK,
        wallet.TOTALS,
        identity.AUTHORIZE,
        identity.CONFIRM_EXCLUSION,
    ),
    asks=(scheduler.JOB_REQUESTED,),
    database=True,
    cache=True,
    localizes=("payment",),
    outside=("PaymentProvider",),
)


@payment.on_start
async def open_provider(context: Context) -> None:
    """Make the HTTP client of the provider and ask for the jobs."""
    provider.open_for(context)
    for read in (rules.policy_of, partial(rules.is_reviewed, 0)):
        read(context.runtime.settings.get)  # what is no amount shall be told at the start
    async with context.transaction() as tx:
        for name, cron in JOBS.items():
            await tx.publish(
                scheduler.JOB_REQUESTED,
                scheduler.JobRequested(service="payment", name=name, cron=cron),
                subject=f"payment.{name}",
            )


@payment.on_stop
async def close_provider(context: Context) -> None:
    """Hang up."""
    await provider.close_for(context)


@payment.answers(REQUEST_DEPOSIT)
async def request_deposit(request: RequestDeposit, context: Context) -> Deposit:
    """Start a deposit; it is pending until the provider says by webhook how it ended."""
    return await deposits.request(request, context)


@payment.answers(GET_DEPOSIT)
async def get_deposit(request: DepositOf, context: Context) -> Deposit:
    """Read one of one's own deposits."""
    cached = await answers.cached_deposit(context, request.deposit_id)
    if cached.user_id != request.user_id:
        raise NotFound("there is no such deposit")
    return cached.deposit


@payment.answers(REQUEST_WITHDRAWAL)
async def request_withdrawal(request: RequestWithdrawal, context: Context) -> Withdrawal:
    """Hold the money and hand the withdrawal to the provider."""
    return await withdrawals.request(request, context)


@payment.answers(GET_WITHDRAWAL)
async def get_withdrawal(request: WithdrawalOf, context: Context) -> Withdrawal:
    """Read one of one's own withdrawals."""
    async with context.transaction() as tx:
        row = await store_withdrawals.find(tx, request.withdrawal_id)
    if row is None or row.user_id != request.user_id:
        raise NotFound("there is no such withdrawal")
    return await answers.withdrawal(context, row)


@payment.answers(CANCEL_WITHDRAWAL)
async def cancel_withdrawal(request: WithdrawalOf, context: Context) -> Withdrawal:
    """Give the money back, as long as the provider was not asked."""
    return await withdrawals.cancel(request.withdrawal_id, request.user_id, context)


@payment.answers(REFUND_DEPOSIT)
async def refund_deposit(request: RefundDeposit, context: Context) -> Deposit:
    """Give a deposit back to where it came from."""
    await identity.require_permission(context, request.actor_id, "payment.refund")
    return await refunds.request(request, context)


@payment.answers(CAPTURE_DEPOSIT)
async def capture_deposit(request: CaptureDeposit, context: Context) -> Deposit:
    """Take a deposit that an operator looked at."""
    await identity.require_permission(context, request.actor_id, "payment.capture")
    return await reviews.capture(request, context)


@payment.answers(RELEASE_DEPOSIT)
async def release_deposit(request: ReleaseDeposit, context: Context) -> Deposit:
    """Let a deposit go that an operator looked at."""
    await identity.require_permission(context, request.actor_id, "payment.capture")
    return await reviews.release(request, context)


@payment.answers(ABANDON_WITHDRAWAL)
async def abandon_withdrawal(request: AbandonWithdrawal, context: Context) -> Withdrawal:
    """Give the money of a withdrawal back that was never answered."""
    await identity.require_permission(context, request.actor_id, "payment.abandon")
    return await reviews.abandon(request, context)


@payment.answers(RECEIVE_WEBHOOK)
async def receive_webhook(request: RawMessage, context: Context) -> Empty:
    """Take in what the provider tells."""
    await webhooks.receive(request, context)
    return Empty()


@payment.answers(PENDING)
async def pending(request: PendingPayments, context: Context) -> PendingReport:
    """Count what waits and what somebody must look at."""
    await identity.require_permission(context, request.actor_id, "payment.pending")
    async with context.transaction() as tx:
        return await store_webhooks.pending(tx)


@payment.answers(RECONCILIATION)
async def newest_reconciliation(request: ReconciliationOf, context: Context) -> Reconciliation:
    """Show what the last comparison found."""
    await identity.require_permission(context, request.actor_id, "payment.reconciliation")
    async with context.transaction() as tx:
        found = await store_statement.newest(tx)
    if found is None:
        raise NotFound("nothing was compared yet")
    return found


@payment.answers(RECONCILE)
async def reconcile(request: ReconciliationOf, context: Context) -> Reconciliation:
    """Compare now."""
    await identity.require_permission(context, request.actor_id, "payment.reconciliation")
    return await reconciliation.run(context)


@payment.hears(identity.USER_REGISTERED)
async def know_player(
    event: CloudEvent[identity.UserRegistered], tx: Tx, _context: Context
) -> None:  # fmt: skip
    await store_players.lock(tx, event.data.user_id)
    await store_players.register(tx, event.data.user_id, event.data.currency, event.data.locale)


@payment.hears(identity.PROFILE_UPDATED)
async def keep_language(
    event: CloudEvent[identity.ProfileUpdated], tx: Tx, _context: Context
) -> None:
    await store_players.lock(tx, event.data.user_id)
    await store_players.set_locale(tx, event.data.user_id, event.data.locale)


@payment.hears(identity.SELF_EXCLUDED)
async def exclude(event: CloudEvent[identity.SelfExcludedData], tx: Tx, context: Context) -> None:
    """Deposits end at once, which identity is told; the balance can still be withdrawn."""
    user_id, until = event.data.user_id, event.data.until
    await store_players.lock(tx, user_id)
    await store_players.exclude(tx, user_id, until)
    tx.after_commit(lambda: identity.confirm_exclusion(context, user_id, until))


@payment.hears(identity.LIMIT_CHANGED)
async def keep_limit(event: CloudEvent[identity.LimitChanged], tx: Tx, _context: Context) -> None:
    limit = event.data
    await store_players.lock(tx, limit.user_id)
    announced = AnnouncedLimit(
        period=limit.period,
        announced_at=event.time,
        effective_at=limit.effective_at,
        amount=limit.amount,
    )
    await store_players.announce_limit(tx, limit.user_id, announced)


@payment.hears(identity.KYC_CHANGED)
async def keep_verification(
    event: CloudEvent[identity.KycChanged], tx: Tx, _context: Context
) -> None:  # fmt: skip
    await store_players.lock(tx, event.data.user_id)
    await store_players.set_kyc(tx, event.data.user_id, event.data.status, event.time)


@payment.observes(PAYMENT_SUCCESS)
async def refresh_paid(event: CloudEvent[PaymentSuccess], context: Context) -> None:
    """A reader may have cached the state before during the change."""
    await answers.refresh_deposit(context, event.data.payment_id)


@payment.observes(PAYMENT_FAILED)
async def refresh_failed(event: CloudEvent[PaymentFailed], context: Context) -> None:
    await answers.refresh_deposit(context, event.data.payment_id)


@payment.observes(PAYMENT_REFUNDED)
async def refresh_refunded(event: CloudEvent[PaymentRefunded], context: Context) -> None:
    await answers.refresh_deposit(context, event.data.payment_id)


@payment.hears(notification.NOTIFICATION_DELIVERED)
async def confirmation_arrived(
    event: CloudEvent[notification.NotificationDelivered], tx: Tx, _context: Context
) -> None:
    if re.fullmatch(UUID_PATTERN, event.data.cause):
        await store_deposits.confirmed(tx, event.data.cause, "delivered")


@payment.hears(notification.NOTIFICATION_FAILED)
async def confirmation_lost(
    event: CloudEvent[notification.NotificationFailed], tx: Tx, context: Context
) -> None:
    """One channel that failed is no loss where another one delivered."""
    if not re.fullmatch(UUID_PATTERN, event.data.cause):
        return
    deposit_id = await store_deposits.confirmed(tx, event.data.cause, "failed")
    if deposit_id is not None:
        context.log.warning("a confirmation did not arrive", deposit_id=deposit_id)


@payment.observes(scheduler.JOB_DUE)
async def job_due(event: CloudEvent[scheduler.JobDue], context: Context) -> None:
    """Go on with what waits, or compare; calls are made outside any transaction."""
    if event.data.name == SWEEP:
        await _sweep(context)
        return
    try:
        await reconciliation.run(context)
    except Unavailable as failure:
        context.log.warning("compared the next time", cause=str(failure))


async def _sweep(context: Context) -> None:
    now = context.now()
    async with context.transaction() as tx:
        parked = await store_webhooks.parked_since(tx, now - PARKED_FOR, SWEPT_MAX * 4)
        due: tuple[tuple[list[str], Callable[[Context, str], Awaitable[None]]], ...] = (
            (parked, webhooks.retry),
            (await store_deposits.due(tx, now, SWEPT_MAX), deposits.look),
            (await store_withdrawals.due(tx, now, SWEPT_MAX), withdrawals.look),
            (await store_refunds.due(tx, now, SWEPT_MAX), refunds.look),
            (await store_refund_returns.due(tx, now, SWEPT_MAX), refund_returns.look),
            (await store_disputes.due(tx, now, SWEPT_MAX), disputes.look),
        )
    for ids, look in due:
        for each in ids:
            try:
                await look(context, each)
            except Unavailable as failure:
                # The others of this kind would wait for the same: they come first next time.
                context.log.warning("sweep goes on later", id=each, cause=str(failure))
                break
            except Exception:
                # What cannot go on must not keep those behind it waiting; its next try is later.
                context.log.exception("cannot go on", id=each)
