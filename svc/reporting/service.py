"""reporting, as the mesh runs it: it hears everything in the low lane and answers with numbers."""

from datetime import date, datetime, timedelta
from typing import Any

from svc.casino import contract as casino
from svc.gaming import contract as gaming
from svc.identity import contract as identity
from svc.marketing import contract as marketing
from svc.mesh.context import Context
from svc.mesh.contract import Lane
from svc.mesh.database import Tx
from svc.mesh.envelope import CloudEvent
from svc.mesh.rebuild import is_told_again, rebuilds
from svc.mesh.service import Hear, Service
from svc.notification import contract as notification
from svc.payment import contract as payment
from svc.reporting import reports, rules, store
from svc.reporting.contract import (
    COUNTS,
    DAILY,
    RECONCILE,
    REPORTING,
    Counts,
    CountsOf,
    DailyOf,
    DailyReport,
    ReconcileOf,
    Reconciliation,
)
from svc.scheduler import contract as scheduler
from svc.sportsbook import contract as sportsbook
from svc.wallet import contract as wallet

DAILY_JOB = "daily-report"
DAILY_CRON = "0 10 0 * * *"
"""Ten minutes after midnight UTC: what happened before midnight has been heard by then."""
REPORT_KEPT_S = 5
DAYS_SHOWN = 7

EVERYTHING = tuple(
    event
    for contract in (
        identity.IDENTITY,
        sportsbook.SPORTSBOOK,
        payment.PAYMENT,
        wallet.WALLET,
        marketing.MARKETING,
        casino.CASINO,
        gaming.GAMING,
        notification.NOTIFICATION,
        scheduler.SCHEDULER,
    )
    for event in contract.events()
)

reporting = Service(
    REPORTING,
    hears=tuple(Hear(event, "count it and add up its money") for event in EVERYTHING),
    calls=(wallet.TOTALS, identity.AUTHORIZE),
    asks=(scheduler.JOB_REQUESTED,),
    database=True,
    cache=True,
    lane=Lane.LOW,
    localizes=("reporting",),
)


@reporting.on_start
async def ask_for_the_daily_report(context: Context) -> None:
    """Have each day closed soon after its end."""
    async with context.transaction() as tx:
        await tx.publish(
            scheduler.JOB_REQUESTED,
            scheduler.JobRequested(service="reporting", name=DAILY_JOB, cron=DAILY_CRON),
            subject=f"reporting.{DAILY_JOB}",
        )


@reporting.answers(DAILY)
async def daily(request: DailyOf, context: Context) -> DailyReport:
    """Report the days asked for; the answer may be some seconds old."""
    await identity.require_permission(context, request.actor_id, "reporting.daily")
    today = rules.day_of(context.now())
    since, until = rules.days(request.since, request.until, today, DAYS_SHOWN)

    async def load() -> DailyReport:
        async with context.transaction() as tx:
            return await reports.daily(tx, since, until)

    key = f"daily.{since}.{until}"
    return await context.cache.read_through(key, DailyReport, load, ttl_s=REPORT_KEPT_S)


@reporting.answers(RECONCILE)
async def reconcile(request: ReconcileOf, context: Context) -> Reconciliation:
    """Compare what events say with the ledger, for whole UTC days.

    An event that was told right before midnight may be booked right after it: then two days
    differ by the same amount, and together they agree.
    """
    await identity.require_permission(context, request.actor_id, "reporting.reconcile")
    today = rules.day_of(context.now())
    since, until = rules.days(request.since, request.until, today, 1)
    begin, end = rules.span(since, until)
    ledger = await context.call(wallet.TOTALS, wallet.TotalsOf(since=begin, until=end))
    async with context.transaction() as tx:
        told = await store.sums(tx, since, until)
    return await reports.compare(context, told, ledger.totals, request.locale)


@reporting.answers(COUNTS)
async def counts(request: CountsOf, context: Context) -> Counts:
    """Tell how many events of each type were heard."""
    await identity.require_permission(context, request.actor_id, "reporting.counts")
    async with context.transaction() as tx:
        return Counts(events=await store.counts(tx))


async def tally(event: CloudEvent[Any], tx: Tx, context: Context) -> None:
    """Count an event and add its money to its day; the inbox sees to it that this happens once."""
    day = rules.day_of(event.time)
    # Money first, then counts, in every transaction: two events never wait for each other.
    if movement := rules.movement(event.type, event.data):
        await store.add(tx, day, movement)
    await store.count(tx, day, event.type)
    # A day stays closed as it stood: while events are told again, it is not yet what it was.
    mine = isinstance(event.data, scheduler.JobDue) and event.data.service == "reporting"
    if mine and not is_told_again(context):
        await close_day(tx, rules.day_of(event.data.due_at) - timedelta(days=1), context)


@rebuilds(reporting)
async def forget(tx: Tx, since: datetime) -> datetime:
    """Forget what was counted, from the begin of that day on; closed days stay as they stood."""
    day = rules.day_of(since)
    await store.forget(tx, day)
    begin, _ = rules.span(day, day)
    return begin


async def close_day(tx: Tx, day: date, context: Context) -> None:
    """Keep the report of a day that is over."""
    report = await reports.daily(tx, day, day)
    await store.close_day(tx, day, report, context.now())
    context.log.info("day closed", day=day.isoformat())


for heard in EVERYTHING:
    reporting.hears(heard)(tally)
