"""From a slip to a bet: prices, place halves, limits and risk, all in the transaction that writes.

Raises the refusals of PLACE_BET; what was reserved before one is undone with the transaction.
"""

from datetime import datetime
from decimal import Decimal
from hashlib import sha256

import msgspec
from msgspec import Struct

from svc.mesh.database import Tx
from svc.mesh.errors import NotFound
from svc.sportsbook import (
    house,
    rules,
    rules_settlement,
    rules_systems,
    store_bets,
    store_events,
    store_exposure,
    store_players,
)
from svc.sportsbook.contract import FreeBetUnusable, MarketClosed, PlaceBet
from svc.sportsbook.rules import Key, Offer, Slip
from svc.sportsbook.rules_settlement import Terms
from svc.sportsbook.store_bets import BetRow, LegRow
from svc.sportsbook.store_players import Player


class Prices(Struct, frozen=True, kw_only=True):
    """What a bet is struck at: by leg the odds, each way those of the place halves too."""

    win: list[Decimal]
    place: list[tuple[Key, Decimal]]
    live: bool


async def strike(slip: PlaceBet, checked: Slip, player: Player, tx: Tx) -> BetRow:
    """Write a slip as a pending bet, at the current prices; money is taken afterwards."""
    context = tx.context
    now, limits = context.now(), house.limits(context)
    rules.check_player(player.excluded_until, now)
    prices = await _prices(slip, checked, now, tx)
    rules.check_stake(checked.stake, limits, watched=player.watched_since is not None)
    if slip.free_bet_id is None:
        await _check_own_limits(slip.user_id, checked.stake, now, tx)
    bet = _bet(slip, checked, prices, limits, tx)
    legs = _legs(bet, checked, prices)
    profit = bet.potential_payout - (0 if slip.free_bet_id else bet.stake)
    held = await store_exposure.expose(tx, checked.keys, profit)
    rules.check_exposure(profit, held, slip, bet.stake, limits.exposure_max)
    if slip.free_bet_id is not None:
        await _use_free_bet(slip, bet, tx)
    await store_bets.insert(tx, bet, slip.idempotency_key, legs)
    return bet


def _bet(slip: PlaceBet, checked: Slip, prices: Prices, limits: rules.Limits, tx: Tx) -> BetRow:
    """Return the pending bet that a slip is at these prices."""
    context = tx.context
    now = context.now()
    lucky = rules_systems.is_lucky(len(checked.keys), checked.sizes)
    terms = Terms(
        unit_stake=slip.stake,
        stake=checked.stake,
        sizes=checked.sizes,
        payout_max=limits.payout_max,
        free=slip.free_bet_id is not None,
        rounding=limits.rounding,
    )
    exact = rules_settlement.all_won(terms, prices.win, [odds for _, odds in prices.place])
    return BetRow(
        bet_id=context.new_id(),
        user_id=slip.user_id,
        request_hash=request_hash(slip),
        kind=slip.kind,
        system_sizes=list(checked.sizes) if slip.kind == "system" else None,
        each_way=slip.each_way,
        lines=checked.lines,
        unit_stake=slip.stake,
        stake=checked.stake,
        currency=slip.currency,
        odds=rules.bet_odds(exact, checked.stake),
        odds_policy=slip.odds_policy,
        potential_payout=rules_settlement.paid(exact, terms),
        free_bet_id=slip.free_bet_id,
        lucky=lucky and house.gives_lucky_extras(context),
        status="pending",
        stake_transfer_id=context.new_id(),
        rollback_transfer_id=context.new_id(),
        placed_at=now,
        recheck_at=now + house.live_delay(context) if prices.live else None,
    )


def _legs(bet: BetRow, checked: Slip, prices: Prices) -> list[LegRow]:
    win = [_leg(bet, key, odds) for key, odds in zip(checked.keys, prices.win, strict=True)]
    place = [msgspec.structs.replace(_leg(bet, *half), part="place") for half in prices.place]
    return win + place


def _leg(bet: BetRow, key: Key, odds: Decimal) -> LegRow:
    event_id, market_id, specifiers, outcome_id = key
    return LegRow(
        bet_id=bet.bet_id,
        event_id=event_id,
        market_id=market_id,
        specifiers=specifiers,
        outcome_id=outcome_id,
        odds=odds,
    )


async def _prices(slip: PlaceBet, checked: Slip, now: datetime, tx: Tx) -> Prices:
    """Return the prices at which a bet is struck; raises NotFound, MarketClosed, OddsChanged."""
    offers = await store_events.lock_offers(tx, checked.keys)
    current = current_odds(checked.keys, offers, now)
    wanted = [Decimal(selection.odds) for selection in slip.selections]
    rules.check_prices(slip.odds_policy, wanted, current)
    place = await _place_halves(checked.keys, current, tx) if slip.each_way else []
    return Prices(win=current, place=place, live=rules.started_live(offers.values()))


def current_odds(keys: list[Key], offers: dict[Key, Offer], now: datetime) -> list[Decimal]:
    """Return the odds of selections now; raises NotFound, MarketClosed."""
    for event_id, market_id, specifiers, outcome_id in keys:
        if (event_id, market_id, specifiers, outcome_id) not in offers:
            raise NotFound(
                f"there is no outcome {outcome_id} of market {market_id} ({specifiers or 'plain'})"
                f" on {event_id}"
            )
    return [rules.check_open(key, offers[key], now) for key in keys]


async def _place_halves(keys: list[Key], odds: list[Decimal], tx: Tx) -> list[tuple[Key, Decimal]]:
    """Return what the place halves are on, and their odds; raises MarketClosed where none are.

    Places are paid only where the feed has the market that will say who was placed.
    """
    halves: list[tuple[Key, Decimal]] = []
    for key, price in zip(keys, odds, strict=True):
        event_id, market_id, _, outcome_id = key
        terms = rules_systems.place_terms(await store_exposure.runners(tx, key))
        market = rules_systems.place_market(market_id, terms) if terms else None
        if terms is None or market is None:
            raise MarketClosed("too few run here for each-way betting", event_id=event_id)
        halves.append(((event_id, *market, outcome_id), rules_systems.place_odds(price, terms)))
    offers = await store_events.lock_offers(tx, [key for key, _ in halves])
    for key, _ in halves:
        if key not in offers or offers[key].decided:
            raise MarketClosed(
                "there is no each-way betting: nothing will say who was placed", event_id=key[0]
            )
    return halves


async def _check_own_limits(user_id: str, stake: int, now: datetime, tx: Tx) -> None:
    """Hold a stake against the player's own limits; raises LimitExceeded."""
    for limit in await store_players.limits(tx, user_id, now):
        since = rules.period_start(limit.period, now)
        await store_players.check_limit(tx, user_id, limit, since, stake)


async def _use_free_bet(slip: PlaceBet, bet: BetRow, tx: Tx) -> None:
    """Use the slip's free bet, all of it; raises FreeBetUnusable."""
    free = await store_exposure.use(
        tx, slip.free_bet_id or "", slip.user_id, bet.bet_id, bet.placed_at
    )
    if free is None:
        raise FreeBetUnusable("there is no such free bet, or it was used, or it has expired")
    if (free.amount, free.currency) != (bet.stake, slip.currency):
        raise FreeBetUnusable(
            f"this free bet is {free.amount} {free.currency}, used whole",
            amount=free.amount,
            currency=free.currency,
        )


def request_hash(slip: PlaceBet) -> bytes:
    """Return the hash of what was asked for, without the key that it was asked under.

    Fields that came later count only where they are used: the hashes of before stay what they are.
    """
    body = msgspec.structs.asdict(slip) | {"idempotency_key": "-"}
    for later in ("system", "free_bet_id"):
        if body[later] is None:
            del body[later]
    return sha256(msgspec.json.encode(body)).digest()
