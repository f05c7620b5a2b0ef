"""Withdrawals: hold, pay out at the provider, then capture or release; each step can be repeated.

`advance` does the next step until there is nothing to do but wait. Each step is a call that is
harmless to repeat (its id was stored before) and then a transition that happens only once.
"""

from datetime import datetime

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
    rules,
    store_disputes,
    store_players,
    store_withdrawals,
)
from svc.payment.contract import (
    WITHDRAWAL_FAILED,
    WITHDRAWAL_PAID,
    WITHDRAWAL_REQUESTED,
    RequestWithdrawal,
    Withdrawal,
    WithdrawalFailed,
    WithdrawalPaid,
    WithdrawalRequested,
)
from svc.payment.rules import Player
from svc.payment.store_withdrawals import WithdrawalRow
from svc.wallet import contract as wallet

KIND = "withdrawal"
CANCELLED = "cancelled"
UNANSWERED = "not answered for a day"
STEPS_MAX = 12


async def request(asked: RequestWithdrawal, context: Context) -> Withdrawal:
    """Take a withdrawal in, hold its money and submit it.

    The same key gets the same answer. Raises the wallet's refusal in our words, Unavailable or
    TimedOut while the wallet does not answer: the same request then goes on where it stopped.
    """
    row = await _take_in(asked, context)
    if row.answered_status is None:
        row = await advance(context, row.withdrawal_id)
        async with context.transaction() as tx:
            status = rules.STATUS_OF_STATE[row.state]
            await store_withdrawals.answer(tx, row.withdrawal_id, status, None)
            row = await store_withdrawals.lock(tx, row.withdrawal_id) or row
    if row.refusal is not None:
        raise answers.stored_refusal(row.refusal)
    return await answers.withdrawal(context, row, row.answered_status)


async def _take_in(asked: RequestWithdrawal, context: Context) -> WithdrawalRow:
    """Store the withdrawal with all its ids, taken in or refused, or return the one of the key."""
    now = context.now()
    row = WithdrawalRow(
        withdrawal_id=context.new_id(),
        user_id=asked.user_id,
        request_hash=rules.request_hash(asked.amount, asked.currency, asked.method),
        amount=asked.amount,
        currency=asked.currency,
        method=asked.method,
        hold_id=context.new_id(),
        hold_transfer_id=context.new_id(),
        capture_transfer_id=context.new_id(),
        release_transfer_id=context.new_id(),
        return_transfer_id=context.new_id(),
        state="requested",
        provider_id=None,
        reason=None,
        answered_status=None,
        refusal=None,
        created_at=now,
        tries=0,
    )
    async with context.transaction() as tx:
        # Who asks at the same time under the same key waits here, and finds what was taken in.
        player = await store_players.lock(tx, asked.user_id)
        known = await store_withdrawals.by_key(tx, asked.user_id, asked.idempotency_key)
        if known is not None:
            if known.request_hash != row.request_hash:
                raise IdempotencyMismatch
            return known
        refusal = await answers.refusal_of(_check(tx, player, asked, now))
        await store_withdrawals.insert(tx, row, asked.idempotency_key, rules.next_try(now, 0))
        if refusal is None:
            return row
        await _refuse(tx, row, refusal, problem(refusal))
        return await store_withdrawals.find(tx, row.withdrawal_id) or row


async def _refuse(
    tx: Tx, row: WithdrawalRow, refusal: Refused, document: dict[str, object]
) -> None:  # fmt: skip
    """Keep why nothing was held: the answer of its key for ever."""
    if await store_withdrawals.move(
        tx, row.withdrawal_id, ("requested",), "refused", tx.context.now(), reason=refusal.name
    ):
        await store_withdrawals.answer(tx, row.withdrawal_id, "failed", document)


async def _check(tx: Tx, player: Player, asked: RequestWithdrawal, now: datetime) -> None:
    """Raise what forbids the withdrawal; the wallet alone decides whether the money is there."""
    policy = rules.policy_of(tx.context.runtime.settings.get)
    disputed = await store_disputes.block(tx, asked.user_id)
    rules.check_withdrawal(player, asked.currency, disputed=disputed, policy=policy)
    rules.check_withdrawal_amount(
        asked.amount,
        asked.method,
        await store_withdrawals.loops(tx, asked.user_id),
        await store_withdrawals.withdrawn_since(tx, asked.user_id, now - rules.PERIODS["day"]),
        policy,
    )


async def cancel(withdrawal_id: str, user_id: str, context: Context) -> Withdrawal:
    """Cancel a withdrawal that was not submitted; raises Conflict afterwards."""
    now = context.now()
    async with context.transaction() as tx:
        row = await store_withdrawals.lock(tx, withdrawal_id)
        if row is None or row.user_id != user_id:
            raise NotFound("there is no such withdrawal")
        ways = {"requested": "abandoning", "held": "releasing"}
        if row.state in ways:
            await store_withdrawals.move(
                tx, withdrawal_id, (row.state,), ways[row.state], now, reason=CANCELLED
            )
        elif row.reason != CANCELLED:
            raise Conflict("the withdrawal was submitted already", state=row.state)
    return await answers.withdrawal(context, await advance(context, withdrawal_id))


async def look(context: Context, withdrawal_id: str) -> None:
    """Bring an unfinished withdrawal on, and ask the provider about one that was submitted.

    Raises Unavailable when somebody does not answer.
    """
    async with context.transaction() as tx:
        row = await store_withdrawals.find(tx, withdrawal_id)
        if row is None:
            return
        await store_withdrawals.tried(
            tx, withdrawal_id, rules.next_try(context.now(), row.tries + 1)
        )
    if row.state == "submitted" and row.provider_id is not None:
        payout = await provider.of(context).payout(row.provider_id)
        async with context.transaction() as tx:
            await apply(tx, withdrawal_id, payout)
    await advance(context, withdrawal_id)


async def advance(context: Context, withdrawal_id: str) -> WithdrawalRow:
    """Do the next steps until the withdrawal is finished or waits for the provider.

    Raises Unavailable or TimedOut when the wallet does not answer; nothing is lost then.
    """
    for _ in range(STEPS_MAX):
        async with context.transaction() as tx:
            row = await store_withdrawals.find(tx, withdrawal_id)
        if row is None:
            raise NotFound("there is no such withdrawal")
        match row.state:
            case "requested":
                await _hold(context, row)
            case "held":
                # Written before the provider is asked: from here on nobody can cancel.
                await _move(context, row, "held", "submitting")
            case "submitting":
                if not await _submit(context, row):
                    return row
            case "paid_pending_capture":
                await _capture(context, row)
            case "abandoning" | "releasing":
                await _give_back(context, row)
            case "returning":
                await _credit_again(context, row)
            case _:
                return row
    raise Unavailable("the withdrawal did not come to rest")


async def _move(context: Context, row: WithdrawalRow, state: str, to: str) -> None:
    async with context.transaction() as tx:
        await store_withdrawals.move(tx, row.withdrawal_id, (state,), to, context.now())


async def _hold(context: Context, row: WithdrawalRow) -> None:
    hold = wallet.Hold(
        transfer_id=row.hold_transfer_id,
        hold_id=row.hold_id,
        user_id=row.user_id,
        amount=row.amount,
        currency=row.currency,
        kind=KIND,
        reference=row.withdrawal_id,
    )
    try:
        await context.call(wallet.HOLD, hold)
    except Refused as refusal:
        async with context.transaction() as tx:
            await _refuse(tx, row, refusal, answers.of_wallet(refusal))
        return
    async with context.transaction() as tx:
        if await store_withdrawals.move(
            tx, row.withdrawal_id, ("requested",), "held", context.now()
        ):
            await tx.publish(
                WITHDRAWAL_REQUESTED,
                WithdrawalRequested(
                    withdrawal_id=row.withdrawal_id,
                    user_id=row.user_id,
                    amount=row.amount,
                    currency=row.currency,
                ),
                subject=row.withdrawal_id,
            )


async def _submit(context: Context, row: WithdrawalRow) -> bool:
    """Ask the provider for the payout; False when it does not answer and the sweep must go on.

    After a day its key may be forgotten there: then only its events tell, or a person.
    """
    if not rules.may_be_asked_for(row.created_at, context.now()):
        async with context.transaction() as tx:
            await store_withdrawals.flag(tx, row.withdrawal_id, UNANSWERED, context.now())
        return False
    try:
        payout = await provider.of(context).pay_out(
            row.withdrawal_id, row.amount, row.currency, row.method
        )
    except provider.Rejected as rejected:
        async with context.transaction() as tx:
            await store_withdrawals.move(
                tx, row.withdrawal_id, ("submitting",), "releasing", context.now(),
                reason=rejected.code,
            )  # fmt: skip
        return True
    except Unavailable as failure:
        context.log.warning("withdrawal waits", withdrawal_id=row.withdrawal_id, cause=str(failure))
        return False
    async with context.transaction() as tx:
        await store_withdrawals.move(
            tx, row.withdrawal_id, ("submitting",), "submitted", context.now(),
            provider_id=payout.id,
        )  # fmt: skip
        await apply(tx, row.withdrawal_id, payout)
    return True


async def apply(tx: Tx, withdrawal_id: str, payout: provider.Payout) -> None:
    """Keep how a payout stands at the provider, in whatever order its news come.

    A payout that failed is final; one that was paid before has come back (a return by the bank).
    """
    row = await store_withdrawals.lock(tx, withdrawal_id)
    if row is None:
        return
    now = tx.context.now()
    told = (payout.amount, payout.currency.upper())
    if told != (row.amount, row.currency):
        await store_withdrawals.flag(tx, withdrawal_id, f"paid out {told[0]} {told[1]}", now)
        tx.context.log.error("a payout differs", withdrawal_id=withdrawal_id, told=told)
        return
    asked = ("submitting", "submitted")
    reason = payout.failure_code or payout.status
    if payout.status == "paid":
        moved = await store_withdrawals.move(
            tx, withdrawal_id, asked, "paid_pending_capture", now, provider_id=payout.id
        )
        if moved is None and row.provider_id is None:
            await _paid_after_all(tx, row, payout)
    elif payout.status in {"failed", "canceled"}:
        to = {"paid_pending_capture": "paid_pending_capture", "paid": "returning"}
        await store_withdrawals.move(
            tx,
            withdrawal_id,
            (*asked, *to),
            to.get(row.state, "releasing"),
            now,
            provider_id=payout.id,
            reason=reason,
        )


async def _paid_after_all(tx: Tx, row: WithdrawalRow, payout: provider.Payout) -> None:
    """Flag a payout that we did not know of: its money was given back, and went out as well."""
    flag = f"paid out though {row.state} ({row.reason})"
    await store_withdrawals.flag(tx, row.withdrawal_id, flag, tx.context.now())
    tx.context.log.error(
        "a payout was made after all", withdrawal_id=row.withdrawal_id, payout=payout.id
    )


async def _capture(context: Context, row: WithdrawalRow) -> None:
    capture = wallet.Capture(transfer_id=row.capture_transfer_id, hold_id=row.hold_id)
    await context.call(wallet.CAPTURE, capture)
    async with context.transaction() as tx:
        locked = await store_withdrawals.lock(tx, row.withdrawal_id)
        # A failure that came meanwhile means that the money came back after it was paid.
        to = "returning" if locked and locked.reason else "paid"
        if await store_withdrawals.move(
            tx, row.withdrawal_id, ("paid_pending_capture",), to, context.now()
        ):
            await tx.publish(
                WITHDRAWAL_PAID,
                WithdrawalPaid(
                    withdrawal_id=row.withdrawal_id,
                    user_id=row.user_id,
                    amount=row.amount,
                    currency=row.currency,
                ),
                subject=row.withdrawal_id,
            )


async def _give_back(context: Context, row: WithdrawalRow) -> None:
    """Release the hold; one that nobody knows to be there is undone, also if it comes later."""
    if row.state == "abandoning":
        await context.call(
            wallet.ROLLBACK,
            wallet.Rollback(
                transfer_id=row.release_transfer_id, original_transfer_id=row.hold_transfer_id
            ),
        )
    else:
        release = wallet.Release(transfer_id=row.release_transfer_id, hold_id=row.hold_id)
        await context.call(wallet.RELEASE, release)
    await _close(context, row, "cancelled" if row.reason == CANCELLED else "failed")


async def _credit_again(context: Context, row: WithdrawalRow) -> None:
    credit = wallet.Transfer(
        transfer_id=row.return_transfer_id,
        user_id=row.user_id,
        amount=row.amount,
        currency=row.currency,
        kind=KIND,
        reference=row.withdrawal_id,
    )
    await context.call(wallet.CREDIT_BALANCE, credit)
    await _close(context, row, "failed", returned=True)


async def _close(
    context: Context, row: WithdrawalRow, to: str, *, returned: bool = False
) -> None:  # fmt: skip
    async with context.transaction() as tx:
        if await store_withdrawals.move(tx, row.withdrawal_id, (row.state,), to, context.now()):
            await tx.publish(
                WITHDRAWAL_FAILED,
                WithdrawalFailed(
                    withdrawal_id=row.withdrawal_id,
                    user_id=row.user_id,
                    amount=row.amount,
                    currency=row.currency,
                    reason=row.reason or "failed",
                    returned=returned,
                ),
                subject=row.withdrawal_id,
            )
