"""What a running bet is worth now, and what the house pays for it.

The value is the stake times the factors of the decided legs times the expected factors of the open
ones, over all lines; the house keeps its margin. The expected factor comes from the feed's chances
(docs.sportradar.com/uof, cash-out): p_win * O + p_half_win * (1 + O) / 2 + p_refund + p_half_lose /
2; where it tells none, from the odds taken over the odds now.
"""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from msgspec import Struct

from svc.sportsbook.rules_settlement import Terms, paid, sum_of_lines

AVAILABLE = 1


class Chances(Struct, frozen=True, kw_only=True):
    """What the feed says of an outcome; `cashout_status` is 1 where bets on it may be sold back.

    None where it does not say: as with the status of a market, what is not said stands open.
    """

    cashout_status: int | None = None
    win: Decimal | None = None
    half_win: Decimal | None = None
    refund: Decimal | None = None
    half_lose: Decimal | None = None

    @property
    def may_be_sold(self) -> bool:
        """Tell whether bets on the outcome may be bought back now."""
        return self.cashout_status in (None, AVAILABLE)


def expected_factor(taken: Decimal, now: Decimal | None, chances: Chances) -> Fraction | None:
    """Return what an open leg is expected to multiply its stake by; None when nothing says it."""
    odds = Fraction(taken)
    if chances.win is not None:
        half_win, refund = chances.half_win or Decimal(0), chances.refund or Decimal(0)
        half_lose = chances.half_lose or Decimal(0)
        return (
            Fraction(chances.win) * odds
            + Fraction(half_win) * (1 + odds) / 2
            + Fraction(refund)
            + Fraction(half_lose) / 2
        )
    return None if now is None else odds / Fraction(now)


def offer(
    terms: Terms, win: Sequence[Fraction], place: Sequence[Fraction], margin: Fraction
) -> int:
    """Return what is paid for all that still runs, in minor units: never more than the cap."""
    value = sum_of_lines(win, terms.sizes)
    if place:
        value += sum_of_lines(place, terms.sizes)
    return paid(value * terms.unit_stake * (1 - margin), terms)
