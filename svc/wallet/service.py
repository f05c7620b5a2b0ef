"""wallet, as the mesh runs it: what it hears and calls, then one handler for each."""

import re

from svc.casino import contract as casino
from svc.gaming import contract as gaming
from svc.identity import contract as identity
from svc.marketing import contract as marketing
from svc.mesh.context import Context
from svc.mesh.database import Tx
from svc.mesh.envelope import CloudEvent
from svc.mesh.errors import Invalid, NotFound, Refused, problem
from svc.mesh.service import Hear, Service
from svc.payment import contract as payment
from svc.scheduler import contract as scheduler
from svc.sportsbook import contract as sportsbook
from svc.wallet import ledger, statements
from svc.wallet.announcements import balance_of, finish_refreshing
from svc.wallet.book import Money
from svc.wallet.contract import (
    APPLY_BATCH,
    AUDIT,
    BALANCE,
    CAPTURE,
    CREDIT_BALANCE,
    DEDUCT_BALANCE,
    ENTRIES,
    HOLD,
    RELEASE,
    ROLLBACK,
    TOTALS,
    WALLET,
    Audit,
    AuditReport,
    Balance,
    BalanceOf,
    Batch,
    BatchReceipt,
    BatchResult,
    Capture,
    Entries,
    EntriesOf,
    Entry,
    Hold,
    Receipt,
    Release,
    Rollback,
    Totals,
    TotalsOf,
    Transfer,
)
from svc.wallet.operations import Credit, Deduct, Operation, checked, of_item, of_transfer

wallet = Service(
    WALLET,
    hears=(
        Hear(identity.USER_REGISTERED, "open the wallet"),
        Hear(payment.PAYMENT_SUCCESS, "credit the deposit"),
        Hear(sportsbook.BET_SETTLED, "credit the payout"),
        Hear(sportsbook.BET_CANCELLED, "give the stake back"),
        Hear(marketing.BONUS_AWARDED, "credit the bonus"),
        Hear(marketing.BONUS_EXPIRED, "take back what is left of the bonus"),
        Hear(casino.CASINO_PAYOUT_COMPLETE, "credit the payout"),
        Hear(gaming.PRIZE_AWARDED, "credit the prize"),
        Hear(scheduler.JOB_DUE, "audit", only=lambda job: job.service == "wallet"),
    ),
    calls=(identity.AUTHORIZE,),
    asks=(scheduler.JOB_REQUESTED,),
    database=True,
    cache=True,
    localizes=("wallet",),
)

AUDIT_JOB = "audit"
CURSOR = re.compile(r"[0-9]{1,18}")


@wallet.answers(BALANCE)
async def balance(request: BalanceOf, context: Context) -> Balance:
    """Read the truth, not the cache: who has just paid in wants to see it."""
    async with context.transaction() as tx:
        found = await statements.accounts_of(tx, request.user_id)
    if found is None:
        raise NotFound("this user has no wallet")
    currency, amounts = found
    return balance_of(request.user_id, currency, Money(**amounts))


@wallet.answers(DEDUCT_BALANCE)
async def deduct_balance(request: Transfer, context: Context) -> Receipt:
    return await apply_one(context, of_transfer(Deduct, request))


@wallet.answers(CREDIT_BALANCE)
async def credit_balance(request: Transfer, context: Context) -> Receipt:
    return await apply_one(context, of_transfer(Credit, request))


@wallet.answers(HOLD)
async def hold(request: Hold, context: Context) -> Receipt:
    return await apply_one(context, request)


@wallet.answers(CAPTURE)
async def capture(request: Capture, context: Context) -> Receipt:
    return await apply_one(context, request)


@wallet.answers(RELEASE)
async def release(request: Release, context: Context) -> Receipt:
    return await apply_one(context, request)


@wallet.answers(ROLLBACK)
async def rollback(request: Rollback, context: Context) -> Receipt:
    return await apply_one(context, request)


@wallet.answers(ENTRIES)
async def entries(request: EntriesOf, context: Context) -> Entries:
    """Pages go by position: entries that are written meanwhile move no page."""
    before = position_of(request.cursor)
    async with context.transaction() as tx:
        if await statements.accounts_of(tx, request.user_id) is None:
            raise NotFound("this user has no wallet")
        rows = await statements.entries_of(tx, request.user_id, before, request.limit + 1)
    page = rows[: request.limit]
    items = [
        Entry(
            entry_id=str(row["id"]),
            transfer_id=str(row["transfer_id"]),
            account=row["name"],
            amount=row["amount"],
            balance_after=row["balance_after"],
            kind=row["kind"],
            title=await context.localizer.text(request.locale, "wallet", f"kind.{row['kind']}"),
            reference=row["reference"],
            at=row["decided_at"],
        )
        for row in page
    ]
    return Entries(
        items=items,
        next_cursor=str(page[-1]["position"]) if len(rows) > request.limit else None,
    )


@wallet.answers(APPLY_BATCH)
async def apply_batch(request: Batch, context: Context) -> BatchReceipt:
    """What has not the form of an operation is answered as invalid; all others are applied."""
    results: list[BatchResult | None] = []
    operations: list[Operation] = []
    for item in request.transfers:
        try:
            operations.append(checked(of_item(item)))
            results.append(None)
        except Invalid as invalid:
            results.append(BatchResult(problem=problem(invalid)))
    async with context.transaction() as tx:
        answers = iter(await ledger.apply(tx, operations))
    return BatchReceipt(results=[result or result_of(next(answers)) for result in results])


@wallet.answers(TOTALS)
async def totals(request: TotalsOf, context: Context) -> Totals:
    async with context.transaction() as tx:
        return Totals(totals=await statements.totals(tx, request.since, request.until))


@wallet.answers(AUDIT)
async def audit(request: Audit, context: Context) -> AuditReport:
    await identity.require_permission(context, request.actor_id, "wallet.audit")
    async with context.transaction() as tx:
        return await statements.audit(tx)


@wallet.hears(identity.USER_REGISTERED)
async def open_wallet(event: CloudEvent[identity.UserRegistered], tx: Tx, _: Context) -> None:
    await ledger.open_wallets(tx, {event.data.user_id: event.data.currency})


@wallet.hears(payment.PAYMENT_SUCCESS)
async def credit_deposit(
    event: CloudEvent[payment.PaymentSuccess], tx: Tx, context: Context
) -> None:
    paid = event.data
    await apply_heard(
        tx,
        context,
        Credit(
            transfer_id=paid.transfer_id,
            user_id=paid.user_id,
            amount=paid.amount,
            currency=paid.currency,
            kind="deposit",
            reference=paid.payment_id,
        ),
    )


@wallet.hears(sportsbook.BET_SETTLED)
async def credit_bet(event: CloudEvent[sportsbook.BetSettled], tx: Tx, context: Context) -> None:
    """A lost bet is recorded too, with nothing paid: its stake can't be rolled back any more."""
    bet = event.data
    await apply_heard(
        tx,
        context,
        Credit(
            transfer_id=bet.transfer_id,
            user_id=bet.user_id,
            amount=bet.payout,
            currency=bet.currency,
            kind="bet_payout",
            reference=bet.bet_id,
            stake_transfer_id=bet.stake_transfer_id,
        ),
    )


@wallet.hears(sportsbook.BET_CANCELLED)
async def refund_bet(event: CloudEvent[sportsbook.BetCancelled], tx: Tx, context: Context) -> None:
    bet = event.data
    await apply_heard(
        tx,
        context,
        Credit(
            transfer_id=bet.transfer_id,
            user_id=bet.user_id,
            amount=bet.refund,
            currency=bet.currency,
            kind="bet_refund",
            reference=bet.bet_id,
            stake_transfer_id=bet.stake_transfer_id,
        ),
    )


@wallet.hears(marketing.BONUS_AWARDED)
async def credit_bonus(event: CloudEvent[marketing.BonusAwarded], tx: Tx, context: Context) -> None:
    """Spin chances are not money: marketing keeps them."""
    award = event.data
    if award.kind == "free_spins":
        return
    await apply_heard(
        tx,
        context,
        Credit(
            transfer_id=award.transfer_id,
            user_id=award.user_id,
            amount=award.amount,
            currency=award.currency,
            kind="bonus",
            reference=award.award_id,
            into=award.kind,
        ),
    )


@wallet.hears(marketing.BONUS_EXPIRED)
async def expire_bonus(event: CloudEvent[marketing.BonusExpired], tx: Tx, context: Context) -> None:
    bonus = event.data
    await apply_heard(
        tx,
        context,
        Deduct(
            transfer_id=bonus.transfer_id,
            user_id=bonus.user_id,
            amount=bonus.amount,
            currency=bonus.currency,
            kind="bonus_expiry",
            reference=bonus.award_id,
        ),
    )


@wallet.hears(casino.CASINO_PAYOUT_COMPLETE)
async def credit_round(
    event: CloudEvent[casino.CasinoPayoutComplete], tx: Tx, context: Context
) -> None:
    """A lost round is recorded too: its stake can't be rolled back any more.

    What a free spin wins is bonus money: nothing of the player's was staked.
    """
    played = event.data
    await apply_heard(
        tx,
        context,
        Credit(
            transfer_id=played.transfer_id,
            user_id=played.user_id,
            amount=played.payout,
            currency=played.currency,
            kind="casino_payout",
            reference=played.round_id,
            stake_transfer_id=played.stake_transfer_id,
            into="bonus" if played.free_spin else None,
        ),
    )


@wallet.hears(gaming.PRIZE_AWARDED)
async def credit_prize(event: CloudEvent[gaming.PrizeAwarded], tx: Tx, context: Context) -> None:
    prize = event.data
    await apply_heard(
        tx,
        context,
        Credit(
            transfer_id=prize.transfer_id,
            user_id=prize.user_id,
            amount=prize.amount,
            currency=prize.currency,
            kind="prize",
            reference=prize.award_id,
        ),
    )


@wallet.hears(scheduler.JOB_DUE)
async def run_job(event: CloudEvent[scheduler.JobDue], tx: Tx, context: Context) -> None:
    if event.data.name != AUDIT_JOB:
        return
    report = await statements.audit(tx)
    await statements.record_audit(tx, report, event.data.due_at)
    if report.healthy:
        context.log.info("the ledger is sound", transfers=report.transfers)
    else:
        context.log.error("the ledger is broken", violations=report.violations)


@wallet.on_start
async def ask_for_jobs(context: Context) -> None:
    """Ask for an audit every hour; asking again replaces the same job."""
    job = scheduler.JobRequested(service="wallet", name=AUDIT_JOB, cron="0 0 * * * *")
    async with context.transaction() as tx:
        await tx.publish(scheduler.JOB_REQUESTED, job, subject=f"wallet.{AUDIT_JOB}")


@wallet.on_stop
async def finish(_: Context) -> None:
    await finish_refreshing()


async def apply_one(context: Context, operation: Operation) -> Receipt:
    """Apply one operation; its refusal is stored before it is raised."""
    checked(operation)
    async with context.transaction() as tx:
        [answer] = await ledger.apply(tx, [operation])
    if isinstance(answer, Refused):
        raise answer
    return answer


async def apply_heard(tx: Tx, context: Context, operation: Operation) -> None:
    """Apply what an event says; nobody waits for a refusal, so it is stored and logged."""
    [answer] = await ledger.apply(tx, [operation])
    if isinstance(answer, Refused):
        context.log.warning(
            "an event was refused",
            transfer_id=operation.transfer_id,
            refusal=answer.name,
            detail=answer.detail,
        )


def result_of(answer: ledger.Answer) -> BatchResult:
    """Return an answer as a batch carries it."""
    if isinstance(answer, Refused):
        return BatchResult(problem=problem(answer))
    return BatchResult(receipt=answer)


def position_of(cursor: str | None) -> int | None:
    """Return the position that a cursor stands for; raises Invalid for one that is not ours."""
    if cursor is None:
        return None
    if not CURSOR.fullmatch(cursor):
        raise Invalid("this cursor did not come from here - at `$.cursor`")
    return int(cursor)
