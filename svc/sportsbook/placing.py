"""How a bet is struck: checked and written as pending, paid, accepted; or refused for good.

Pending is durable: while the wallet's answer is unknown, the wallet is asked again under the same
transfer id, by the client's retry or by the sweep, and nothing is guessed. The bet is accepted at
the price that was checked when it was written, however the odds moved while the wallet was asked.
On an event that is being played it waits first, and its price is checked once more.
"""

import asyncio
from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgspec

from svc.mesh.context import Context
from svc.mesh.database import Tx
from svc.mesh.errors import (
    Conflict,
    IdempotencyMismatch,
    NotFound,
    Refused,
    TimedOut,
    Unavailable,
)
from svc.sportsbook import (
    house,
    rules,
    rules_settlement,
    settling,
    store_bets,
    store_events,
    store_exposure,
    store_players,
    striking,
)
from svc.sportsbook.contract import (
    BET_PLACED,
    BET_REJECTED,
    PLACE_BET,
    BetAccepted,
    BetPlaced,
    BetRefused,
    BetRejected,
    CurrencyMismatch,
    PlaceBet,
)
from svc.sportsbook.rules import Slip
from svc.sportsbook.store_bets import BetRow, LegRow
from svc.wallet import contract as wallet

SWEEP_BATCH = 50
GIVEN_UP = "the bet waited too long for the wallet and was given up; no money moved"


async def place(slip: PlaceBet, context: Context) -> BetAccepted:
    """Strike a bet, or go on with the one that this key began; raises the call's refusals.

    Unavailable or TimedOut mean that the bet is pending: ask again with the same key.
    """
    checked = rules.checked_slip(slip)
    async with context.transaction() as tx:
        bet = await _written(slip, checked, tx)
    return await finish(bet, context)


async def finish(bet: BetRow, context: Context) -> BetAccepted:
    """Bring a bet from pending to accepted or rejected; a finished one gives its answer again."""
    if bet.status == "rejected":
        raise stored_refusal(bet)
    if bet.status != "pending":
        return _answer(bet)
    if bet.expired_at is not None:
        return await _give_up(bet, context)
    if bet.recheck_at is not None:
        return await _after_second_look(bet, context)
    if bet.free_bet_id is not None:
        return await _accept(bet, context)
    try:
        await context.call(
            wallet.DEDUCT_BALANCE,
            wallet.Transfer(
                transfer_id=bet.stake_transfer_id,
                user_id=bet.user_id,
                amount=bet.stake,
                currency=bet.currency,
                kind="bet",
                reference=bet.bet_id,
            ),
        )
    except Refused as refusal:
        return await _reject(bet, _as_ours(refusal), context)
    except TimedOut as unknown:
        raise TimedOut(_pending(bet)) from unknown
    except Unavailable as away:
        raise Unavailable(_pending(bet)) from away
    return await _accept(bet, context)


async def sweep(context: Context) -> None:
    """Finish bets that still wait for the wallet; those that are too old are given up."""
    now = context.now()
    async with context.transaction() as tx:
        waiting = await store_bets.pending(tx, now - house.PENDING_RETRY, SWEEP_BATCH)
    for bet in waiting:
        try:
            if bet.placed_at < now - house.PENDING_GIVEN_UP or bet.expired_at is not None:
                await _give_up(bet, context)
            elif bet.recheck_at is None or bet.recheck_at <= now:
                await finish(bet, context)
        except Refused as refusal:
            context.log.info("pending bet rejected", bet_id=bet.bet_id, reason=refusal.name)
        except Unavailable:
            context.log.warning("the wallet is away, pending bets wait", waiting=len(waiting))
            return
        except Exception:
            # A bet that cannot be finished must not keep those behind it waiting.
            context.log.exception("a pending bet cannot be finished", bet_id=bet.bet_id)


def stored_refusal(bet: BetRow) -> Refused:
    """Return the refusal that a rejected bet was given, as it was given."""
    stored = msgspec.json.decode(bet.refusal or "{}", type=dict[str, Any])
    members: dict[str, object] = stored.get("members", {})
    for kind in PLACE_BET.refuses:
        if kind.name == stored.get("name"):
            return kind(str(stored["detail"]), **members)
    return Conflict(str(stored.get("detail", "")), **members)


async def _written(slip: PlaceBet, checked: Slip, tx: Tx) -> BetRow:
    """Return the bet that this key stands for: the one that is there, or a new pending one."""
    await store_players.ensure(tx, slip.user_id)
    player = await store_players.lock(tx, slip.user_id)
    known = await store_bets.by_key(tx, slip.user_id, slip.idempotency_key)
    if known is None:
        return await striking.strike(slip, checked, player, tx)
    if known.request_hash != striking.request_hash(slip):
        raise IdempotencyMismatch
    return known


async def _after_second_look(bet: BetRow, context: Context) -> BetAccepted:
    """Wait for the delay of live bets, then hold the bet against the prices of then."""
    assert bet.recheck_at is not None
    await asyncio.sleep(max((bet.recheck_at - context.now()).total_seconds(), 0))
    refusal: Refused | None = None
    async with context.transaction() as tx:
        try:
            await _look_again(bet, tx)
        except (Refused, NotFound) as found:
            refusal = found
    if refusal is not None:
        return await _reject(bet, refusal, context)
    async with context.transaction() as tx:
        looked_at = await store_bets.by_id(tx, bet.bet_id)
    assert looked_at is not None
    return await finish(looked_at, context)


async def _look_again(bet: BetRow, tx: Tx) -> None:
    """Take a pending bet's prices of now if its policy allows; raises MarketClosed, OddsChanged."""
    legs = (await store_bets.legs(tx, [bet.bet_id]))[bet.bet_id]
    win = [leg for leg in legs if leg.part == "win"]
    offers = await store_events.lock_offers(tx, [leg.key for leg in win])
    current = striking.current_odds([leg.key for leg in win], offers, tx.context.now())
    rules.check_prices(bet.odds_policy, [leg.odds for leg in win], current)
    await store_bets.strike_again(tx, bet.bet_id, current, *_worth(bet, current, legs, tx))


def _worth(bet: BetRow, current: list[Decimal], legs: list[LegRow], tx: Tx) -> tuple[Decimal, int]:
    """Return odds and potential payout of a bet at the prices of now."""
    terms = settling.terms_of(bet, len(current), house.limits(tx.context))
    place = [leg.odds for leg in legs if leg.part == "place"]
    exact: Fraction = rules_settlement.all_won(terms, current, place)
    return rules.bet_odds(exact, bet.stake), rules_settlement.paid(exact, terms)


async def _accept(bet: BetRow, context: Context) -> BetAccepted:
    """Accept a paid bet and announce it, in one transaction."""
    async with context.transaction() as tx:
        # Under the player's lock: an exclusion that was confirmed meanwhile beats this bet.
        player = await store_players.lock(tx, bet.user_id)
        excluded = rules.exclusion(player.excluded_until, context.now())
        accepted = excluded is None and await store_bets.accept(tx, bet.bet_id, context.now())
        if accepted:
            legs = (await store_bets.legs(tx, [bet.bet_id]))[bet.bet_id]
            events = [leg.event_id for leg in legs if leg.part == "win"]
            await tx.publish(
                BET_PLACED,
                BetPlaced(
                    bet_id=bet.bet_id,
                    user_id=bet.user_id,
                    kind=bet.kind,
                    stake=bet.stake,
                    currency=bet.currency,
                    odds=rules.odds_text(bet.odds),
                    potential_payout=bet.potential_payout,
                    legs=len(events),
                    event_ids=events,
                    stake_transfer_id=bet.stake_transfer_id,
                    free=bet.free_bet_id is not None,
                ),
                subject=bet.bet_id,
            )
            if any(leg.word != "open" for leg in legs):  # results came while the wallet was asked
                await settling.decide(tx, [bet.bet_id])
    if excluded is not None:
        return await _give_up(bet, context, excluded)
    return _answer(bet) if accepted else await _as_it_stands(bet, context)


async def _reject(bet: BetRow, refusal: Refused, context: Context) -> BetAccepted:
    """Reject a bet for good and raise the refusal, unless it was accepted meanwhile."""
    stored = {"name": refusal.name, "detail": refusal.detail, "members": refusal.members}
    async with context.transaction() as tx:
        rejected = await store_bets.reject(tx, bet.bet_id, stored)
        if rejected:
            await store_exposure.release(tx, [bet.bet_id])
            if bet.free_bet_id is not None:
                await store_exposure.give_back(tx, [bet.bet_id])
            await tx.publish(
                BET_REJECTED,
                BetRejected(bet_id=bet.bet_id, user_id=bet.user_id, reason=refusal.name),
                subject=bet.bet_id,
            )
    if rejected:
        raise refusal
    return await _as_it_stands(bet, context)


async def _give_up(bet: BetRow, context: Context, refusal: Refused | None = None) -> BetAccepted:
    """Undo a bet that is too old, or its player excluded: no acceptance, then the stake back.

    The rollback holds for ever, also when the deduction never arrived or arrives later.
    """
    async with context.transaction() as tx:
        given_up = await store_bets.expire(tx, bet.bet_id, context.now())
    if not given_up:
        return await _as_it_stands(bet, context)
    if bet.free_bet_id is None:
        undo = wallet.Rollback(
            transfer_id=bet.rollback_transfer_id, original_transfer_id=bet.stake_transfer_id
        )
        await context.call(wallet.ROLLBACK, undo)
    return await _reject(bet, refusal or Conflict(GIVEN_UP), context)


async def _as_it_stands(bet: BetRow, context: Context) -> BetAccepted:
    """Answer from what somebody else, who worked on the same bet, has made of it."""
    async with context.transaction() as tx:
        now = await store_bets.by_id(tx, bet.bet_id)
    if now is None or now.status == "pending":
        raise Unavailable(_pending(bet))
    return await finish(now, context)


def _answer(bet: BetRow) -> BetAccepted:
    """Return the answer to a struck bet: the same for every repetition, settled or not."""
    return BetAccepted(
        bet_id=bet.bet_id,
        status="accepted",
        stake=bet.stake,
        odds=rules.odds_text(bet.odds),
        potential_payout=bet.potential_payout,
        placed_at=bet.placed_at,
    )


def _pending(bet: BetRow) -> str:
    return (
        f"the wallet did not answer; bet {bet.bet_id} is pending:"
        " ask again with the same Idempotency-Key"
    )


def _as_ours(refusal: Refused) -> Refused:
    """Return the wallet's refusal in the words of our contract."""
    members = refusal.members
    if isinstance(refusal, wallet.CurrencyMismatch):
        return CurrencyMismatch(refusal.detail, **members)
    if isinstance(refusal, wallet.InsufficientFunds):
        return BetRefused(refusal.detail, **members)
    if isinstance(refusal, NotFound):  # money makes the wallet: none yet means no money either
        return BetRefused("there is no money in this wallet yet")
    return Conflict(refusal.detail, **members)
