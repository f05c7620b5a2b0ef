"""casino, as the mesh runs it: what it hears and calls, then one handler for each."""

import secrets

from svc.casino import limits, rounds, rules, standing, store, store_limits, store_standing
from svc.casino.contract import (
    CASINO,
    CASINO_PAYOUT_COMPLETE,
    CLOSE_SESSION,
    GAME_TOTALS,
    GET_SESSION,
    LIST_GAMES,
    OPEN_SESSION,
    PLAY_ROUND,
    SESSION_STARTED,
    SESSION_SUMMARY,
    CasinoPayoutComplete,
    CasinoSessionStarted,
    CasinoSessionSummary,
    Game,
    Games,
    GameTotals,
    GameTotalsOf,
    ListGames,
    OpenSession,
    PlayRound,
    RoundPlayed,
    SessionOf,
    SessionOpened,
    SessionState,
)
from svc.identity import contract as identity
from svc.marketing import contract as marketing
from svc.mesh.context import Context
from svc.mesh.database import Tx
from svc.mesh.envelope import CloudEvent
from svc.mesh.errors import NotFound
from svc.mesh.service import Hear, Service
from svc.notification import contract as notification
from svc.payment import contract as payment
from svc.scheduler import contract as scheduler
from svc.wallet import contract as wallet

SWEEP = "sweep-rounds"
TOTALS_KEY = "totals"

casino = Service(
    CASINO,
    hears=(
        Hear(CASINO_PAYOUT_COMPLETE, "add the round up in the totals of its game"),
        Hear(payment.PAYMENT_REFUNDED, "keep stakes small for a day: the money may be owed"),
        Hear(payment.PAYMENT_DISPUTED, "let a player whose payment is disputed play nothing"),
        Hear(payment.DISPUTE_CLOSED, "let them play again"),
        Hear(payment.WITHDRAWAL_REQUESTED, "note it: deposit and withdrawal with little play"),
        Hear(notification.NOTIFICATION_DELIVERED, "note on the round that its payout was told"),
        Hear(
            identity.LIMIT_CHANGED,
            "hold stakes against the player's own limits",
            lambda data: data.kind in {"stake", "loss"},
        ),
        Hear(identity.KYC_CHANGED, "let nobody play who is not who they say"),
        Hear(identity.SELF_EXCLUDED, "let an excluded player open no session and play no round"),
        Hear(
            marketing.BONUS_AWARDED, "count spin chances for the lobby", lambda data: data.spins > 0
        ),
        Hear(
            scheduler.JOB_DUE,
            "sweep rounds that nobody finished",
            lambda data: data.service == "casino" and data.name == SWEEP,
        ),
    ),
    calls=(
        wallet.DEDUCT_BALANCE,
        wallet.ROLLBACK,
        marketing.CONSUME_SPIN,
        identity.AUTHORIZE,
        identity.CONFIRM_EXCLUSION,
        identity.COUNT_STAKE,
    ),
    asks=(scheduler.JOB_REQUESTED, identity.STAKES_TOLD),
    database=True,
    cache=True,
    localizes=("casino",),
)


@casino.on_start
async def ask_for_the_sweep(context: Context) -> None:
    """Have unfinished rounds looked at every ten seconds."""
    async with context.transaction() as tx:
        await tx.publish(
            scheduler.JOB_REQUESTED,
            scheduler.JobRequested(service="casino", name=SWEEP, cron="*/10 * * * * *"),
            subject=f"casino.{SWEEP}",
        )


@casino.answers(LIST_GAMES)
async def list_games(request: ListGames, context: Context) -> Games:
    """List the games with their paytables and exact returns."""
    items = [
        Game(
            game_id=game.game_id,
            name=await context.localizer.text(request.locale, "casino", f"game.{game.game_id}"),
            min_stake=game.min_stake,
            max_stake=game.max_stake,
            rtp=game.rtp,
            paytable=game.paytable,
        )
        for game in rules.GAMES.values()
    ]
    return Games(items=items)


@casino.answers(OPEN_SESSION)
async def open_session(request: OpenSession, context: Context) -> SessionOpened:
    """Commit to a new server seed."""
    if request.game_id not in rules.GAMES:
        raise NotFound(f"there is no game {request.game_id}")
    server_seed = rules.new_seed(secrets.token_bytes)
    async with context.transaction() as tx:
        player = await store.hold_player(tx, request.user_id)
        refusal = standing.refusal(player, context)
        if refusal is not None:
            raise refusal
        session = store.Session(
            session_id=context.new_id(),
            user_id=request.user_id,
            game_id=request.game_id,
            server_seed=server_seed,
            server_seed_hash=rules.commitment(server_seed),
            client_seed=request.client_seed or secrets.token_hex(8),
            status="open",
            next_nonce=0,
            rounds=0,
            staked=0,
            paid=0,
            started_at=context.now(),
        )
        await store.insert_session(tx, session)
        started = CasinoSessionStarted(
            session_id=session.session_id, user_id=session.user_id, game_id=session.game_id
        )
        await tx.publish(SESSION_STARTED, started, subject=session.session_id)
    return SessionOpened(
        session_id=session.session_id,
        game_id=session.game_id,
        server_seed_hash=session.server_seed_hash,
        client_seed=session.client_seed,
        free_spins=player.free_spins,
    )


@casino.answers(PLAY_ROUND)
async def play_round(request: PlayRound, context: Context) -> RoundPlayed:
    """Play one round."""
    return await rounds.play(request, context)


@casino.answers(CLOSE_SESSION)
async def close_session(request: SessionOf, context: Context) -> SessionState:
    """End a session and reveal its seed.

    Rounds still waiting for the wallet are given back, since their result could be read from the
    seed before they are paid.
    """
    async with context.transaction() as tx:
        session = await store.lock_session(tx, request.session_id, request.user_id)
        if session is None:
            raise NotFound("you have no such session")
        if session.status == "open":
            await store.reverse_rounds_of(tx, session.session_id)
            session = await store.close_session(tx, session.session_id, context.now())
            summary = CasinoSessionSummary(
                session_id=session.session_id,
                user_id=session.user_id,
                game_id=session.game_id,
                rounds=session.rounds,
                staked=session.staked,
                paid=session.paid,
                started_at=session.started_at,
            )
            await tx.publish(SESSION_SUMMARY, summary, subject=session.session_id)
        return rounds.state_of(session, await store.last_round(tx, session.session_id))


@casino.answers(GET_SESSION)
async def get_session(request: SessionOf, context: Context) -> SessionState:
    """Read a session."""
    async with context.transaction() as tx:
        session = await store.read_session(tx, request.session_id, request.user_id)
        if session is None:
            raise NotFound("you have no such session")
        return rounds.state_of(session, await store.last_round(tx, session.session_id))


@casino.answers(GAME_TOTALS)
async def game_totals(request: GameTotalsOf, context: Context) -> GameTotals:
    """Sum up what each game took and paid."""
    await identity.require_permission(context, request.actor_id, "casino.totals")

    async def load() -> GameTotals:
        async with context.transaction() as tx:
            return GameTotals(items=await store.totals(tx))

    return await context.cache.read_through(TOTALS_KEY, GameTotals, load, ttl_s=1)


@casino.hears(CASINO_PAYOUT_COMPLETE)
async def add_up(event: CloudEvent[CasinoPayoutComplete], tx: Tx, context: Context) -> None:
    """Add a round to the totals; off the player's path, since all rounds share these rows."""
    data = event.data
    await store.add_to_totals(tx, data.game_id, data.currency, data.stake, data.payout)
    tx.after_commit(lambda: context.cache.delete(TOTALS_KEY))


@casino.hears(payment.PAYMENT_REFUNDED)
async def flag_refund(
    event: CloudEvent[payment.PaymentRefunded], tx: Tx, _context: Context
) -> None:
    """Remember when a deposit was given back."""
    await store.note_refund(tx, event.data.user_id, event.time)


@casino.hears(payment.WITHDRAWAL_REQUESTED)
async def flag_withdrawal(
    event: CloudEvent[payment.WithdrawalRequested], tx: Tx, _context: Context
) -> None:
    """Remember when a withdrawal was asked for; only staff look at it."""
    await store.note_withdrawal(tx, event.data.user_id, event.time)


@casino.hears(notification.NOTIFICATION_DELIVERED)
async def note_notice(
    event: CloudEvent[notification.NotificationDelivered], tx: Tx, _context: Context
) -> None:
    """Record on a round that the notice of its payout arrived; `cause` is the payout's event."""
    await store.mark_notified(tx, event.data.cause, event.time)


@casino.hears(identity.SELF_EXCLUDED)
async def exclude(event: CloudEvent[identity.SelfExcludedData], tx: Tx, context: Context) -> None:
    """Refuse a player until the exclusion ends, and tell identity that this holds here."""
    user_id, until = event.data.user_id, event.data.until
    await store.exclude_player(tx, user_id, until)
    tx.after_commit(lambda: identity.confirm_exclusion(context, user_id, until))


@casino.hears(identity.LIMIT_CHANGED)
async def keep_limit(event: CloudEvent[identity.LimitChanged], tx: Tx, context: Context) -> None:
    """Keep a stake or loss limit."""
    told = event.data
    limit = store_limits.PlayerLimit(kind=told.kind, period=told.period, amount=told.amount)
    await store_limits.put(tx, told.user_id, limit, event.time, told.effective_at)
    await limits.begin(tx, told.user_id, context.now())


@casino.hears(identity.KYC_CHANGED)
async def keep_verification(
    event: CloudEvent[identity.KycChanged], tx: Tx, _context: Context
) -> None:
    """Keep how a verification came out."""
    await store_standing.set_kyc(tx, event.data.user_id, event.data.status, event.time)


@casino.hears(payment.PAYMENT_DISPUTED)
async def block_player(
    event: CloudEvent[payment.PaymentDisputed], tx: Tx, _context: Context
) -> None:
    """Block a player until the dispute is decided."""
    dispute = event.data
    await store_standing.note_dispute(tx, dispute.dispute_id, dispute.user_id, closed=False)


@casino.hears(payment.DISPUTE_CLOSED)
async def unblock_player(
    event: CloudEvent[payment.DisputeClosed], tx: Tx, _context: Context
) -> None:
    """Let a player play again, unless another dispute of theirs is open."""
    dispute = event.data
    await store_standing.note_dispute(tx, dispute.dispute_id, dispute.user_id, closed=True)


@casino.hears(marketing.BONUS_AWARDED)
async def count_spins(event: CloudEvent[marketing.BonusAwarded], tx: Tx, _context: Context) -> None:
    """Count spin chances; marketing alone decides whether one is left."""
    await store.add_free_spins(tx, event.data.user_id, event.data.spins)


@casino.hears(scheduler.JOB_DUE)
async def sweep(_event: CloudEvent[scheduler.JobDue], tx: Tx, context: Context) -> None:
    """Begin to give back what nobody finished; the wallet is asked after the commit."""
    await store.reverse_rounds_before(tx, context.now() - rounds.ABANDONED_AFTER)
    tx.after_commit(lambda: rounds.sweep(context.spawn()))
