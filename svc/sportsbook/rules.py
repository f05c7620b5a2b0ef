"""The rules of bets: what a slip may be, which price holds, what a leg and a bet are worth.

Exact fractions throughout, rounded once per bet. Sources: void and dead heat factors as the feed
defines them (docs.sportradar.com/uof, bet settlement); the return of an accumulator is the product
of its legs (Wikipedia, "Mathematics of bookmaking"); the odds policies are those of Sportradar MTS.
"""

from datetime import datetime, timedelta
from decimal import ROUND_DOWN, Context, Decimal
from fractions import Fraction
from typing import Literal

from msgspec import Struct

from svc.mesh.errors import Invalid
from svc.sportsbook.contract import (
    BetResult,
    EventStatus,
    LegResult,
    LimitExceeded,
    MarketClosed,
    MarketStatus,
    OddsChanged,
    OddsPolicy,
    PlaceBet,
    SelfExcluded,
)
from svc.sportsbook.uof import normal_specifiers
from svc.sportsbook.uof_messages import EVENT_ID

Rounding = Literal["half_up", "down"]
Key = tuple[str, int, str, str]
"""What a leg is on: event, market, specifiers sorted by key, outcome."""

PREMATCH_PRODUCERS = frozenset({3})
OVER: frozenset[EventStatus] = frozenset({"ended", "closed", "cancelled", "abandoned"})
SHOWN_PLACES = Decimal("0.000001")
EXACT = Context(prec=200, rounding=ROUND_DOWN)
"""Twenty legs of six digits make 120: the usual 28 would lose some, or refuse to write them."""
HALF = Fraction(1, 2)


class Offer(Struct, frozen=True, kw_only=True):
    """What stands behind one selection right now; `odds` None: no price."""

    odds: Decimal | None
    active: bool
    decided: bool
    market_status: MarketStatus
    producer: int
    event_status: EventStatus
    starts_at: datetime | None
    producer_up: bool = True


class Limits(Struct, frozen=True, kw_only=True):
    """The house's limits per bet, in minor units of any currency."""

    stake_min: int
    stake_max: int
    payout_max: int
    rounding: Rounding = "half_up"


def checked_slip(slip: PlaceBet) -> list[Key]:
    """Return what the legs are on; raises Invalid for a slip that is no bet, or not offered."""
    if slip.kind == "system":
        raise Invalid("system bets are not offered yet")
    if slip.each_way:
        raise Invalid("each-way bets are not offered yet")
    if slip.system_sizes is not None:
        raise Invalid(f"system_sizes does not belong to the kind {slip.kind}")
    if slip.kind == "single" and len(slip.selections) != 1:
        raise Invalid(f"a single has one selection, not {len(slip.selections)}")
    if slip.kind == "accumulator" and len(slip.selections) == 1:
        raise Invalid("an accumulator has two selections or more")
    if len({leg.event_id for leg in slip.selections}) != len(slip.selections):
        raise Invalid("the legs of an accumulator are on different events")
    return [
        (leg.event_id, leg.market_id, normal_specifiers(leg.specifiers), leg.outcome_id)
        for leg in slip.selections
    ]


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
    why = _closed(offer, now) if offer.producer_up else "the source of these odds is down"
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


def _closed(offer: Offer, now: datetime) -> str:
    """Return why a selection takes no bets, or an empty text."""
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


def leg_factor(
    odds: Decimal, result: int, void_factor: Decimal, dead_heat_factor: Decimal
) -> Fraction:
    """Return what multiplies the stake: f = vf + (1 - vf) * win * O * dh.

    Won O, lost 0, void 1, half won (1 + O) / 2, half lost 1/2, dead heat O * dh: the stake is
    divided, not the odds (horseracingqa: 10 at 4/1, dead heat of two, returns 25).
    """
    void = Fraction(void_factor)
    win = 1 if result == 1 else 0
    return void + (1 - void) * win * Fraction(odds) * Fraction(dead_heat_factor)


def leg_result(result: int, void_factor: Decimal) -> LegResult:
    """Return the word for a leg's result; an undecided outcome (-1) leaves it open."""
    if void_factor == 1:
        return "void"
    if result < 0:
        return "open"
    if void_factor > 0:
        return "half_won" if result == 1 else "half_lost"
    return "won" if result == 1 else "lost"


def decided(results: list[LegResult]) -> bool:
    """Tell whether a one-line bet is decided: no leg is open, or one is lost already."""
    return "lost" in results or "open" not in results


def bet_result(results: list[LegResult]) -> BetResult:
    """Return the word for a decided bet; `partial` is one with half results."""
    if "lost" in results:
        return "lost"
    if set(results) == {"void"}:
        return "void"
    return "won" if set(results) <= {"won", "void"} else "partial"


def bet_return(stake: int, factors: list[Fraction], limits: Limits) -> int:
    """Return what a one-line bet pays in minor units, the stake included.

    Rounded once per bet, half up unless the jurisdiction rounds down, then capped.
    """
    value = Fraction(stake)
    for factor in factors:
        value *= factor
    if limits.rounding == "half_up":
        value += HALF
    return min(value.numerator // value.denominator, limits.payout_max)


def period_start(period: str, now: datetime) -> datetime:
    """Return when the current day, week (from Monday) or month began, in UTC."""
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "week":
        return day - timedelta(days=day.weekday())
    if period == "month":
        return day.replace(day=1)
    return day


def potential_payout(stake: int, odds: list[Decimal], limits: Limits) -> int:
    """Return what the bet pays when every leg wins, in minor units."""
    return bet_return(stake, [Fraction(each) for each in odds], limits)
