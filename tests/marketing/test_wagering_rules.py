"""The rules of wagering, as tables: what must be staked, what counts, and for which bonus."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, strategies as st

from svc.marketing import rules
from svc.marketing.rules import Open, Wagering

BOTH = Wagering(product="sportsbook", multiplier=4, base="deposit_and_bonus", cap=5)
ALONE = Wagering(product="casino", multiplier=10, cap=5)
MONEY = [campaign for campaign in rules.CAMPAIGNS if campaign.kind == "bonus"]


@pytest.mark.parametrize(
    ("terms", "bonus", "deposit", "required"),
    [(BOTH, 75_00, 500_00, 2_300_00), (ALONE, 10_00, 0, 100_00), (ALONE, 10_00, 500_00, 100_00)],
)
def test_what_must_be_wagered(terms: Wagering, bonus: int, deposit: int, required: int) -> None:
    assert rules.wagering_required(terms, bonus, deposit) == required


@pytest.mark.parametrize(
    ("stake", "weight", "counts"),
    [
        (1_00, Fraction("0.50"), 50),
        (1_00, Fraction("0.05"), 5),
        (1_00, Fraction(1), 1_00),
        (19, Fraction("0.05"), 0),
        (39, Fraction("0.05"), 1),
        (3, Fraction("0.50"), 1),
        (1_00, Fraction(0), 0),
    ],
)
def test_a_stake_counts_by_its_games_weight_rounded_down_once(
    stake: int, weight: Fraction, counts: int
) -> None:
    assert rules.counted(stake, weight) == counts


def test_campaigns_ask_for_no_more_than_is_allowed_and_for_one_product() -> None:
    for campaign in MONEY:
        terms = campaign.wagering
        assert terms is not None
        assert 1 <= terms.multiplier <= rules.MULTIPLIER_MAX == 10
        assert (terms.odds_min is not None) == (terms.product == "sportsbook")
        assert rules.max_conversion(terms, 75) == 75 * terms.cap
    assert len({campaign.wagering.product for campaign in MONEY if campaign.wagering}) == len(MONEY)


def test_only_the_part_of_a_deposit_that_is_rewarded_is_to_be_wagered() -> None:
    assert [rules.rewarded(deposit) for deposit in (1, 10_000, 10_001)] == [1, 10_000, 10_000]


def award(name: str, missing: int, odds_min: str | None = "1.50") -> Open:
    return Open(award_id=name, odds_min=Decimal(odds_min) if odds_min else None, missing=missing)


@pytest.mark.parametrize(
    ("amount", "odds", "found", "parts"),
    [
        (100, "1.50", [award("a", 300)], [("a", 100)]),
        (100, "1.49", [award("a", 300)], []),
        (100, "1.5", [award("a", 60), award("b", 60)], [("a", 60), ("b", 40)]),
        (100, "9.00", [award("a", 60)], [("a", 60)]),
        (100, "1.60", [award("a", 60, "2.00"), award("b", 60)], [("b", 60)]),
        (100, None, [award("a", 100, None)], [("a", 100)]),
        (0, "2.00", [award("a", 100)], []),
        (100, "2.00", [], []),
    ],
)
def test_the_oldest_bonus_comes_first_and_what_is_too_much_goes_to_the_next(
    amount: int, odds: str | None, found: list[Open], parts: list[tuple[str, int]]
) -> None:
    spread = rules.spread(amount, Decimal(odds) if odds else None, found)
    assert [(each.award_id, part) for each, part in spread] == parts


@given(amount=st.integers(0, 1_000), missing=st.lists(st.integers(1, 300), max_size=5))
def test_no_more_counts_than_was_staked_or_is_missing(amount: int, missing: list[int]) -> None:
    spread = rules.spread(amount, None, [award("a", each) for each in missing])
    assert sum(part for _, part in spread) == min(amount, sum(missing))
    assert all(0 < part <= each.missing for each, part in spread)
