"""The sportsbook's settings, with what holds when nobody gives them."""

from datetime import timedelta
from typing import Any, cast

from svc.mesh.context import Context
from svc.sportsbook.rules import Limits, Rounding

PENDING_RETRY = timedelta(seconds=2)
"""A bet without the wallet's answer is asked about again when it is older than this."""
PENDING_GIVEN_UP = timedelta(seconds=120)
"""Older than this its price is too old to be kept: the stake is rolled back."""

DEFAULTS = {
    "SPORTSBOOK_STAKE_MIN": "10",
    "SPORTSBOOK_STAKE_MAX": "1000000",
    "SPORTSBOOK_PAYOUT_MAX": "100000000",
    "ROUNDING": "half_up",
}
"""Money in minor units; ROUNDING is half_up or down, as the jurisdiction wants it."""


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
        rounding=cast("Rounding", cast("Any", rounding)),
    )
