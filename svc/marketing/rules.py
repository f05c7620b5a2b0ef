"""The rules of campaigns, wagering and loyalty: who gets what, in minor units and whole points."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_FLOOR, Decimal
from fractions import Fraction
from math import floor
from typing import Literal

from svc.marketing.contract import BonusKind, Product

MULTIPLIER_MAX = 10
"""How often a bonus may have to be wagered at most (UKGC LCCP 5.1.1, since 19 January 2026)."""


@dataclass(frozen=True, kw_only=True)
class Wagering:
    """What must be staked before a bonus is cash: on one product (UKGC LCCP 5.1.1: never mixed).

    `multiplier` times the bonus, or the bonus and its deposit; bets below `odds_min` (decimal) do
    not count. At most `cap` times the bonus becomes cash.
    """

    product: Product
    multiplier: int
    base: Literal["bonus", "deposit_and_bonus"] = "bonus"
    odds_min: Decimal | None = None
    cap: int


@dataclass(frozen=True, kw_only=True)
class Open:
    """An award that stakes count for; so much is still missing, in minor units."""

    award_id: str
    odds_min: Decimal | None
    missing: int


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
    wagering: Wagering | None = None


WELCOME_SPINS = Campaign(
    campaign="welcome-spins",
    kind="free_spins",
    spins=10,
    game_id="slots",
    bet_size=20,
    valid_for=timedelta(days=7),
)
WELCOME_BONUS = Campaign(
    campaign="welcome-bonus",
    kind="bonus",
    amount=1_000,
    wagering=Wagering(product="casino", multiplier=10, cap=5),
)
DEPOSIT_BONUS = Campaign(
    campaign="first-deposit",
    kind="bonus",
    amount=10_000,
    percent=100,
    wagering=Wagering(
        product="sportsbook",
        multiplier=4,
        base="deposit_and_bonus",
        odds_min=Decimal("1.50"),
        cap=5,
    ),
)
CAMPAIGNS = (WELCOME_SPINS, WELCOME_BONUS, DEPOSIT_BONUS)
"""All campaigns that run; each awards a player once."""


GAME_WEIGHTS: dict[str, Fraction] = {"slots": Fraction(1), "dice": Fraction("0.50")}
"""The part of a round's stake that counts; of other games nothing does. Where the player can lose
little by a stake, less of it counts."""


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


def rewarded(deposit: int) -> int:
    """Return the part of a first deposit that earns a bonus; only that has to be wagered too."""
    return min(deposit, DEPOSIT_BONUS.amount * 100 // DEPOSIT_BONUS.percent)


def wagering_required(terms: Wagering, bonus: int, deposit: int = 0) -> int:
    """Return what must be wagered for a bonus, in minor units: (500 + 75) * 4 = 2,300."""
    base = bonus + deposit if terms.base == "deposit_and_bonus" else bonus
    return base * terms.multiplier


def max_conversion(terms: Wagering, bonus: int) -> int:
    """Return how much of bonus and winnings becomes cash at most, in minor units."""
    return bonus * terms.cap


def counted(stake: int, weight: Fraction) -> int:
    """Return how much of a stake counts, in minor units, rounded once and down.

    1.00 counts as 0.50 in a game of 50 %, and as 0.05 in one of 5 %.
    """
    return floor(stake * weight)


def spread(amount: int, odds: Decimal | None, found: Sequence[Open]) -> list[tuple[Open, int]]:
    """Return which awards an amount counts for, in their order, each up to what it misses.

    A bet counts where its odds are the award's minimum at least; what nobody needs is cut.
    """
    parts: list[tuple[Open, int]] = []
    for award in found:
        if odds is not None and award.odds_min is not None and odds < award.odds_min:
            continue
        part = min(amount, award.missing)
        if part > 0:
            parts.append((award, part))
            amount -= part
    return parts


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
