"""How bets are bought back: offers that expire, taken whole or in part, each once.

An offer is for a bet at a version: whatever happens to the bet or its legs raises the version, and
the offer is void. Taking it writes the payment's order in the same transaction.
"""

from decimal import Decimal
from fractions import Fraction

import msgspec

from svc.mesh.context import Context
from svc.mesh.database import Tx
from svc.mesh.errors import Conflict, IdempotencyMismatch, Invalid, NotFound
from svc.sportsbook import (
    house,
    own_limits,
    paying,
    payout_day,
    rules,
    rules_cash_out,
    rules_settlement,
    settling,
    store_bets,
    store_cash_out,
    store_events,
    store_exposure,
    store_settlement,
)
from svc.sportsbook.contract import (
    BET_CASHED_OUT,
    BetCashedOut,
    MarketClosed,
)
from svc.sportsbook.contract_offers import (
    CashedOut,
    CashOut,
    CashOutQuote,
    NoCashOut,
    QuoteExpired,
    QuoteOf,
)
from svc.sportsbook.rules_cash_out import Chances
from svc.sportsbook.store_bets import BetRow, LegRow
from svc.sportsbook.store_cash_out import Quote
from svc.sportsbook.store_settlement import TransferOrder

WHOLE = Decimal(1)
FRACTION_PLACES = 4


async def quote(request: QuoteOf, context: Context) -> CashOutQuote:
    """Offer to buy a bet back; raises NotFound, NoCashOut, MarketClosed."""
    async with context.transaction() as tx:
        bet = await _bet(request, tx)
        amount = await _worth(bet, tx)
        left = await payout_day.left(tx, bet, house.limits(context))
        amount = amount if left is None else min(amount, left)
        if amount <= 0:
            raise NoCashOut("this bet is worth nothing now")
        now = context.now()
        offered = Quote(
            quote_id=context.new_id(),
            bet_id=bet.bet_id,
            version=bet.version,
            amount=amount,
            expires_at=now + house.cash_out_holds(context),
        )
        await store_cash_out.put_quote(tx, offered, now)
    return CashOutQuote(
        quote_id=offered.quote_id, amount=offered.amount, expires_at=offered.expires_at
    )


async def cash_out(request: CashOut, context: Context) -> CashedOut:
    """Take an offer; raises the refusals of CASH_OUT. Taking it again gives the same answer."""
    fraction = Decimal(str(request.fraction))
    if not (0 < fraction <= 1 and fraction == round(fraction, FRACTION_PLACES)):
        raise Invalid("a fraction is above 0, at most 1, with up to four places - at `$.fraction`")
    async with context.transaction() as tx:
        bet = await _bet(request, tx)
        wanted = await _wanted(request, fraction, tx)
        if wanted.paid is None:
            # Markets before bets: a settlement locks them in this order too.
            await _worth(bet, tx)
            [bet] = await store_bets.lock(tx, [bet.bet_id])
            wanted = await _wanted(request, fraction, tx)
        if wanted.paid is None:
            _check(wanted, bet, context)
            wanted = await _take(bet, wanted, fraction, request.idempotency_key, tx)
    return CashedOut(
        bet_id=bet.bet_id,
        quote_id=wanted.quote_id,
        amount=wanted.paid or 0,
        status="cashed_out" if wanted.fraction == WHOLE else "accepted",
    )


async def _wanted(request: CashOut, fraction: Decimal, tx: Tx) -> Quote:
    """Return the offer that is asked for; raises NotFound, Conflict, IdempotencyMismatch."""
    found = await store_cash_out.quotes(
        tx, request.bet_id, request.quote_id, request.idempotency_key
    )
    if any(each.quote_id != request.quote_id for each in found):
        raise IdempotencyMismatch
    if not found:
        raise NotFound(f"there is no offer {request.quote_id} for this bet")
    wanted = found[0]
    if wanted.taken_at is None:
        return wanted
    if wanted.idempotency_key != request.idempotency_key:
        raise Conflict("this offer was taken already")
    if wanted.fraction != fraction:
        raise IdempotencyMismatch
    return wanted


def _check(wanted: Quote, bet: BetRow, context: Context) -> None:
    """Hold an offer against the clock and the locked bet; raises QuoteExpired."""
    if wanted.expires_at <= context.now():
        raise QuoteExpired("the offer has expired: ask for another one")
    if wanted.version != bet.version or bet.status != "accepted":
        raise QuoteExpired("something happened to the bet: ask for another offer")


async def _bet(request: QuoteOf | CashOut, tx: Tx) -> BetRow:
    """Return a player's own bet; raises NotFound."""
    found = await store_bets.by_id(tx, request.bet_id, request.user_id)
    if found is None:
        raise NotFound(f"there is no bet {request.bet_id}")
    return found


async def _worth(bet: BetRow, tx: Tx) -> int:
    """Return what the house pays for a bet now; raises NoCashOut, MarketClosed."""
    if bet.status != "accepted":
        raise NoCashOut(f"the bet is {bet.status.replace('_', ' ')}")
    if bet.free_bet_id is not None:
        raise NoCashOut("a free bet is not bought back")
    legs = (await store_bets.legs(tx, [bet.bet_id]))[bet.bet_id]
    factors = await _factors(legs, tx)
    win = [factor for leg, factor in zip(legs, factors, strict=True) if leg.part == "win"]
    place = [factor for leg, factor in zip(legs, factors, strict=True) if leg.part == "place"]
    terms = settling.terms_of(bet, len(win), house.limits(tx.context))
    return rules_cash_out.offer(terms, win, place, house.cash_out_margin(tx.context))


async def _factors(legs: list[LegRow], tx: Tx) -> list[Fraction]:
    """Return what each leg multiplies its stake by: known, or expected at the prices of now."""
    open_keys = [leg.key for leg in legs if leg.word == "open"]
    offers = await store_events.lock_offers(tx, open_keys) if open_keys else {}
    chances = await store_cash_out.chances(tx, open_keys) if open_keys else {}
    factors: list[Fraction] = []
    for leg in legs:
        if leg.word != "open":
            factors.append(leg.state.factor)
            continue
        known = chances.get(leg.key, Chances())
        now = rules.check_running(leg.key, offers[leg.key], tx.context.now())
        expected = rules_cash_out.expected_factor(leg.odds, now, known)
        if not known.may_be_sold or expected is None:
            raise MarketClosed(
                "bets on this market are not bought back now",
                event_id=leg.event_id,
                market_id=leg.market_id,
            )
        factors.append(expected)
    return factors


async def _take(bet: BetRow, wanted: Quote, fraction: Decimal, key: str, tx: Tx) -> Quote:
    """Pay for a bet or a part of it; the rest runs on."""
    now, limits = tx.context.now(), house.limits(tx.context)
    rounding = bet.rounding or limits.rounding
    amount = rules_settlement.rounded(wanted.amount * Fraction(fraction), rounding)
    left = await payout_day.left(tx, bet, limits)
    if left is not None and amount > left:
        raise QuoteExpired("less may be paid today by now: ask for another offer")
    await payout_day.cashed_out(tx, bet, wanted.quote_id, amount, limits)
    transfer_id = settling.payment_id(bet.bet_id, bet.version + 1, "cash-out")
    taken = msgspec.structs.replace(wanted, idempotency_key=key, fraction=fraction, paid=amount)
    await store_cash_out.take(tx, taken, transfer_id, now)
    await store_exposure.release(tx, [bet.bet_id])
    if fraction == WHOLE:
        await store_cash_out.bought_back(tx, bet.bet_id, amount, transfer_id, now)
    else:
        rest = 1 - fraction
        potential = rules_settlement.rounded(bet.potential_payout * Fraction(rest), rounding)
        await store_cash_out.run_on(tx, bet.bet_id, bet.running * rest, potential, amount)
        await store_exposure.release(tx, [bet.bet_id], 1)
    if bet.counted:
        stake = own_limits.stands(bet, payout=amount)
        await own_limits.tell(tx, [(bet.user_id, stake)])
    await _pay(bet, amount, transfer_id, tx)
    told = BetCashedOut(
        bet_id=bet.bet_id,
        user_id=bet.user_id,
        amount=amount,
        fraction=f"{fraction.normalize():f}",
        whole=fraction == WHOLE,
        currency=bet.currency,
        transfer_id=transfer_id,
        stake_transfer_id=bet.stake_transfer_id,
    )
    await tx.publish(BET_CASHED_OUT, told, subject=bet.bet_id)
    return taken


async def _pay(bet: BetRow, amount: int, transfer_id: str, tx: Tx) -> None:
    order = TransferOrder(
        transfer_id=transfer_id,
        op="credit_balance",
        bet_id=bet.bet_id,
        user_id=bet.user_id,
        amount=amount,
        currency=bet.currency,
        kind="bet_payout",
        stake_transfer_id=bet.stake_transfer_id,
    )
    await store_settlement.order(tx, [order], tx.context.now())
    tx.after_commit(paying.of(tx.context).wake)
