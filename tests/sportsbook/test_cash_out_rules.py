"""What a running bet is worth and what is paid for it, as a table."""

from decimal import Decimal
from fractions import Fraction

import msgspec
import pytest

from svc.sportsbook import rules_cash_out
from svc.sportsbook.rules_cash_out import Chances
from svc.sportsbook.rules_settlement import Terms

FIVE_PERCENT = Fraction(5, 100)


def terms(stake: int, legs: int = 1, running: Fraction = Fraction(1)) -> Terms:
    return Terms(
        unit_stake=stake, stake=stake, sizes=(legs,), payout_max=1_000_000, running=running
    )


def expected(taken: str, now: str | None = None, **chances: str) -> Fraction:
    found = rules_cash_out.expected_factor(
        Decimal(taken),
        None if now is None else Decimal(now),
        msgspec.convert(chances, Chances),
    )
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("stake", "legs", "margin", "paid"),
    [
        pytest.param(1000, [expected("3.00", "1.50")], FIVE_PERCENT, 1900, id="C1"),
        pytest.param(10_000, [expected("2.50", win="0.60")], Fraction(0), 15_000, id="C2: bet88"),
        pytest.param(1000, [Fraction(1), expected("3.0", win="0.40")], FIVE_PERCENT, 1140, id="C4"),
        pytest.param(1000, [Fraction(0), expected("3.0", win="0.40")], FIVE_PERCENT, 0, id="lost"),
    ],
)
def test_an_offer_is_the_value_less_the_margin(
    stake: int, legs: list[Fraction], margin: Fraction, paid: int
) -> None:
    assert rules_cash_out.offer(terms(stake, len(legs)), legs, [], margin) == paid


def test_the_offer_of_a_real_book_is_a_margin_of_13_3_percent() -> None:
    assert rules_cash_out.offer(terms(10_000), [Fraction(3, 2)], [], Fraction(2, 15)) == 13_000


def test_halves_and_refunds_count_with_their_chances() -> None:
    half = expected("1.90", win="0.4", half_win="0.1", refund="0.2", half_lose="0.1")
    assert half == Fraction("0.4") * Fraction("1.9") + Fraction("0.145") + Fraction("0.25")


def test_only_what_still_runs_is_bought_back() -> None:
    left = terms(1000, running=Fraction(6, 10))
    assert rules_cash_out.offer(left, [Fraction(2)], [], FIVE_PERCENT) == 1140


def test_without_chances_and_without_a_price_nothing_is_offered() -> None:
    assert rules_cash_out.expected_factor(Decimal(2), None, Chances()) is None


@pytest.mark.parametrize(("told", "sold"), [(1, True), (None, True), (-1, False), (-2, False)])
def test_bets_are_bought_back_where_the_feed_does_not_forbid_it(
    told: int | None, *, sold: bool
) -> None:
    assert Chances(cashout_status=told).may_be_sold is sold
