"""The sportsbook's settings, with what holds when nobody gives them."""

from datetime import timedelta
from fractions import Fraction
from typing import Any, cast

from svc.mesh.context import Context
from svc.sportsbook.rules import Limits
from svc.sportsbook.rules_settlement import Rounding

PENDING_RETRY = timedelta(seconds=2)
"""A bet without an answer is asked about again when it is older than this."""
PENDING_GIVEN_UP = timedelta(seconds=120)
"""Older than this its price is too old to be kept: the stake is rolled back."""

DEFAULTS = {
    "SPORTSBOOK_STAKE_MIN": "10",
    "SPORTSBOOK_STAKE_MAX": "1000000",
    "SPORTSBOOK_PAYOUT_MAX": "100000000",
    "SPORTSBOOK_PAYOUT_DAY_MAX": "0",
    "SPORTSBOOK_EXPOSURE_MAX": "1000000000",
    "SPORTSBOOK_LIVE_DELAY_MS": "1000",
    "SPORTSBOOK_LIVE_ODDS_SECONDS": "600",
    "SPORTSBOOK_LUCKY_EXTRAS": "off",
    "SPORTSBOOK_CASH_OUT_MARGIN": "0.05",
    "SPORTSBOOK_CASH_OUT_SECONDS": "10",
    "ROUNDING": "half_up",
}
"""Money in minor units; ROUNDING is half_up or down, as the jurisdiction wants it. The exposure is
what the house can lose on one outcome; PAYOUT_DAY_MAX is what one player may be paid in a day (UTC)
over all bets, 0 for as much as they win. LUCKY_EXTRAS (on, off): more for a Lucky 15 with one
winner or without a loser. A live bet waits LIVE_DELAY_MS before its price is looked at again. While
an event is being played, its odds hold for LIVE_ODDS_SECONDS after their producer spoke of it last
(0: for ever; the feed says nothing of what stays as it is: a quiet minute is no fault)."""


def setting(context: Context, name: str) -> str:
    """Return a setting, or its default."""
    try:
        return context.setting(name)
    except KeyError:
        return DEFAULTS[name]


def limits(context: Context) -> Limits:
    """Return the house's limits per bet; ValueError when a setting makes no sense."""
    rounding = setting(context, "ROUNDING")
    if rounding not in {"half_up", "down"}:
        raise ValueError(f"ROUNDING is {rounding!r}, not half_up or down")
    return Limits(
        stake_min=int(setting(context, "SPORTSBOOK_STAKE_MIN")),
        stake_max=int(setting(context, "SPORTSBOOK_STAKE_MAX")),
        payout_max=int(setting(context, "SPORTSBOOK_PAYOUT_MAX")),
        payout_day_max=int(setting(context, "SPORTSBOOK_PAYOUT_DAY_MAX")) or None,
        exposure_max=int(setting(context, "SPORTSBOOK_EXPOSURE_MAX")),
        rounding=cast("Rounding", cast("Any", rounding)),
    )


def live_delay(context: Context) -> timedelta:
    """Return how long a bet on an event that is being played waits for its second look."""
    return timedelta(milliseconds=int(setting(context, "SPORTSBOOK_LIVE_DELAY_MS")))


def live_odds_hold(context: Context) -> timedelta | None:
    """Return for how long the odds of an event that is being played hold; None for ever."""
    return timedelta(seconds=int(setting(context, "SPORTSBOOK_LIVE_ODDS_SECONDS"))) or None


def gives_lucky_extras(context: Context) -> bool:
    """Tell whether bets struck now are promised the extras of a Lucky 15."""
    return setting(context, "SPORTSBOOK_LUCKY_EXTRAS") == "on"


def cash_out_margin(context: Context) -> Fraction:
    """Return the part of a bet's value that the house keeps when it buys the bet back."""
    return Fraction(setting(context, "SPORTSBOOK_CASH_OUT_MARGIN"))


def cash_out_holds(context: Context) -> timedelta:
    """Return how long an offer to buy a bet back holds."""
    return timedelta(seconds=int(setting(context, "SPORTSBOOK_CASH_OUT_SECONDS")))
