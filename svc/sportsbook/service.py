"""sportsbook, as the mesh runs it: what it hears and calls, then one handler for each."""

import asyncio
import hmac
from functools import partial
from uuid import UUID

from svc.identity import contract as identity
from svc.mesh.context import Context
from svc.mesh.contract import RawMessage
from svc.mesh.database import Tx
from svc.mesh.envelope import CloudEvent
from svc.mesh.errors import Invalid, NotFound, Unauthenticated, Unavailable
from svc.mesh.service import Extras, Hear, Service
from svc.mesh.types import Empty
from svc.payment import contract as payment
from svc.scheduler import contract as scheduler
from svc.sportsbook import (
    cashing_out,
    extras,
    feed,
    feed_amqp,
    feed_descriptions,
    feed_events,
    feed_nats,
    feed_recovery,
    languages,
    own_limits,
    paying,
    placing,
    risk,
    rules,
    store_bets,
    store_events,
    store_players,
    sweeping,
    view,
)
from svc.sportsbook.book import book_of
from svc.sportsbook.contract import (
    BET_CANCELLED,
    BET_SETTLED,
    CASH_OUT,
    DEDUCT,
    GET_BET,
    GET_EVENT,
    GRANT_FREE_BET,
    INGEST,
    LIABILITIES,
    LIST_BETS,
    LIST_EVENTS,
    LIST_FREE_BETS,
    PLACE_BET,
    QUOTE_CASH_OUT,
    SPORTSBOOK,
    Bet,
    BetAccepted,
    BetCancelled,
    BetOf,
    Bets,
    BetSettled,
    BetsOf,
    EventDetail,
    EventOf,
    EventsWith,
    Fixtures,
    Liabilities,
    LiabilityReport,
    PlaceBet,
)
from svc.sportsbook.contract_feed import RECOVER_EVENT, EventRecovery, RecoverEvent
from svc.sportsbook.contract_offers import (
    CashedOut,
    CashOut,
    CashOutQuote,
    Deduction,
    FreeBet,
    FreeBets,
    FreeBetsOf,
    GrantFreeBet,
    QuoteOf,
)
from svc.sportsbook.names import NAMESPACE
from svc.sportsbook.store_players import PlayerLimit
from svc.wallet import contract as wallet

sportsbook = Service(
    SPORTSBOOK,
    hears=(
        Hear(identity.USER_REGISTERED, "know the player's language"),
        Hear(identity.PROFILE_UPDATED, "know the player's language"),
        Hear(identity.LIMIT_CHANGED, "hold stakes against the player's own limits"),
        Hear(identity.SELF_EXCLUDED, "refuse bets of excluded players"),
        Hear(BET_SETTLED, "own topic: the open risk changed", only=risk.is_due),
        Hear(BET_CANCELLED, "own topic: the open risk changed", only=risk.is_due),
        Hear(identity.KYC_CHANGED, "refuse bets of players who are not who they say"),
        Hear(payment.PAYMENT_REFUNDED, "watch players whose deposits went back: lower stakes"),
        Hear(payment.PAYMENT_DISPUTED, "take no bets of a player whose payment is disputed"),
        Hear(payment.DISPUTE_CLOSED, "take bets again"),
        Hear(
            scheduler.JOB_DUE,
            "finish what waits: bets without an answer, messages of the feed",
            only=lambda due: due.service == "sportsbook",
        ),
    ),
    calls=(
        wallet.DEDUCT_BALANCE,
        wallet.ROLLBACK,
        wallet.APPLY_BATCH,
        identity.AUTHORIZE,
        identity.CONFIRM_EXCLUSION,
        identity.COUNT_STAKE,
    ),
    asks=(scheduler.JOB_REQUESTED, identity.STAKES_TOLD),
    database=True,
    cache=True,
    localizes=(NAMESPACE,),
    outside=("BetRadar",),
    extras=Extras(
        streams=(feed_nats.STREAM,),
        consumers=(feed_nats.CONSUMER,),
        publishes=feed_nats.PUBLISHES + feed_amqp.PUBLISHES,
    ),
)

SWEEP = scheduler.JobRequested(service="sportsbook", name="sweep", cron="*/10 * * * * *")
_background: set[asyncio.Task[None]] = set()


@sportsbook.answers(LIST_EVENTS)
async def list_events(request: EventsWith, context: Context) -> Fixtures:
    async with context.transaction() as tx:
        found = await store_events.events(tx, request.status, request.sport, request.limit)
    return Fixtures(items=found)


@sportsbook.answers(GET_EVENT)
async def get_event(request: EventOf, context: Context) -> EventDetail:
    if not rules.is_event_id(request.event_id):
        raise NotFound(f"there is no event {request.event_id}")
    shown = await context.cache.read_through(
        view.cache_key(request.event_id),
        EventDetail,
        partial(view.detail, request.event_id, context),
        ttl_s=view.CACHED_S,
    )
    if request.locale is None or request.locale == view.SHOWN_LOCALE:
        return shown
    return await languages.told(shown, request.locale, context)


@sportsbook.answers(PLACE_BET)
async def place_bet(request: PlaceBet, context: Context) -> BetAccepted:
    return await placing.place(request, context)


@sportsbook.answers(LIST_BETS)
async def list_bets(request: BetsOf, context: Context) -> Bets:
    before = None if request.cursor is None else _bet_id(request.cursor)
    async with context.transaction() as tx:
        rows = await store_bets.page(tx, request.user_id, request.status, before, request.limit + 1)
        legs = await store_bets.legs(tx, [row.bet_id for row in rows])
        locale = await store_players.locale(tx, request.user_id)
    shown = rows[: request.limit]
    more = len(rows) > request.limit
    return Bets(
        items=await view.bets(shown, legs, locale, context),
        next_cursor=shown[-1].bet_id if more else None,
    )


def _bet_id(cursor: str) -> str:
    try:
        return str(UUID(cursor))
    except ValueError:
        raise Invalid("cursor is not one that was given out") from None


@sportsbook.answers(GET_BET)
async def get_bet(request: BetOf, context: Context) -> Bet:
    async with context.transaction() as tx:
        row = await store_bets.by_id(tx, request.bet_id, request.user_id)
        if row is None:
            raise NotFound(f"there is no bet {request.bet_id}")
        legs = await store_bets.legs(tx, [row.bet_id])
        locale = await store_players.locale(tx, request.user_id)
    return (await view.bets([row], legs, locale, context))[0]


@sportsbook.answers(INGEST)
async def ingest(request: RawMessage, context: Context) -> Empty:
    told = request.headers.get("x-access-token", "")
    token = context.setting("BETRADAR_TOKEN")
    if not token or not hmac.compare_digest(told.encode(), token.encode()):
        raise Unauthenticated("the feed's access token is missing or wrong")
    await feed.take_in(request.body, context)
    return Empty()


@sportsbook.answers(LIABILITIES)
async def liabilities(request: Liabilities, context: Context) -> LiabilityReport:
    await identity.require_permission(context, request.actor_id, "sportsbook.liabilities")

    async def load() -> LiabilityReport:
        async with context.transaction() as tx:
            return LiabilityReport(items=await store_bets.liabilities(tx))

    return await context.cache.read_through(risk.KEY, LiabilityReport, load, ttl_s=risk.CACHED_S)


@sportsbook.answers(QUOTE_CASH_OUT)
async def quote_cash_out(request: QuoteOf, context: Context) -> CashOutQuote:
    return await cashing_out.quote(request, context)


@sportsbook.answers(CASH_OUT)
async def cash_out(request: CashOut, context: Context) -> CashedOut:
    return await cashing_out.cash_out(request, context)


@sportsbook.answers(LIST_FREE_BETS)
async def list_free_bets(request: FreeBetsOf, context: Context) -> FreeBets:
    return await extras.free_bets(request, context)


@sportsbook.answers(GRANT_FREE_BET)
async def grant_free_bet(request: GrantFreeBet, context: Context) -> FreeBet:
    await identity.require_permission(context, request.actor_id, "sportsbook.free_bets")
    return await extras.grant_free_bet(request, context)


@sportsbook.answers(DEDUCT)
async def deduct(request: Deduction, context: Context) -> Empty:
    await identity.require_permission(context, request.actor_id, "sportsbook.deductions")
    await extras.deduct(request, context)
    return Empty()


@sportsbook.answers(RECOVER_EVENT)
async def recover_event(request: RecoverEvent, context: Context) -> EventRecovery:
    await identity.require_permission(context, request.actor_id, "sportsbook.recoveries")
    return await feed_events.recover(request, context)


@sportsbook.hears(identity.USER_REGISTERED)
async def know_player(event: CloudEvent[identity.UserRegistered], tx: Tx, context: Context) -> None:
    _ = context
    await store_players.set_locale(tx, event.data.user_id, event.data.locale)


@sportsbook.hears(identity.PROFILE_UPDATED)
async def follow_profile(
    event: CloudEvent[identity.ProfileUpdated], tx: Tx, context: Context
) -> None:
    _ = context
    await store_players.set_locale(tx, event.data.user_id, event.data.locale)


@sportsbook.hears(identity.LIMIT_CHANGED)
async def follow_limit(event: CloudEvent[identity.LimitChanged], tx: Tx, context: Context) -> None:
    data = event.data
    limit = PlayerLimit(kind=data.kind, period=data.period, amount=data.amount)
    await store_players.ensure(tx, data.user_id)
    await store_players.put_limit(tx, data.user_id, limit, event.time, data.effective_at)
    if data.kind != "deposit":
        await own_limits.begin(tx, data.user_id, context.now())


@sportsbook.hears(identity.SELF_EXCLUDED)
async def exclude_player(
    event: CloudEvent[identity.SelfExcludedData], tx: Tx, context: Context
) -> None:
    user_id, until = event.data.user_id, event.data.until
    await store_players.exclude(tx, user_id, until)
    tx.after_commit(lambda: identity.confirm_exclusion(context, user_id, until))


@sportsbook.hears(BET_SETTLED)
async def risk_falls(event: CloudEvent[BetSettled], tx: Tx, context: Context) -> None:
    _ = event
    tx.after_commit(partial(risk.forget, context))


@sportsbook.hears(BET_CANCELLED)
async def risk_is_gone(event: CloudEvent[BetCancelled], tx: Tx, context: Context) -> None:
    _ = event
    tx.after_commit(partial(risk.forget, context))


@sportsbook.hears(payment.PAYMENT_REFUNDED)
async def watch_player(
    event: CloudEvent[payment.PaymentRefunded], tx: Tx, context: Context
) -> None:
    _ = context
    await store_players.watch(tx, event.data.user_id, event.time)


@sportsbook.hears(identity.KYC_CHANGED)
async def follow_verification(
    event: CloudEvent[identity.KycChanged], tx: Tx, context: Context
) -> None:
    _ = context
    await store_players.set_kyc(tx, event.data.user_id, event.data.status, event.time)


@sportsbook.hears(payment.PAYMENT_DISPUTED)
async def block_player(
    event: CloudEvent[payment.PaymentDisputed], tx: Tx, context: Context
) -> None:
    _ = context
    await store_players.note_dispute(tx, event.data.dispute_id, event.data.user_id, closed=False)


@sportsbook.hears(payment.DISPUTE_CLOSED)
async def unblock_player(
    event: CloudEvent[payment.DisputeClosed], tx: Tx, context: Context
) -> None:
    _ = context
    await store_players.note_dispute(tx, event.data.dispute_id, event.data.user_id, closed=True)


@sportsbook.hears(scheduler.JOB_DUE)
async def job_due(event: CloudEvent[scheduler.JobDue], tx: Tx, context: Context) -> None:
    if event.data.name == SWEEP.name:
        # After the commit: no transaction stays open while the wallet is asked.
        tx.after_commit(partial(_sweep, context))


async def _sweep(context: Context) -> None:
    """Finish what waits; what fails now waits for the next time."""
    for sweep in (feed.sweep, sweeping.sweep, extras.sweep, paying.sweep):
        try:
            await sweep(context)
        except Unavailable as failure:
            context.log.warning("sweep broke off", cause=failure.detail)
        except Exception:
            context.log.exception("sweep failed")


@sportsbook.on_start
async def ask_for_jobs(context: Context) -> None:
    async with context.transaction() as tx:
        await tx.publish(scheduler.JOB_REQUESTED, SWEEP, subject="sportsbook.sweep")


@sportsbook.on_start
async def sweep_once(context: Context) -> None:
    """Finish what the last run left, beside the start: the wallet may start later than this."""
    task = asyncio.create_task(_sweep(context.spawn()))
    _background.add(task)
    task.add_done_callback(_background.discard)


@sportsbook.on_start
async def open_the_book(context: Context) -> None:
    """Keep prices in memory, as the bucket shows them."""
    await book_of(context).open(context)


@sportsbook.on_start
async def know_the_feeds_names(context: Context) -> None:
    await feed_descriptions.load(context)


@sportsbook.on_start
async def read_the_feeds_stream(context: Context) -> None:
    """Hear the feed on NATS too, for as long as the service runs."""
    feed_recovery.beside(feed_nats.read(context.spawn()), context)


@sportsbook.on_start
async def read_the_feeds_exchange(context: Context) -> None:
    """Hear the feed on its own AMQP exchange too, where one is named."""
    await feed_amqp.begin(context)


@sportsbook.on_stop
async def stop_background(context: Context) -> None:
    await feed_recovery.stop(context)
    await book_of(context).close()
    await paying.of(context).close()
    for task in _background:
        task.cancel()
    await asyncio.gather(*_background, return_exceptions=True)
