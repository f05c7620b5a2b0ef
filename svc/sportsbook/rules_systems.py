"""What bets are made of: the named systems, how many lines a bet has, and each-way terms.

Sources: the systems as Wikipedia, "Full cover bet", lists them; place terms as British bookmakers
publish them (worldwidewilkes.co.uk, monkeytilt.com), both for races and their like.
"""

from decimal import Decimal
from fractions import Fraction
from math import comb

from msgspec import Struct

from svc.mesh.errors import Invalid
from svc.sportsbook.contract import BetKind, SystemName

SYSTEMS: dict[SystemName, tuple[int, int]] = {
    "trixie": (3, 2),
    "patent": (3, 1),
    "yankee": (4, 2),
    "lucky15": (4, 1),
    "canadian": (5, 2),
    "super_yankee": (5, 2),
    "lucky31": (5, 1),
    "heinz": (6, 2),
    "lucky63": (6, 1),
    "super_heinz": (7, 2),
    "goliath": (8, 2),
}
"""How many legs a named system has, and its shortest lines: it covers all from these up."""
LUCKY_LEGS = range(4, 7)
"""Lucky 15, 31 and 63: every line of four, five or six legs, the singles among them."""

PLACE_MARKETS: dict[int, tuple[int, str]] = {
    1110: (1091, "winners"),
    1101: (1102, "winners"),
    804: (805, "pos"),
}
"""Winner markets that may be bet on each way, with the market of the feed that says who was placed
(`Top {winners}`, `Top {pos} finish`) and the specifier that says among how many."""


class PlaceTerms(Struct, frozen=True):
    """What the place half of an each-way bet gets: part of the odds, for so many places."""

    fraction: Fraction
    places: int


def sizes_of(
    kind: BetKind,
    legs: int,
    sizes: list[int] | None,
    name: SystemName | None,
) -> tuple[int, ...]:
    """Return the lengths of a bet's lines, ascending; raises Invalid for what is no bet.

    Each length stands for all lines of that many legs: k of n is C(n, k) lines.
    """
    if kind != "system":
        if sizes is not None or name is not None:
            raise Invalid(f"system_sizes and system do not belong to the kind {kind}")
        if kind == "single" and legs != 1:
            raise Invalid(f"a single has one selection, not {legs}")
        if kind == "accumulator" and legs == 1:
            raise Invalid("an accumulator has two selections or more")
        return (legs,)
    if (sizes is None) == (name is None):
        raise Invalid("a system has either system_sizes or system, the name of one")
    if name is not None:
        wanted, shortest = SYSTEMS[name]
        if legs != wanted:
            raise Invalid(f"a {name.replace('_', ' ')} has {wanted} selections, not {legs}")
        return tuple(range(shortest, wanted + 1))
    found = tuple(sorted(sizes or ()))
    if not found or len(set(found)) != len(found) or found[-1] > legs:
        raise Invalid(f"system_sizes are different numbers from 1 to {legs}, the selections")
    if legs == 1:
        raise Invalid("a system has two selections or more")
    return found


def lines(legs: int, sizes: tuple[int, ...]) -> int:
    """Return how many lines a bet has: each costs the unit stake (each way: twice)."""
    return sum(comb(legs, size) for size in sizes)


def is_lucky(legs: int, sizes: tuple[int, ...]) -> bool:
    """Tell whether a bet is a Lucky 15, 31 or 63, however it was asked for."""
    return legs in LUCKY_LEGS and sizes == tuple(range(1, legs + 1))


def place_terms(runners: int, *, handicap: bool = False) -> PlaceTerms | None:
    """Return the place terms of a race by its runners, None where only the winner is paid."""
    if handicap and runners >= 16:  # noqa: PLR2004 - the table of terms
        return PlaceTerms(Fraction(1, 4), 4)
    if handicap and runners >= 12:  # noqa: PLR2004
        return PlaceTerms(Fraction(1, 4), 3)
    if runners >= 8:  # noqa: PLR2004
        return PlaceTerms(Fraction(1, 5), 3)
    if runners >= 5:  # noqa: PLR2004
        return PlaceTerms(Fraction(1, 4), 2)
    return None


def place_odds(odds: Decimal, terms: PlaceTerms) -> Decimal:
    """Return the odds of the place half: 1 + (O - 1) * fraction, exact (quarters and fifths)."""
    exact = 1 + (Fraction(odds) - 1) * terms.fraction
    return Decimal(exact.numerator) / Decimal(exact.denominator)


def place_market(market_id: int, terms: PlaceTerms) -> tuple[int, str] | None:
    """Return id and specifiers of the market that decides the place half, None where none does."""
    known = PLACE_MARKETS.get(market_id)
    return None if known is None else (known[0], f"{known[1]}={terms.places}")
