"""The rules of campaigns and loyalty: who gets what, in minor units and whole points."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_FLOOR, Decimal
from typing import Literal

from svc.marketing.contract import BonusKind

Product = Literal["sportsbook", "casino"]


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """What a campaign gives: `amount` in minor units at most, or spin chances for a game."""

    campaign: str
    kind: BonusKind
    amount: int = 0
    percent: int = 100
    spins: int = 0
    game_id: str = ""
    bet_size: int = 0
    valid_for: timedelta = timedelta(days=30)


WELCOME_SPINS = Campaign(
    campaign="welcome-spins",
    kind="free_spins",
    spins=10,
    game_id="slots",
    bet_size=20,
    valid_for=timedelta(days=7),
)
WELCOME_BONUS = Campaign(campaign="welcome-bonus", kind="bonus", amount=1_000)
DEPOSIT_BONUS = Campaign(campaign="first-deposit", kind="bonus", amount=10_000, percent=100)
CAMPAIGNS = (WELCOME_SPINS, WELCOME_BONUS, DEPOSIT_BONUS)
"""All campaigns that run; each awards a player once."""


@dataclass(frozen=True)
class Tier:
    """A rung of the loyalty ladder: reached at `points`, earns `multiplier` times the rate."""

    name: str
    points: int
    multiplier: Decimal


TIERS = (
    Tier("bronze", 0, Decimal(1)),
    Tier("silver", 1_000, Decimal("1.10")),
    Tier("gold", 5_000, Decimal("1.25")),
    Tier("platinum", 20_000, Decimal("1.50")),
)
RATES: dict[Product, Decimal] = {"sportsbook": Decimal("0.01"), "casino": Decimal("0.01")}
"""Points per minor unit staked: one for each 1.00 of a currency with two digits."""


def deposit_bonus(deposit: int) -> int:
    """Return the bonus on a first deposit in minor units: 100 %, at most 100.00."""
    return min(deposit * DEPOSIT_BONUS.percent // 100, DEPOSIT_BONUS.amount)


def earned(product: Product, stake: int, tier: str) -> int:
    """Return the points of a settled stake in minor units.

    floor(stake * rate(product) * tier multiplier): the usual rule of loyalty programmes, rounded
    once and down, so that splitting a stake never earns more.
    """
    points = Decimal(stake) * RATES[product] * tier_named(tier).multiplier
    return int(points.to_integral_value(rounding=ROUND_FLOOR))


def tier_named(name: str) -> Tier:
    """Return a tier by its name; KeyError for another one."""
    return {tier.name: tier for tier in TIERS}[name]


def tier_for(points: int, current: str) -> str:
    """Return the tier of a number of points: up at once, never down by a reversal alone."""
    reached = [tier for tier in TIERS if points >= tier.points]
    best = reached[-1] if reached else TIERS[0]
    return max(best, tier_named(current), key=lambda tier: tier.points).name


def next_tier(points: int, current: str) -> tuple[str, int] | None:
    """Return the tier above the current one and the points still needed; None at the top."""
    above = [tier for tier in TIERS if tier.points > tier_named(current).points]
    return (above[0].name, max(above[0].points - points, 0)) if above else None


def is_excluded(excluded_until: datetime | None, at: datetime) -> bool:
    """Say whether a player may get nothing at an instant (UKGC LCCP 3.5: no bonus either)."""
    return excluded_until is not None and at < excluded_until


def left_of_bonus(amount: int, newer: int, balance: int | None) -> int:
    """Return what is left of a bonus, in minor units, when it runs out.

    The oldest bonus is played first: of the bonus money at hand, `newer` belongs to later awards.
    Without a known balance all of it may be left; the wallet never takes more than there is.
    """
    return amount if balance is None else min(amount, max(balance - newer, 0))
