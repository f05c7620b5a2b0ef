"""wallet, as the mesh runs it: what it hears and calls, then one handler for each."""

from svc.casino import contract as casino
from svc.gaming import contract as gaming
from svc.identity import contract as identity
from svc.marketing import contract as marketing
from svc.mesh.clock import in_utc
from svc.mesh.context import Context
from svc.mesh.database import LOST, Tx
from svc.mesh.envelope import CloudEvent
from svc.mesh.errors import Invalid, Refused, Unavailable, problem
from svc.mesh.service import Hear, Service
from svc.payment import contract as payment
from svc.scheduler import contract as scheduler
from svc.sportsbook import contract as sportsbook
from svc.wallet import audit as auditing, bonuses, ledger, reading, statements, store
from svc.wallet.announcements import retold
from svc.wallet.contract import (
    APPLY_BATCH,
    AUDIT,
    BALANCE,
    BALANCE_CHANGED,
    CAPTURE,
    CREDIT_BALANCE,
    DEDUCT_BALANCE,
    ENTRIES,
    HOLD,
    RELEASE,
    ROLLBACK,
    STATEMENT,
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
    Hold,
    Release,
    Rollback,
    Statement,
    StatementOf,
    Totals,
    TotalsOf,
)
from svc.wallet.group import group_of
from svc.wallet.heard import apply_heard, exclude
from svc.wallet.operations import Close, Credit, Deduct, Operation, of_item

wallet = Service(
    WALLET,
    hears=(
        Hear(identity.USER_REGISTERED, "open the wallet"),
        Hear(identity.USER_ERASED, "close the account"),
        Hear(identity.SELF_EXCLUDED, "take no stakes of an excluded player"),
        Hear(payment.PAYMENT_SUCCESS, "credit the deposit"),
        Hear(sportsbook.BET_SETTLED, "credit the payout"),
        Hear(sportsbook.BET_CANCELLED, "give the stake back"),
        Hear(sportsbook.BET_ROLLED_BACK, "take back what the bet was paid"),
        Hear(sportsbook.BET_CASHED_OUT, "credit what the bet was bought back for"),
        Hear(marketing.BONUS_AWARDED, "credit the bonus"),
        Hear(marketing.BONUS_EXPIRED, "take back what is left of the bonus"),
        Hear(marketing.BONUS_CONVERTED, "turn what is left of the bonus into cash"),
        Hear(casino.CASINO_PAYOUT_COMPLETE, "credit the payout"),
        Hear(gaming.PRIZE_AWARDED, "credit the prize"),
        Hear(scheduler.JOB_DUE, "audit", only=lambda job: job.service == "wallet"),
    ),
    calls=(identity.AUTHORIZE, identity.CONFIRM_EXCLUSION),
    asks=(scheduler.JOB_REQUESTED,),
    database=True,
    cache=True,
    localizes=("wallet",),
)

AUDIT_JOB = "audit"
wallet.retells_as(BALANCE_CHANGED)(retold)


@wallet.answers(BALANCE)
async def balance(request: BalanceOf, context: Context) -> Balance:
    """Read the truth, not the cache: who has just paid in wants to see it."""
    return await reading.balance(request, context)


@wallet.answers_many(DEDUCT_BALANCE, Deduct)
async def deduct_balance(requests: list[Deduct], contexts: list[Context]) -> list[ledger.Answer]:
    return await group_of(contexts[0]).apply(requests, contexts)


@wallet.answers_many(CREDIT_BALANCE, Credit)
async def credit_balance(requests: list[Credit], contexts: list[Context]) -> list[ledger.Answer]:
    """Where the money goes is the kind's to say: only events say it themselves."""
    if any(request.into for request in requests):
        return await apart(requests, contexts)
    return await group_of(contexts[0]).apply(requests, contexts)


@wallet.answers_many(HOLD)
async def hold(requests: list[Hold], contexts: list[Context]) -> list[ledger.Answer]:
    return await group_of(contexts[0]).apply(requests, contexts)


@wallet.answers_many(CAPTURE)
async def capture(requests: list[Capture], contexts: list[Context]) -> list[ledger.Answer]:
    return await group_of(contexts[0]).apply(requests, contexts)


@wallet.answers_many(RELEASE)
async def release(requests: list[Release], contexts: list[Context]) -> list[ledger.Answer]:
    return await group_of(contexts[0]).apply(requests, contexts)


@wallet.answers_many(ROLLBACK)
async def rollback(requests: list[Rollback], contexts: list[Context]) -> list[ledger.Answer]:
    return await group_of(contexts[0]).apply(requests, contexts)


@wallet.answers(ENTRIES)
async def entries(request: EntriesOf, context: Context) -> Entries:
    return await reading.entries(request, context)


@wallet.answers(STATEMENT)
async def statement(request: StatementOf, context: Context) -> Statement:
    return await reading.statement(request, context)


@wallet.answers(APPLY_BATCH)
async def apply_batch(request: Batch, context: Context) -> BatchReceipt:
    """What has not the form of an operation is answered as invalid; all others are applied."""
    results: list[BatchResult | None] = []
    operations: list[Operation] = []
    for item in request.transfers:
        try:
            operations.append(of_item(item))
            results.append(None)
        except Invalid as invalid:
            results.append(BatchResult(problem=problem(invalid)))
    answers = iter(await group_of(context).apply(operations, [context] * len(operations)))
    return BatchReceipt(results=[result or result_of(next(answers)) for result in results])


@wallet.answers(TOTALS)
async def totals(request: TotalsOf, context: Context) -> Totals:
    since, until = in_utc(request.since, "since"), in_utc(request.until, "until")
    async with context.transaction() as tx:
        return Totals(totals=await statements.totals(tx, since, until))


@wallet.answers(AUDIT)
async def audit(request: Audit, context: Context) -> AuditReport:
    await identity.require_permission(context, request.actor_id, "wallet.audit")
    async with context.transaction() as tx:
        return await auditing.audit(tx, since=await auditing.last_sound(tx))


@wallet.hears(identity.USER_REGISTERED)
async def open_wallet(event: CloudEvent[identity.UserRegistered], tx: Tx, context: Context) -> None:
    await store.open_wallets(
        tx.connection, {event.data.user_id: event.data.currency}, context.now()
    )


@wallet.hears(identity.USER_ERASED)
async def close_account(event: CloudEvent[identity.UserErased], _: Tx, context: Context) -> None:
    """Bets and holds that are open still come to their end."""
    await apply_heard(context, Close(transfer_id=event.id, user_id=event.data.user_id))


@wallet.hears(identity.SELF_EXCLUDED)
async def exclude_player(
    event: CloudEvent[identity.SelfExcludedData], tx: Tx, context: Context
) -> None:
    """A stake that is on its way is taken before this holds here, or not at all."""
    user_id, until = event.data.user_id, event.data.until
    await exclude(tx, user_id, until)
    tx.after_commit(lambda: identity.confirm_exclusion(context, user_id, until))


@wallet.hears(payment.PAYMENT_SUCCESS)
async def credit_deposit(
    event: CloudEvent[payment.PaymentSuccess], _: Tx, context: Context
) -> None:
    paid = event.data
    await apply_heard(
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
async def credit_bet(event: CloudEvent[sportsbook.BetSettled], _: Tx, context: Context) -> None:
    """A lost bet is recorded too, with nothing paid: its stake can't be rolled back any more."""
    bet = event.data
    await apply_heard(
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
async def refund_bet(event: CloudEvent[sportsbook.BetCancelled], _: Tx, context: Context) -> None:
    bet = event.data
    await apply_heard(
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


@wallet.hears(sportsbook.BET_ROLLED_BACK)
async def take_back(event: CloudEvent[sportsbook.BetRolledBack], _: Tx, context: Context) -> None:
    """What the player has spent of it meanwhile is owed; a payout that comes later is refused."""
    bet = event.data
    await apply_heard(
        context,
        Rollback(
            transfer_id=bet.transfer_id,
            original_transfer_id=bet.original_transfer_id,
            forced=True,
        ),
    )


@wallet.hears(sportsbook.BET_CASHED_OUT)
async def credit_cash_out(
    event: CloudEvent[sportsbook.BetCashedOut], _: Tx, context: Context
) -> None:
    bet = event.data
    await apply_heard(
        context,
        Credit(
            transfer_id=bet.transfer_id,
            user_id=bet.user_id,
            amount=bet.amount,
            currency=bet.currency,
            kind="bet_payout",
            reference=bet.bet_id,
            stake_transfer_id=bet.stake_transfer_id,
        ),
    )


@wallet.hears(marketing.BONUS_AWARDED)
async def credit_bonus(event: CloudEvent[marketing.BonusAwarded], tx: Tx, context: Context) -> None:
    await bonuses.credit(event.data, tx, context)


@wallet.hears(marketing.BONUS_EXPIRED)
async def expire_bonus(event: CloudEvent[marketing.BonusExpired], tx: Tx, context: Context) -> None:
    await bonuses.expire(event.data, tx, context)


@wallet.hears(marketing.BONUS_CONVERTED)
async def convert_bonus(
    event: CloudEvent[marketing.BonusConverted], tx: Tx, context: Context
) -> None:
    await bonuses.convert(event.data, tx, context)


@wallet.hears(casino.CASINO_PAYOUT_COMPLETE)
async def credit_round(
    event: CloudEvent[casino.CasinoPayoutComplete], _: Tx, context: Context
) -> None:
    """A lost round is recorded too: its stake can't be rolled back any more.

    What a free spin wins is bonus money: nothing of the player's was staked.
    """
    played = event.data
    await apply_heard(
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
async def credit_prize(event: CloudEvent[gaming.PrizeAwarded], _: Tx, context: Context) -> None:
    prize = event.data
    await apply_heard(
        context,
        Credit(
            transfer_id=prize.transfer_id,
            user_id=prize.user_id,
            amount=prize.amount,
            currency=prize.currency,
            kind="jackpot" if prize.kind == "jackpot" else "prize",
            reference=prize.award_id,
        ),
    )


@wallet.hears(scheduler.JOB_DUE)
async def run_job(event: CloudEvent[scheduler.JobDue], tx: Tx, context: Context) -> None:
    if event.data.name != AUDIT_JOB:
        return
    await statements.make_partitions(tx, context.now().date())
    ends = await auditing.heads(tx)
    report = await auditing.audit(tx, since=await auditing.last_sound(tx))
    await auditing.record(tx, report, ends, event.data.due_at)
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


@wallet.on_start
async def begin_to_write(context: Context) -> None:
    """Be ready before the first call; without a database the first call tries again."""
    try:
        await group_of(context).writer.connect()
    except (Unavailable, *LOST) as failure:
        context.log.warning("the ledger cannot be written yet", cause=str(failure))


@wallet.on_stop
async def finish(context: Context) -> None:
    await group_of(context).close()


async def apart(requests: list[Credit], contexts: list[Context]) -> list[ledger.Answer]:
    """Refuse what only events may say; apply the others."""
    plain = [number for number, one in enumerate(requests) if not one.into]
    group = group_of(contexts[0])
    applied = await group.apply([requests[n] for n in plain], [contexts[n] for n in plain])
    answers = iter(applied)
    unknown = Invalid("Object contains unknown field `into`")
    return [unknown if one.into else next(answers) for one in requests]


def result_of(answer: ledger.Answer) -> BatchResult:
    """Return an answer as a batch carries it."""
    if isinstance(answer, Refused):
        return BatchResult(problem=problem(answer))
    return BatchResult(receipt=answer)
