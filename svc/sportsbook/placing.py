"""How a bet is struck: checked and written as pending, paid, accepted; or refused for good.

Pending is durable: while an answer is unknown, the wallet's or identity's of a limit, it is asked
for again under the same id, by the client's retry or by the sweep (`sweeping.py`), and nothing is
guessed. The bet is accepted at the price that was checked when it was written, however the odds
moved while the wallet was asked. On an event that is being played it waits first, and its price is
checked once more.
"""

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import msgspec
from msgspec import Struct

from svc.mesh.context import Context
from svc.mesh.database import Tx
from svc.mesh.errors import (
    Conflict,
    NotFound,
    Refused,
    TimedOut,
    Unavailable,
)
from svc.mesh.parcels import Parcel, packed
from svc.mesh.wire import encode
from svc.sportsbook import (
    house,
    own_limits,
    risk,
    rules,
    rules_settlement,
    rush,
    settling,
    store_bets,
    store_events,
    store_exposure,
    store_players,
    store_rush,
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
from svc.sportsbook.store_bets import BetRow, LegRow
from svc.sportsbook.striking import Asked
from svc.sportsbook.together import Together
from svc.wallet import contract as wallet

if TYPE_CHECKING:
    from svc.mesh.runtime import Runtime

GIVEN_UP = "the bet waited too long for the wallet and was given up; no money moved"


class Desk:
    """Where bets of a running service are written and accepted, together with their neighbours."""

    def __init__(self) -> None:
        """Nothing waits."""
        self.strike = Together(rush.strike_all, lambda asked: asked.slip.user_id)
        self.accept = Together(_accept_all, lambda asked: asked.bet.bet_id)


_desks: "WeakKeyDictionary[Runtime, Desk]" = WeakKeyDictionary()


def _desk(context: Context) -> Desk:
    desk = _desks.get(context.runtime)
    if desk is None:
        desk = _desks[context.runtime] = Desk()
    return desk


async def place(slip: PlaceBet, context: Context) -> BetAccepted:
    """Strike a bet, or go on with the one that this key began; raises the call's refusals.

    Unavailable or TimedOut mean that the bet is pending: ask again with the same key.
    """
    asked = Asked(slip, rules.checked_slip(slip), context)
    bet = await _desk(context).strike.ask(asked)
    if isinstance(bet, Refused):
        raise bet
    return await finish(bet, context)


async def finish(bet: BetRow, context: Context) -> BetAccepted:
    """Bring a bet from pending to accepted or rejected; a finished one gives its answer again."""
    if bet.status == "rejected":
        raise stored_refusal(bet)
    if bet.status != "pending":
        return _answer(bet)
    if bet.expired_at is not None:
        return await give_up(bet, context)
    if bet.recheck_at is not None:
        return await _after_second_look(bet, context)
    return await _accept(bet, context) if bet.free_bet_id else await _paid(bet, context)


async def _paid(bet: BetRow, context: Context) -> BetAccepted:
    """Have the stake taken, then accept; what forbids it rejects the bet for good."""
    if bet.counted and (exceeded := await own_limits.refusal(bet, context)) is not None:
        # Somebody else may have been let through before, or will be: room comes and goes.
        return await _reject(bet, exceeded, context, undo=True)
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


def stored_refusal(bet: BetRow) -> Refused:
    """Return the refusal that a rejected bet was given, as it was given."""
    stored = msgspec.json.decode(bet.refusal or "{}", type=dict[str, Any])
    members: dict[str, object] = stored.get("members", {})
    for kind in PLACE_BET.refuses:
        if kind.name == stored.get("name"):
            return kind(str(stored["detail"]), **members)
    return Conflict(str(stored.get("detail", "")), **members)


async def _after_second_look(bet: BetRow, context: Context) -> BetAccepted:
    """Wait for the delay of live bets, then hold the bet against the prices of then."""
    assert bet.recheck_at is not None
    await asyncio.sleep(max((bet.recheck_at - context.now()).total_seconds(), 0))
    refusal: Refused | None = None
    async with context.transaction() as tx:
        try:
            await _look_again(bet, tx)
        except Refused as found:
            # Whoever looked before may be asking the wallet: then their look is the one that holds.
            if await store_bets.lock_unasked(tx, bet.bet_id):
                await _rejected(bet, found, tx)
                refusal = found
    if refusal is not None:
        raise refusal
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
    if await store_bets.lock_unasked(tx, bet.bet_id):
        await store_exposure.release(tx, [bet.bet_id])
        await store_bets.strike_again(tx, bet.bet_id, current, *_worth(bet, current, legs, tx))
        await store_exposure.release(tx, [bet.bet_id], 1)


def _worth(bet: BetRow, current: list[Decimal], legs: list[LegRow], tx: Tx) -> tuple[Decimal, int]:
    """Return odds and potential payout of a bet at the prices of now."""
    terms = settling.terms_of(bet, len(current), house.limits(tx.context))
    place = [leg.odds for leg in legs if leg.part == "place"]
    exact: Fraction = rules_settlement.all_won(terms, current, place)
    return rules.bet_odds(exact, bet.stake), rules_settlement.paid(exact, terms)


class Paid(Struct, frozen=True):
    """A bet whose stake was taken, and the work that it is a part of."""

    bet: BetRow
    context: Context


async def _accept(bet: BetRow, context: Context) -> BetAccepted:
    """Accept a paid bet, unless its player was excluded meanwhile or somebody else was first."""
    found = await _desk(context).accept.ask(Paid(bet, context))
    if isinstance(found, Refused):
        return await give_up(bet, context, found)
    return _answer(bet) if found else await _as_it_stands(bet, context)


async def _accept_all(paid: Sequence[Paid]) -> list[bool | Refused]:
    """Accept bets and announce them, in one transaction; say of each whether, or why never.

    Under the players' locks: an exclusion that was confirmed meanwhile beats the bet.
    """
    by_id = {each.bet.bet_id: each for each in paid}
    users = sorted({each.bet.user_id for each in paid})
    async with paid[0].context.spawn().transaction() as tx:
        now = tx.context.now()
        accepted = await store_rush.accept(tx, sorted(by_id), users, now)
        excluded: dict[str, Refused | None] = {}
        if len(accepted) < len(by_id):
            players = await store_players.lock_all(tx, users)
            for each in paid:
                until = players[each.bet.user_id].excluded_until
                excluded[each.bet.bet_id] = rules.exclusion(until, now)
        if accepted:
            # Results may have come while the wallet was asked.
            await settling.decide(tx, sorted(await _tell(tx, [by_id[one] for one in accepted])))
    return [excluded.get(each.bet.bet_id) or each.bet.bet_id in accepted for each in paid]


async def _tell(tx: Tx, paid: Sequence[Paid]) -> set[str]:
    """Announce accepted bets as one row of the outbox; return those with decided legs."""
    unknown = [each.bet.bet_id for each in paid if each.bet.event_ids is None]
    read = (await store_bets.told(tx, unknown))[0] if unknown else {}
    parcels: list[Parcel] = []
    for each in paid:
        bet = each.bet
        placed = _placed(bet, bet.event_ids or read[bet.bet_id])
        envelope = each.context.envelope(BET_PLACED, placed, subject=bet.bet_id)
        parcels.append(Parcel(BET_PLACED.subject, encode(envelope), envelope.id))
    row_id, count = tx.context.new_id(), len(parcels)
    row = store_rush.Row(
        row_id=row_id, subject=BET_PLACED.subject, body=packed(parcels), events=count
    )

    async def keep() -> None:
        relay = tx.context.runtime.relay
        if relay is not None:
            relay.keep(row_id, lambda: parcels, count)

    tx.after_commit(keep)
    tx.after_commit(partial(risk.rises, tx.context))
    return await store_rush.tell(tx, [each.bet.bet_id for each in paid], row)


def _placed(bet: BetRow, events: list[str]) -> BetPlaced:
    return BetPlaced(
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
    )


async def _reject(
    bet: BetRow, refusal: Refused, context: Context, *, undo: bool = False
) -> BetAccepted:
    """Reject a bet for good and raise the refusal, unless it was accepted meanwhile.

    With `undo` the stake goes back should somebody else have it taken, were it afterwards.
    """
    async with context.transaction() as tx:
        rejected = await _rejected(bet, refusal, tx)
        if rejected and undo:
            await settling.undo_stake(bet, tx)
    if rejected:
        raise refusal
    return await _as_it_stands(bet, context)


async def _rejected(bet: BetRow, refusal: Refused, tx: Tx) -> bool:
    """Write that a bet is rejected, and tell of it; False when it is not pending any more."""
    stored = {"name": refusal.name, "detail": refusal.detail, "members": refusal.members}
    if not await store_bets.reject(tx, bet.bet_id, stored):
        return False
    await store_exposure.release(tx, [bet.bet_id])
    if bet.free_bet_id is not None:
        await store_exposure.give_back(tx, [bet.bet_id])
    if bet.counted:
        await own_limits.tell(tx, [(bet.user_id, own_limits.stands(bet, taken=False))])
    await tx.publish(
        BET_REJECTED,
        BetRejected(bet_id=bet.bet_id, user_id=bet.user_id, reason=refusal.name),
        subject=bet.bet_id,
    )
    return True


async def give_up(bet: BetRow, context: Context, refusal: Refused | None = None) -> BetAccepted:
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
