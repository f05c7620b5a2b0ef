"""The rules of striking a bet: what a slip may be, which price holds, how much may be staked.

What legs and bets are worth is in `rules_settlement`. Source: the odds policies and the stake that
is offered instead are those of Sportradar MTS (docs.sportradar.com/mts/features).
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, Context, Decimal
from fractions import Fraction

from msgspec import Struct

from svc.mesh.errors import Invalid
from svc.sportsbook.contract import (
    EventStatus,
    LimitExceeded,
    MarketClosed,
    MarketStatus,
    OddsChanged,
    OddsPolicy,
    PlaceBet,
    SelfExcluded,
)
from svc.sportsbook.rules_settlement import Rounding
from svc.sportsbook.rules_systems import PLACE_MARKETS, lines, sizes_of
from svc.sportsbook.uof import normal_specifiers
from svc.sportsbook.uof_messages import EVENT_ID

Key = tuple[str, int, str, str]
"""What a leg is on: event, market, specifiers sorted by key, outcome."""

PREMATCH_PRODUCERS = frozenset({3})
OVER: frozenset[EventStatus] = frozenset({"ended", "closed", "cancelled", "abandoned"})
SHOWN_PLACES = Decimal("0.000001")
HUNDREDTH = 10_000
"""So many millionths."""
EXACT = Context(prec=200, rounding=ROUND_DOWN)
"""Twenty legs of six digits make 120: the usual 28 would lose some, or refuse to write them."""


class Offer(Struct, frozen=True, kw_only=True):
    """What stands behind one selection right now; `odds` None: no price.

    `holds_until` is when its odds are too old, while its event is being played.
    """

    odds: Decimal | None
    active: bool
    decided: bool
    market_status: MarketStatus
    producer: int
    event_status: EventStatus
    starts_at: datetime | None
    producer_up: bool = True
    holds_until: datetime | None = None


class Limits(Struct, frozen=True, kw_only=True):
    """The house's limits in minor units: per bet, on an outcome, and for a player's day."""

    stake_min: int
    stake_max: int
    payout_max: int
    exposure_max: int = 10**15
    payout_day_max: int | None = None
    rounding: Rounding = "half_up"


class Slip(Struct, frozen=True, kw_only=True):
    """A slip that is a bet: what its legs are on, its lines, and its whole stake."""

    keys: list[Key]
    sizes: tuple[int, ...]
    lines: int
    stake: int


def checked_slip(slip: PlaceBet) -> Slip:
    """Return what a slip comes to; raises Invalid for one that is no bet."""
    sizes = sizes_of(slip.kind, len(slip.selections), slip.system_sizes, slip.system)
    if len({leg.event_id for leg in slip.selections}) != len(slip.selections):
        raise Invalid("the legs of a bet are on different events")
    keys = [
        (leg.event_id, leg.market_id, normal_specifiers(leg.specifiers), leg.outcome_id)
        for leg in slip.selections
    ]
    unplaced = {key[1] for key in keys} - PLACE_MARKETS.keys()
    if slip.each_way and unplaced:
        raise Invalid(f"there is no each-way betting on market {min(unplaced)}")
    count = lines(len(keys), sizes)
    halves = 2 if slip.each_way else 1
    return Slip(keys=keys, sizes=sizes, lines=count, stake=slip.stake * count * halves)


def is_event_id(text: str) -> bool:
    """Tell whether a text can be the id of an event."""
    return EVENT_ID.fullmatch(text) is not None


def check_player(excluded_until: datetime | None, now: datetime) -> None:
    """Refuse players who excluded themselves; raises SelfExcluded."""
    refusal = exclusion(excluded_until, now)
    if refusal is not None:
        raise refusal


def exclusion(excluded_until: datetime | None, now: datetime) -> SelfExcluded | None:
    """Return the refusal of a player who excluded themselves, or None."""
    if excluded_until is None or excluded_until <= now:
        return None
    return SelfExcluded(
        f"no bets until {excluded_until:%Y-%m-%dT%H:%M:%SZ}", until=excluded_until.isoformat()
    )


def check_stake(stake: int, limits: Limits, *, watched: bool) -> None:
    """Hold a stake in minor units against the house's limits; raises LimitExceeded.

    A player under watch (deposits were given back) may stake a tenth.
    """
    most = limits.stake_max // 10 if watched else limits.stake_max
    if not limits.stake_min <= stake <= most:
        raise LimitExceeded(
            f"the stake must be between {limits.stake_min} and {most} minor units",
            min=limits.stake_min,
            max=most,
        )


def check_open(key: Key, offer: Offer, now: datetime) -> Decimal:
    """Return the current odds of a selection; raises MarketClosed when it takes no bets now."""
    why = _why_closed(offer, now)
    if why or offer.odds is None:
        event_id, market_id, specifiers, outcome_id = key
        raise MarketClosed(
            why or "the outcome has no price now",
            event_id=event_id,
            market_id=market_id,
            specifiers=specifiers,
            outcome_id=outcome_id,
            market_status=offer.market_status,
        )
    return offer.odds


def check_running(key: Key, offer: Offer, now: datetime) -> Decimal | None:
    """Return the odds now of a selection that was bet on; raises MarketClosed while it is closed.

    None where it has no price: its chances may still be known. While its producer is down neither
    means anything, so nothing is bought back.
    """
    why = _why_closed(offer, now)
    if why:
        raise MarketClosed(
            why, event_id=key[0], market_id=key[1], market_status=offer.market_status
        )
    return offer.odds


def _why_closed(offer: Offer, now: datetime) -> str:
    """Return why a selection takes no bets and is not bought back, or an empty text."""
    if not offer.producer_up:
        return "the source of these odds is down"
    if offer.holds_until is not None and offer.holds_until <= now:
        return _closed(offer, now) or "these odds are too old"
    return _closed(offer, now)


def _closed(offer: Offer, now: datetime) -> str:
    """Return why a selection whose source is up takes no bets, or an empty text."""
    if offer.market_status != "active":
        return f"the market is {offer.market_status.replace('_', ' ')}"
    if offer.decided:
        return "the outcome is decided"
    if not offer.active:
        return "the outcome is not offered now"
    if offer.event_status in OVER:
        return f"the event is {offer.event_status}"
    started = offer.starts_at is not None and offer.starts_at <= now
    if started and offer.producer in PREMATCH_PRODUCERS:
        return "the event has started and this is a pre-match market"
    return ""


def check_prices(policy: OddsPolicy, wanted: list[Decimal], current: list[Decimal]) -> None:
    """Hold the slip's odds against the current ones, leg by leg (the bet is struck at these).

    `none`: any difference refuses; `higher`: equal or better; `any`. Raises OddsChanged with the
    current odds: `odds` of the whole slip and `selections` by leg.
    """
    holds = all(
        policy == "any" or now == seen or (policy == "higher" and now > seen)
        for seen, now in zip(wanted, current, strict=True)
    )
    if not holds:
        raise OddsChanged(
            "the odds are not what the slip says any more",
            odds=odds_text(total_odds(current)),
            selections=[odds_text(odds) for odds in current],
        )


def total_odds(odds: list[Decimal]) -> Decimal:
    """Return the odds of the bet: the product of its legs, cut to six places for show.

    What is paid is reckoned from the legs, never from this.
    """
    if len(odds) == 1:
        return odds[0]
    product = Fraction(1)
    for each in odds:
        product *= Fraction(each)
    units = product / Fraction(SHOWN_PLACES)
    return EXACT.multiply(Decimal(units.numerator // units.denominator), SHOWN_PLACES)


def odds_text(odds: Decimal) -> str:
    """Return odds as plain decimal text with at least two and at most six places."""
    if odds.as_tuple().exponent == -2:  # noqa: PLR2004 - as nearly all odds are written
        return f"{odds:f}"
    text = f"{odds.quantize(SHOWN_PLACES, context=EXACT):f}".rstrip("0")
    whole, _, places = text.partition(".")
    return f"{whole}.{places:0<2}"


PERIODS = {"day": timedelta(days=1), "week": timedelta(days=7), "month": timedelta(days=30)}
"""Windows of players' own limits (UKGC RTS 12: 24 hours, 7 days, month)."""


def period_start(period: str, now: datetime) -> datetime:
    """Return since when a player's limit counts: periods roll, so no midnight doubles a limit."""
    return now - PERIODS[period]


def started_live(offers: Iterable[Offer]) -> bool:
    """Tell whether any of the events is being played: such bets wait, and are looked at again."""
    return any(offer.event_status == "live" for offer in offers)


def bet_odds(exact: Fraction, stake: int) -> Decimal:
    """Return what one unit of the whole stake returns when every leg wins, cut for show.

    For a single or an accumulator that is the product of its legs. What is paid is reckoned from
    the legs, never from this.
    """
    units = exact / stake / Fraction(SHOWN_PLACES)
    return odds_of(units.numerator // units.denominator)


def odds_of(millionths: int) -> Decimal:
    """Return odds that are given in whole millionths, with two places if that is all they have."""
    hundredths, more = divmod(millionths, HUNDREDTH)
    return EXACT.scaleb(millionths, -6) if more else EXACT.scaleb(hundredths, -2)


def check_exposure(profit: int, held: int, slip: PlaceBet, stake: int, limit: int) -> None:
    """Hold what the house can lose on an outcome against its limit; raises LimitExceeded.

    `profit` is what this bet adds, `held` is what was there before it. The refusal names the stake
    that would be taken instead, in the slip's own terms; it reserves nothing.
    """
    if profit <= 0 or held + profit <= limit:
        return
    left = max(limit - held, 0)
    alternative = slip.stake * left // profit
    raise LimitExceeded(
        f"at most {alternative} minor units can be taken at these odds now",
        alternative_stake=alternative,
        stake=stake,
    )
