"""From slips to bets: prices, place halves, limits and risk, all in the transaction that writes.

Slips that come at the same time share it: the statements are as many for a hundred as for one.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from hashlib import sha256

import msgspec
from msgspec import Struct

from svc.mesh.context import Context
from svc.mesh.database import Tx
from svc.mesh.errors import IdempotencyMismatch, NotFound, Refused
from svc.sportsbook import (
    house,
    rules,
    rules_settlement,
    rules_systems,
    standing,
    store_bets,
    store_events,
    store_exposure,
    store_new_bets,
    store_players,
)
from svc.sportsbook.book import book_of
from svc.sportsbook.contract import FreeBetUnusable, MarketClosed, PlaceBet
from svc.sportsbook.rules import Key, Offer, Slip
from svc.sportsbook.rules_settlement import Terms
from svc.sportsbook.store_bets import BetRow, LegRow
from svc.sportsbook.store_players import Player, PlayerLimit


class Asked(Struct, frozen=True):
    """A slip that is to be struck, what it comes to, and the work that it is a part of."""

    slip: PlaceBet
    checked: Slip
    context: Context


class Prices(Struct, frozen=True, kw_only=True):
    """What a bet is struck at: by leg the odds, each way those of the place halves too."""

    win: list[Decimal]
    place: list[tuple[Key, Decimal]]
    live: bool


class Round(Struct, kw_only=True):
    """What is known while bets are struck together, and what comes of it."""

    now: datetime
    limits: rules.Limits
    players: dict[str, Player]
    own_limits: dict[str, list[PlayerLimit]]
    offers: dict[Key, Offer]
    held: dict[Key, int]
    added: dict[Key, int] = {}
    struck: list[tuple[BetRow, str, list[LegRow]]] = []


async def strike_all(asked: Sequence[Asked], tx: Tx) -> list[BetRow | Refused]:
    """Write slips as pending bets at the current prices, or say why not; one of each player.

    A key that was used before gives the bet that it stands for. Money is taken afterwards.
    """
    users = sorted({each.slip.user_id for each in asked})
    await store_players.ensure_all(tx, users)
    players = await store_players.lock_all(tx, users)
    known = await store_bets.by_keys(
        tx, [(each.slip.user_id, each.slip.idempotency_key) for each in asked]
    )
    fresh = [each for each in asked if (each.slip.user_id, each.slip.idempotency_key) not in known]
    if not fresh:
        return [_known(each, known) for each in asked]
    keys = sorted({key for each in fresh for key in each.checked.keys})
    now = tx.context.now()
    this = Round(
        now=now,
        limits=house.limits(tx.context),
        players=players,
        own_limits=await store_players.limits(tx, users, now),
        offers=await store_events.lock_offers(tx, keys),
        held=await store_exposure.held(tx, keys),
    )
    book_of(tx.context).learn(this.offers)
    await _begin_risk(this, tx)
    answers: list[BetRow | Refused] = []
    for each in asked:
        try:
            if (each.slip.user_id, each.slip.idempotency_key) in known:
                answers.append(_known(each, known))
            else:
                answers.append(await _strike(each, this, tx))
        except Refused as refusal:
            answers.append(refusal)
    if this.struck:
        await store_new_bets.insert(tx, this.struck)
        await store_exposure.add(tx, this.added)
    return answers


async def _begin_risk(this: Round, tx: Tx) -> None:
    """Give outcomes without bets their row: what has no row cannot be locked against others."""
    new = sorted(this.offers.keys() - this.held.keys())
    if new:
        await store_exposure.begin(tx, new)
        this.held |= await store_exposure.held(tx, new)


def _known(each: Asked, known: dict[tuple[str, str], BetRow]) -> BetRow | Refused:
    bet = known[each.slip.user_id, each.slip.idempotency_key]
    return bet if bet.request_hash == request_hash(each.slip) else IdempotencyMismatch()


async def _strike(asked: Asked, this: Round, tx: Tx) -> BetRow:
    """Return the pending bet that a slip is now; nothing stays behind when it is refused."""
    slip, checked = asked.slip, asked.checked
    player = this.players[slip.user_id]
    standing.check(player, this.now, asked.context)
    prices = await _prices(slip, checked, this, tx)
    rules.check_stake(checked.stake, this.limits, watched=player.watched_since is not None)
    if slip.free_bet_id is None:
        for limit in this.own_limits.get(slip.user_id, []):
            since = rules.period_start(limit.period, this.now)
            await store_players.check_limit(tx, slip.user_id, limit, since, checked.stake)
    bet = _bet(slip, checked, prices, this, asked.context)
    profit = bet.potential_payout - (0 if slip.free_bet_id else bet.stake)
    held = max(this.held.get(key, 0) + this.added.get(key, 0) for key in checked.keys)
    rules.check_exposure(profit, held, slip, bet.stake, this.limits.exposure_max)
    if slip.free_bet_id is not None and not await store_exposure.use(tx, bet):
        raise FreeBetUnusable(
            "there is no such free bet of this amount, or it was used, or it has expired"
        )
    for key in checked.keys:
        this.added[key] = this.added.get(key, 0) + profit
    this.struck.append((bet, slip.idempotency_key, _legs(bet, checked, prices)))
    return bet


def is_plain(player: Player | None, now: datetime, context: Context) -> bool:
    """Tell whether nothing but prices and risk has to be looked at for a locked player's bet."""
    if player is None or player.watched_since is not None:
        return False
    try:
        standing.check(player, now, context)
    except Refused:
        return False
    return True


def drafted(asked: Asked, prices: Prices, this: Round) -> tuple[BetRow, list[LegRow]]:
    """Return the pending bet that a slip is at these prices, and its legs."""
    bet = _bet(asked.slip, asked.checked, prices, this, asked.context)
    return bet, _legs(bet, asked.checked, prices)


def _bet(slip: PlaceBet, checked: Slip, prices: Prices, this: Round, context: Context) -> BetRow:
    """Return the pending bet that a slip is at these prices."""
    lucky = rules_systems.is_lucky(len(checked.keys), checked.sizes)
    odds, potential_payout = _worth(slip, checked, prices, this.limits)
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
        odds=odds,
        odds_policy=slip.odds_policy,
        potential_payout=potential_payout,
        free_bet_id=slip.free_bet_id,
        lucky=lucky and house.gives_lucky_extras(context),
        counted=slip.free_bet_id is None and slip.user_id in this.own_limits,
        payout_max=this.limits.payout_max,
        rounding=this.limits.rounding,
        status="pending",
        stake_transfer_id=context.new_id(),
        rollback_transfer_id=context.new_id(),
        placed_at=this.now,
        event_ids=[key[0] for key in checked.keys],
        recheck_at=this.now + house.live_delay(context) if prices.live else None,
    )


def _worth(
    slip: PlaceBet, checked: Slip, prices: Prices, limits: rules.Limits
) -> tuple[Decimal, int]:
    """Return the odds of a bet at these prices, and what it pays when every leg wins."""
    free = slip.free_bet_id is not None
    if checked.lines == 1 and not prices.place and not free:
        millionths, payout = rules_settlement.all_won_plainly(
            checked.stake, prices.win, limits.payout_max, limits.rounding
        )
        return rules.odds_of(millionths), payout
    terms = Terms(
        unit_stake=slip.stake,
        stake=checked.stake,
        sizes=checked.sizes,
        payout_max=limits.payout_max,
        free=free,
        rounding=limits.rounding,
    )
    exact = rules_settlement.all_won(terms, prices.win, [odds for _, odds in prices.place])
    return rules.bet_odds(exact, checked.stake), rules_settlement.paid(exact, terms)


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


async def _prices(slip: PlaceBet, checked: Slip, this: Round, tx: Tx) -> Prices:
    """Return the prices at which a bet is struck; raises NotFound, MarketClosed, OddsChanged."""
    prices = plain_prices(slip, checked, this)
    if not slip.each_way:
        return prices
    return msgspec.structs.replace(prices, place=await _place_halves(checked.keys, prices.win, tx))


def plain_prices(slip: PlaceBet, checked: Slip, this: Round) -> Prices:
    """Return the prices of a slip's legs; raises NotFound, MarketClosed, OddsChanged."""
    current = current_odds(checked.keys, this.offers, this.now)
    wanted = [Decimal(selection.odds) for selection in slip.selections]
    rules.check_prices(slip.odds_policy, wanted, current)
    live = rules.started_live(this.offers[key] for key in checked.keys)
    return Prices(win=current, place=[], live=live)


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


def request_hash(slip: PlaceBet) -> bytes:
    """Return the hash of what was asked for, without the key that it was asked under.

    Fields that came later count only where they are used: the hashes of before stay what they are.
    """
    body = msgspec.structs.asdict(slip) | {"idempotency_key": "-"}
    for later in ("system", "free_bet_id"):
        if body[later] is None:
            del body[later]
    return sha256(msgspec.json.encode(body)).digest()
