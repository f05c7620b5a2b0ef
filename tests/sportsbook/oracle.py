"""What a bet pays, reckoned apart from the rules: every line written out, case by case.

It knows nothing of the service: a leg is its odds and, in words, what became of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations


@dataclass(frozen=True)
class Runner:
    """A leg: decimal odds, its fate, how many shared the place (1: nobody), the Rule 4 percent."""

    odds: Fraction
    fate: str
    shared: int = 1
    rule4: int = 0

    def returns(self, stake: Fraction) -> Fraction:
        """Return what comes back of a stake on this leg alone."""
        profit_per_unit = (self.odds - 1) * (100 - self.rule4) / 100
        match self.fate:
            case "won":  # the stake is divided among those who share the place
                winning = stake / self.shared
                return winning + winning * profit_per_unit
            case "void":
                return stake
            case "half won":
                return stake / 2 + (stake / 2 + stake / 2 * profit_per_unit) / self.shared
            case "half lost":
                return stake / 2
            case _:
                return Fraction(0)


def line_returns(line: tuple[Runner, ...], unit: int) -> Fraction:
    """Let the whole return of each leg run on to the next."""
    running = Fraction(unit)
    for runner in line:
        running = runner.returns(running)
    return running


def lines(runners: list[Runner], sizes: tuple[int, ...]) -> Iterator[tuple[Runner, ...]]:
    """Write out all lines of these lengths."""
    for size in sizes:
        yield from combinations(runners, size)


def returns(runners: list[Runner], sizes: tuple[int, ...], unit: int) -> Fraction:
    """Return the exact return of a bet."""
    return sum((line_returns(line, unit) for line in lines(runners, sizes)), Fraction(0))


def half_up(exact: Fraction) -> int:
    """Round as at school."""
    whole, rest = divmod(exact, 1)
    return int(whole) + (1 if rest >= Fraction(1, 2) else 0)
