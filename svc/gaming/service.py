"""gaming, as the mesh runs it: what it hears and calls, then one handler for each."""

import msgspec

from svc.casino import contract as casino
from svc.gaming import (
    jackpots,
    leaderboards,
    raffles,
    rules,
    store,
    store_raffles,
    store_tournaments,
    tournaments,
)
from svc.gaming.contract import (
    CLOSE_TOURNAMENT,
    DRAW_RAFFLE,
    GAMING,
    LEADERBOARD,
    LIST_JACKPOTS,
    LIST_RAFFLES,
    LIST_TOURNAMENTS,
    PRIZE_AWARDED,
    CloseTournament,
    Drawn,
    DrawRaffle,
    Jackpots,
    Leaderboard,
    LeaderboardOf,
    ListJackpots,
    ListRaffles,
    ListTournaments,
    PrizeAwarded,
    Raffles,
    Tournaments,
)
from svc.identity import contract as identity
from svc.mesh.context import Context
from svc.mesh.database import Tx
from svc.mesh.envelope import CloudEvent
from svc.mesh.errors import NotFound
from svc.mesh.service import Hear, Service
from svc.notification import contract as notification
from svc.payment import contract as payment
from svc.scheduler import contract as scheduler
from svc.sportsbook import contract as sportsbook

TURN_OVER = "turn-over"
RAFFLES_KEY = "raffles"
TOURNAMENTS_KEY = "tournaments"
CACHED_S = 1
"""Long enough to take a rush off the database, short enough for a list read while it changed."""
LISTED_MAX = 200

gaming = Service(
    GAMING,
    hears=(
        Hear(PRIZE_AWARDED, "forget cached lists: a draw or an end changed them"),
        Hear(payment.PAYMENT_SUCCESS, "give the deposit its raffle tickets"),
        Hear(payment.PAYMENT_REFUNDED, "take tickets of a refunded deposit back"),
        Hear(sportsbook.BET_PLACED, "count the stake in the tournament"),
        Hear(casino.CASINO_BET_PLACED, "feed the jackpot and count the stake in the tournament"),
        Hear(notification.NOTIFICATION_DELIVERED, "note on the award that its winner was told"),
        Hear(identity.USER_REGISTERED, "know the player"),
        Hear(identity.SELF_EXCLUDED, "give an excluded player no new tickets and no score"),
        Hear(
            scheduler.JOB_DUE,
            "draw and close what has ended, open what comes next",
            lambda data: data.service == "gaming" and data.name in {TURN_OVER, raffles.DRAW_JOB},
        ),
    ),
    calls=(identity.AUTHORIZE,),
    asks=(scheduler.JOB_REQUESTED, scheduler.JOB_CANCELLED),
    database=True,
    cache=True,
    redis=True,
    localizes=("gaming",),
)
ticks = jackpots.Ticks()


async def open_missing(tx: Tx) -> None:
    """See that every currency has an open raffle and a running tournament."""
    currencies: list[str] = list(rules.CURRENCIES)
    for currency in await store_raffles.currencies_without_raffle(tx, currencies):
        await raffles.open_raffle(tx, currency)
    now = tx.context.now()
    for currency in await store_tournaments.currencies_without_tournament(tx, currencies, now):
        await tournaments.open_tournament(tx, currency)


async def forget_lists(context: Context) -> None:
    """Forget the cached lists."""
    await context.cache.delete(RAFFLES_KEY)
    await context.cache.delete(TOURNAMENTS_KEY)


@gaming.on_start
async def open_games(context: Context) -> None:
    """See that there are pots, a raffle, a tournament and its leaderboard, and ask for the job."""
    async with context.transaction() as tx:
        for currency in rules.CURRENCIES:
            await jackpots.open_jackpot(tx, currency)
        await open_missing(tx)
        await tx.publish(
            scheduler.JOB_REQUESTED,
            scheduler.JobRequested(service="gaming", name=TURN_OVER, cron="0 * * * * *"),
            subject=f"gaming.{TURN_OVER}",
        )
    await leaderboards.rebuild_running(context)


@gaming.answers(LIST_JACKPOTS)
async def list_jackpots(request: ListJackpots, context: Context) -> Jackpots:
    """List the pots; always from the database, since every casino bet changes them."""
    return await jackpots.listed(context, request.locale)


@gaming.answers(LIST_RAFFLES)
async def list_raffles(request: ListRaffles, context: Context) -> Raffles:
    """List the raffles."""

    async def load() -> Raffles:
        async with context.transaction() as tx:
            return Raffles(items=await store_raffles.list_raffles(tx, LISTED_MAX))

    found = await context.cache.read_through(RAFFLES_KEY, Raffles, load, ttl_s=CACHED_S)
    text = context.localizer.text
    named = [
        msgspec.structs.replace(
            item, name=await text(request.locale, "gaming", "raffle", currency=item.currency)
        )
        for item in found.items
    ]
    return Raffles(items=named)


@gaming.answers(LIST_TOURNAMENTS)
async def list_tournaments(request: ListTournaments, context: Context) -> Tournaments:
    """List the tournaments."""

    async def load() -> Tournaments:
        async with context.transaction() as tx:
            return Tournaments(items=await store_tournaments.list_tournaments(tx, LISTED_MAX))

    found = await context.cache.read_through(TOURNAMENTS_KEY, Tournaments, load, ttl_s=CACHED_S)
    text = context.localizer.text
    named = [
        msgspec.structs.replace(
            item, name=await text(request.locale, "gaming", "tournament", currency=item.currency)
        )
        for item in found.items
    ]
    return Tournaments(items=named)


@gaming.answers(LEADERBOARD)
async def leaderboard(request: LeaderboardOf, context: Context) -> Leaderboard:
    """Read the best of a tournament: from Valkey while it runs, from Postgres afterwards."""
    async with context.transaction() as tx:
        tournament = await store_tournaments.read_tournament(tx, request.tournament_id)
    if tournament is None:
        raise NotFound(f"there is no tournament {request.tournament_id}")
    read = leaderboards.top if tournament.status == "running" else leaderboards.stored
    items = await read(context, request.tournament_id, request.limit)
    return Leaderboard(tournament_id=request.tournament_id, items=items)


@gaming.answers(DRAW_RAFFLE)
async def draw_raffle(request: DrawRaffle, context: Context) -> Drawn:
    """Draw a raffle before its time."""
    await identity.require_permission(context, request.actor_id, "gaming.draw_raffle")
    async with context.transaction() as tx:
        winners = await raffles.draw(tx, request.raffle_id)
        tx.after_commit(lambda: forget_lists(context))
    return Drawn(winners=winners)


@gaming.answers(CLOSE_TOURNAMENT)
async def close_tournament(request: CloseTournament, context: Context) -> Drawn:
    """Close a tournament before its time."""
    await identity.require_permission(context, request.actor_id, "gaming.close_tournament")
    async with context.transaction() as tx:
        winners = await tournaments.close(tx, request.tournament_id)
        tx.after_commit(lambda: forget_lists(context))
    return Drawn(winners=winners)


@gaming.hears(PRIZE_AWARDED)
async def refresh_lists(_event: CloudEvent[PrizeAwarded], tx: Tx, context: Context) -> None:
    """Forget cached lists, in this instance as in all others."""
    tx.after_commit(lambda: forget_lists(context))


@gaming.hears(payment.PAYMENT_SUCCESS)
async def issue_tickets(
    event: CloudEvent[payment.PaymentSuccess], tx: Tx, context: Context
) -> None:
    """Give one ticket for each 10.00 of a deposit."""
    if await raffles.take_deposit(tx, event.data):
        tx.after_commit(lambda: context.cache.delete(RAFFLES_KEY))


@gaming.hears(payment.PAYMENT_REFUNDED)
async def revoke_tickets(
    event: CloudEvent[payment.PaymentRefunded], tx: Tx, context: Context
) -> None:
    """Take tickets back with the deposit."""
    if await raffles.take_refund(tx, event.data):
        tx.after_commit(lambda: context.cache.delete(RAFFLES_KEY))


@gaming.hears(sportsbook.BET_PLACED)
async def score_bet(event: CloudEvent[sportsbook.BetPlaced], tx: Tx, _context: Context) -> None:
    """Count a bet's stake."""
    data = event.data
    await tournaments.score(tx, data.currency, data.user_id, data.stake, event.time)


@gaming.hears(casino.CASINO_BET_PLACED)
async def score_round(event: CloudEvent[casino.CasinoBetPlaced], tx: Tx, context: Context) -> None:
    """Count a round's stake, and let it feed the pot of its currency."""
    data = event.data
    await tournaments.score(tx, data.currency, data.user_id, data.stake, event.time)
    await jackpots.feed(tx, data.currency, data.stake, data.user_id)
    tx.after_commit(lambda: ticks.push(context))


@gaming.hears(notification.NOTIFICATION_DELIVERED)
async def note_notice(
    event: CloudEvent[notification.NotificationDelivered], tx: Tx, _context: Context
) -> None:
    """Record on an award that its notice arrived; `cause` is the event of the award."""
    await store.mark_notified(tx, event.data.cause, event.time)


@gaming.hears(identity.USER_REGISTERED)
async def know_player(
    event: CloudEvent[identity.UserRegistered], tx: Tx, _context: Context
) -> None:
    """Remember a player's currency and since when they are here."""
    await store.register_player(tx, event.data.user_id, event.data.currency, event.time)


@gaming.hears(identity.SELF_EXCLUDED)
async def exclude(event: CloudEvent[identity.SelfExcludedData], tx: Tx, _context: Context) -> None:
    """Leave a player out until the exclusion ends."""
    await store.exclude_player(tx, event.data.user_id, event.data.until)


@gaming.hears(scheduler.JOB_DUE)
async def turn_over(_event: CloudEvent[scheduler.JobDue], tx: Tx, context: Context) -> None:
    """Draw raffles and close tournaments whose time has come, then open the next ones."""
    now = context.now()
    for raffle_id in await store_raffles.raffles_due(tx, now):
        await raffles.draw(tx, raffle_id)
    for tournament_id in await store_tournaments.tournaments_due(tx, now - rules.GRACE):
        await tournaments.close(tx, tournament_id)
    await open_missing(tx)
    tx.after_commit(lambda: leaderboards.rebuild_running(context.spawn()))
    tx.after_commit(lambda: forget_lists(context))
