"""How a round comes to its end: taken in, paid, played, or given back.

A round is durable before the wallet is asked, so whatever stops the work in between is finished
by the player's next attempt (same Idempotency-Key) or by the sweep, and never guessed.
"""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from svc.casino import limits, rules, standing, store
from svc.casino.contract import (
    CASINO_BET_PLACED,
    CASINO_PAYOUT_COMPLETE,
    RESULTS,
    CasinoBetPlaced,
    CasinoPayoutComplete,
    CurrencyMismatch,
    InsufficientFunds,
    LimitExceeded,
    NoSpinsLeft,
    PlayRound,
    RoundPlayed,
    SelfExcluded,
    SessionClosed,
    SessionState,
)
from svc.marketing import contract as marketing
from svc.mesh.context import Context
from svc.mesh.database import Tx
from svc.mesh.errors import Conflict, IdempotencyMismatch, NotFound, Refused, Unavailable
from svc.wallet import contract as wallet

ABANDONED_AFTER = timedelta(seconds=15)
"""A pending round this old has nobody waiting: five times the deadline of the call."""
SWEEP_MAX = 200

FINAL_REFUSALS: tuple[type[Refused], ...] = (
    InsufficientFunds, CurrencyMismatch, NoSpinsLeft, NotFound, SessionClosed, SelfExcluded,
    LimitExceeded,
)  # fmt: skip
"""What a stored refusal is raised as, found by its name; anything else is a Conflict."""


async def play(request: PlayRound, context: Context) -> RoundPlayed:
    """Play one round, or answer again what the same request was answered before.

    Raises the refusals of the contract; Unavailable (TimedOut) while the wallet does not answer:
    the round stays pending then, and the same request later finishes it.
    """
    taken_in = await take_in(request, context)
    if taken_in.status == "pending":
        taken_in = await settle(taken_in, context)
    return answer(taken_in)


def answer(decided: store.Round) -> RoundPlayed:
    """Return a played round as the player gets it; raises the refusal of a rejected one."""
    if decided.status == "reversing":
        raise Unavailable("the round was not played; its stake is being given back")
    if decided.refusal is not None:
        raise restored(decided.refusal)
    assert decided.outcome is not None and decided.payout is not None  # noqa: PT018 -- one fact
    return RoundPlayed(
        round_id=decided.round_id,
        nonce=decided.nonce,
        outcome=decided.outcome,
        payout=decided.payout,
    )


def kept(refusal: Refused) -> dict[str, Any]:
    """Return a refusal in the form in which it is stored."""
    return {"name": refusal.name, "detail": refusal.detail, "members": refusal.members}


def restored(stored: dict[str, Any]) -> Refused:
    """Return a stored refusal as the exception it was."""
    kind = next((kind for kind in FINAL_REFUSALS if kind.name == stored["name"]), Conflict)
    return kind(stored["detail"], **stored["members"])


async def take_in(request: PlayRound, context: Context) -> store.Round:
    """Store a request as a pending round with the session's next nonce, or find it stored."""
    wanted = rules.request_hash(request.session_id, request.stake, request.currency, request.choice)
    free_spin = rules.wants_free_spin(request.choice)
    async with context.transaction() as tx:
        session = await store.lock_session(tx, request.session_id, request.user_id)
        found = await store.find_round(tx, request.user_id, request.idempotency_key)
        if found is None:
            if session is None:
                raise NotFound("you have no such session")
            counted = await check(tx, session, request, context)
            new = store.Round(
                round_id=context.new_id(),
                session_id=session.session_id,
                user_id=session.user_id,
                request_hash=wanted,
                nonce=session.next_nonce,
                stake=request.stake,
                currency=request.currency,
                choice=request.choice or {},
                free_spin=free_spin,
                status="pending",
                stake_transfer_id=context.new_id(),
                payout_transfer_id=context.new_id(),
                rollback_transfer_id=context.new_id(),
                outcome=None,
                payout=None,
                refusal=None,
                placed_at=context.now(),
                counted=counted,
            )
            if await store.insert_round(tx, new, request.idempotency_key):
                await store.take_nonce(tx, session.session_id)
                return new
            found = await store.find_round(tx, request.user_id, request.idempotency_key)
    if found is None or found.request_hash != wanted:
        raise IdempotencyMismatch
    return found


async def check(tx: Tx, session: store.Session, request: PlayRound, context: Context) -> bool:
    """Refuse what may not be played; nothing is stored then and no nonce is used up.

    Says whether the stake counts against limits of the player's own.
    """
    if session.status == "closed":
        raise SessionClosed
    player = await store.read_player(tx, session.user_id)
    refusal = standing.refusal(player, context)
    if refusal is not None:
        raise refusal
    game = rules.GAMES[session.game_id]
    rules.read_choice(game, request.choice)
    if rules.wants_free_spin(request.choice):
        return False
    highest = rules.highest_stake(game, player.refunded_at, context.now())
    if not game.min_stake <= request.stake <= highest:
        raise LimitExceeded(
            f"the stake must lie between {game.min_stake} and {highest} minor units",
            min_stake=game.min_stake,
            max_stake=highest,
        )
    return await limits.check(tx, session.user_id, request.stake, context.now())


async def settle(pending: store.Round, context: Context) -> store.Round:
    """Get the round paid and play it; a refusal is stored as the round's answer."""
    try:
        if pending.counted:
            await limits.count(pending, context)
        paid = await pay(pending, context)
    except Refused as refusal:
        return await reject(pending, in_our_words(refusal), context)
    async with context.transaction() as tx:
        session = await store.lock_session(tx, paid.session_id, paid.user_id)
        # Under the player's lock: an exclusion that was confirmed meanwhile beats this round.
        excluded = standing.exclusion(await store.hold_player(tx, paid.user_id), context)
        stored = await store.lock_round(tx, paid.round_id)
        if session is not None and stored.status == "pending":
            if excluded is None:
                return await finish(tx, session, paid)
            stored = await store.reverse_round(tx, paid.round_id)
    if stored.status == "reversing":
        return await give_back(stored, context, excluded)
    return stored


async def pay(pending: store.Round, context: Context) -> store.Round:
    """Deduct the stake, or use a spin chance up: the round then plays for what that is worth."""
    if pending.free_spin:
        async with context.transaction() as tx:
            session = await store.read_session(tx, pending.session_id, pending.user_id)
        assert session is not None
        spin = await context.call(
            marketing.CONSUME_SPIN,
            marketing.ConsumeSpin(
                user_id=pending.user_id,
                game_id=session.game_id,
                spin_id=pending.stake_transfer_id,
            ),
        )
        return replace(pending, stake=spin.bet_size, currency=spin.currency)
    await context.call(
        wallet.DEDUCT_BALANCE,
        wallet.Transfer(
            transfer_id=pending.stake_transfer_id,
            user_id=pending.user_id,
            amount=pending.stake,
            currency=pending.currency,
            kind="casino_bet",
            reference=pending.round_id,
        ),
    )
    return pending


def in_our_words(refusal: Refused) -> Refused:
    """Return a refusal of the wallet or of marketing as one of this contract."""
    if refusal.name == NotFound.name:
        return NotFound("there is no wallet or spin chance to play with")
    if refusal.name == wallet.RolledBack.name:
        return Conflict("the round was not played; its stake was given back")
    if isinstance(refusal, wallet.InsufficientFunds):  # a debt is a lack of money too
        return InsufficientFunds(refusal.detail, **refusal.members)
    known = next((kind for kind in FINAL_REFUSALS if kind.name == refusal.name), Conflict)
    return known(refusal.detail, **refusal.members)


async def finish(tx: Tx, session: store.Session, paid: store.Round) -> store.Round:
    """Play a paid round: result, both events in the order placed, payout, and the push."""
    context = tx.context
    game = rules.GAMES[session.game_id]
    seeds = (session.server_seed, session.client_seed)
    result = rules.play(game, paid.choice, paid.stake, seeds, paid.nonce)
    outcome = result.outcome
    if paid.free_spin:
        outcome = {**outcome, "free_spin": True, "stake": paid.stake, "currency": paid.currency}
        await store.use_free_spin(tx, paid.user_id)
    played = replace(paid, status="played", outcome=outcome, payout=result.payout)
    event_id = await announce(tx, session, played)
    await store.finish_round(tx, played, event_id, context.now())
    if played.counted:
        await limits.tell(tx, played.user_id, [limits.stands(played)])
    stake = 0 if paid.free_spin else paid.stake
    session = await store.count_round(tx, session.session_id, stake, result.payout)
    frame = state_of(session, await store.last_round(tx, session.session_id))
    tx.after_commit(lambda: context.push(RESULTS, session.session_id, frame))
    return played


async def announce(tx: Tx, session: store.Session, played: store.Round) -> str:
    """Publish that a stake was taken and what the round paid; return the payout event's id."""
    common: dict[str, Any] = {
        "round_id": played.round_id,
        "session_id": played.session_id,
        "user_id": played.user_id,
        "game_id": session.game_id,
        "currency": played.currency,
        "stake_transfer_id": played.stake_transfer_id,
    }
    if not played.free_spin:
        placed = CasinoBetPlaced(stake=played.stake, **common)
        await tx.publish(CASINO_BET_PLACED, placed, subject=played.round_id)
    complete = CasinoPayoutComplete(
        stake=0 if played.free_spin else played.stake,
        payout=played.payout or 0,
        transfer_id=played.payout_transfer_id,
        free_spin=played.free_spin,
        **common,
    )
    return await tx.publish(CASINO_PAYOUT_COMPLETE, complete, subject=played.round_id)


def state_of(session: store.Session, last_round: RoundPlayed | None) -> SessionState:
    """Return a session as the player may see it: the seed only once it is closed."""
    return SessionState(
        session_id=session.session_id,
        game_id=session.game_id,
        status=session.status,
        server_seed_hash=session.server_seed_hash,
        server_seed=session.server_seed if session.status == "closed" else None,
        client_seed=session.client_seed,
        rounds=session.rounds,
        staked=session.staked,
        paid=session.paid,
        last_round=last_round,
    )


async def reject(pending: store.Round, refusal: Refused, context: Context) -> store.Round:
    """Store why a round was not played, unless it was decided meanwhile."""
    async with context.transaction() as tx:
        rejected = await store.reject_round(tx, pending.round_id, kept(refusal), context.now())
        if rejected is not None and rejected.counted:
            await limits.tell(tx, rejected.user_id, [limits.stands(rejected, taken=False)])
        return rejected or await store.lock_round(tx, pending.round_id)


async def give_back(
    reversing: store.Round, context: Context, because: Refused | None = None
) -> store.Round:
    """Undo the stake at the wallet, known there or not yet, and reject the round.

    Raises Unavailable while the wallet does not answer; the next sweep tries again.
    """
    try:
        await context.call(
            wallet.ROLLBACK,
            wallet.Rollback(
                transfer_id=reversing.rollback_transfer_id,
                original_transfer_id=reversing.stake_transfer_id,
            ),
        )
    except Refused as refusal:
        # The wallet never took the stake and now never will: that is what we wanted to hear.
        context.log.info("nothing to give back", round=reversing.round_id, cause=refusal.name)
    undone = Conflict("the round was not played; its stake was given back")
    return await reject(reversing, because or undone, context)


async def sweep(context: Context) -> None:
    """Finish rounds that nobody waits for: stakes go back, consumed spin chances are played."""
    async with context.transaction() as tx:
        before = context.now() - ABANDONED_AFTER
        left = await store.unfinished_rounds(tx, before, SWEEP_MAX)
    away: set[bool] = set()
    for unfinished in left:
        if unfinished.free_spin in away:
            continue
        try:
            await (settle if unfinished.free_spin else give_back)(unfinished, context)
        except Unavailable as failure:
            # Who is away for spins (marketing) holds up no stakes (wallet), nor the reverse.
            away.add(unfinished.free_spin)
            context.log.warning("sweep goes on later", cause=failure.detail)
        except Exception:
            # A round that cannot be finished must not keep those behind it waiting.
            context.log.exception("a round cannot be finished", round=unfinished.round_id)
