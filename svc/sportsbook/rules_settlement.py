"""What legs and bets are worth: exact fractions throughout, rounded once per bet.

A leg multiplies its line's stake by f = vf + (1 - vf) * win * O * dh (docs.sportradar.com/uof, bet
settlement). A bet pays its unit stake times the sum, over all its lines, of the product of their
legs (Wikipedia, "Mathematics of bookmaking"); each way, the place halves run among themselves.
"""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Literal

from msgspec import Struct

from svc.sportsbook.contract import BetResult, LegResult
from svc.sportsbook.rules_systems import is_lucky

Rounding = Literal["half_up", "down"]
ONE = Fraction(1)
LUCKY_ALL_WON = Fraction(1, 10)
MILLION = 1_000_000
REMEMBERED_FACTORS = 4096


class Terms(Struct, frozen=True, kw_only=True):
    """What a bet was struck on, in minor units.

    `sizes` are the lengths of its lines, `stake` the whole stake, `running` the part of it that
    was not cashed out, `lucky` whether the extras of a Lucky 15 were promised.
    """

    unit_stake: int
    stake: int
    sizes: tuple[int, ...]
    payout_max: int
    running: Fraction = ONE
    free: bool = False
    lucky: bool = False
    rounding: Rounding = "half_up"


class LegState(Struct, frozen=True):
    """What is known of a leg: the word for it, and what it multiplies its stake by."""

    word: LegResult
    factor: Fraction


class Verdict(Struct, frozen=True):
    """How a bet ended and what it pays, in minor units."""

    result: BetResult
    payout: int


OPEN = LegState("open", ONE)
VOID = LegState("void", ONE)


@lru_cache(maxsize=REMEMBERED_FACTORS)
def leg_factor(
    odds: Decimal,
    result: int,
    void_factor: Decimal,
    dead_heat_factor: Decimal,
    deduction: Decimal = Decimal(0),
) -> Fraction:
    """Return what multiplies the stake: f = vf + (1 - vf) * win * O' * dh.

    Won O, lost 0, void 1, half won (1 + O) / 2, half lost 1/2, dead heat O * dh: the stake is
    divided, not the odds (horseracingqa: 10 at 4/1, dead heat of two, returns 25). A deduction r
    by Rule 4 takes from the winnings: O' = 1 + (O - 1) * (1 - r).
    """
    void = Fraction(void_factor)
    if result != 1:
        return void
    reduced = 1 + (Fraction(odds) - 1) * (1 - Fraction(deduction))
    return void + (1 - void) * reduced * Fraction(dead_heat_factor)


def leg_result(result: int, void_factor: Decimal) -> LegResult:
    """Return the word for a leg's result; an undecided outcome (-1) leaves it open."""
    if void_factor == 1:
        return "void"
    if result < 0:
        return "open"
    if void_factor > 0:
        return "half_won" if result == 1 else "half_lost"
    return "won" if result == 1 else "lost"


def sum_of_lines(factors: Sequence[Fraction], sizes: Sequence[int]) -> Fraction:
    """Return the sum over all lines of the product of their legs.

    The lines of k legs sum up to the elementary symmetric polynomial of degree k: no line is
    ever written out, so ten of twenty costs as little as a Goliath.
    """
    if len(sizes) == 1 and sizes[0] == len(factors):
        product = factors[0]
        for factor in factors[1:]:
            product *= factor
        return product
    sums = [ONE] + [Fraction(0)] * sizes[-1]
    for factor in factors:
        for size in range(sizes[-1], 0, -1):
            sums[size] += factor * sums[size - 1]
    return sum((sums[size] for size in sizes), Fraction(0))


def is_decided(legs: Sequence[LegState], sizes: Sequence[int]) -> bool:
    """Tell whether lines are decided: no leg is open, or every line has a lost one already."""
    if all(leg.word != "open" for leg in legs):
        return True
    return sum(1 for leg in legs if leg.word != "lost") < sizes[0]


def verdict(
    terms: Terms, win: Sequence[LegState], place: Sequence[LegState] = ()
) -> Verdict | None:
    """Return how a bet ended, None while it is open; `place` are the place halves, if any.

    A bet pays once, when all its lines are decided.
    """
    if not is_decided(win, terms.sizes) or (place and not is_decided(place, terms.sizes)):
        return None
    value = sum_of_lines([leg.factor for leg in win], terms.sizes)
    if place:
        value += sum_of_lines([leg.factor for leg in place], terms.sizes)
    exact = value * terms.unit_stake
    if terms.lucky:
        exact += _lucky_extra(exact, terms, win, place)
    payout = paid(exact, terms)
    return Verdict(_word(payout, win, place), payout)


def paid(exact: Fraction, terms: Terms) -> int:
    """Return what is paid of an exact return: the part that runs, capped, rounded once.

    Half up unless the jurisdiction rounds down. Of a free bet the stake is not returned.
    """
    if terms.free:
        exact = max(exact - terms.stake, Fraction(0))
    if terms.running is not ONE:
        exact *= terms.running
    return min(rounded(exact, terms.rounding), terms.payout_max)


def rounded(exact: Fraction, rounding: Rounding) -> int:
    """Return whole minor units: half up, or down where the jurisdiction wants it."""
    above, below = exact.as_integer_ratio()
    return (2 * above + below) // (2 * below) if rounding == "half_up" else above // below


def all_won(terms: Terms, odds: Sequence[Decimal], place: Sequence[Decimal] = ()) -> Fraction:
    """Return the exact return of a bet when every leg wins, before cap and rounding."""
    value = sum_of_lines([Fraction(each) for each in odds], terms.sizes)
    if place:
        value += sum_of_lines([Fraction(each) for each in place], terms.sizes)
    return value * terms.unit_stake


def all_won_plainly(
    stake: int, odds: Sequence[Decimal], payout_max: int, rounding: Rounding
) -> tuple[int, int]:
    """Return what a single or an accumulator returns when every leg wins, in whole numbers only.

    That is what one unit returns, in millionths and cut, and the payout: the same as by fractions,
    at a tenth of their price, for the bets that nearly all are.
    """
    above, below = odds[0].as_integer_ratio()
    for each in odds[1:]:
        numerator, denominator = each.as_integer_ratio()
        above, below = above * numerator, below * denominator
    exact = stake * above
    payout = (2 * exact + below) // (2 * below) if rounding == "half_up" else exact // below
    return above * MILLION // below, min(payout, payout_max)


def _lucky_extra(
    exact: Fraction, terms: Terms, win: Sequence[LegState], place: Sequence[LegState]
) -> Fraction:
    """Return the extra of a Lucky 15, 31 or 63 (betandskill.com, help.marathonbet.com).

    All winners: a tenth of return less stake; one winner only: the profit of its single again.
    Off when a leg is void, and each way.
    """
    words = [leg.word for leg in win]
    if place or "void" in words or not is_lucky(len(win), terms.sizes):
        return Fraction(0)
    if all(word == "won" for word in words):
        return (exact - terms.stake) * LUCKY_ALL_WON
    if words.count("won") == 1 and words.count("lost") == len(words) - 1:
        return (win[words.index("won")].factor - 1) * terms.unit_stake
    return Fraction(0)


def _word(payout: int, win: Sequence[LegState], place: Sequence[LegState]) -> BetResult:
    """Return the word for a decided bet; `partial` is all between won and lost."""
    words = {leg.word for leg in (*win, *place)}
    if words == {"void"}:
        return "void"
    if words <= {"won", "void"}:
        return "won"
    return "lost" if payout == 0 else "partial"
