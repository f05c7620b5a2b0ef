"""The rules of campaigns and loyalty, as tables."""

from datetime import UTC, datetime, timedelta

import pytest

from svc.marketing import rules

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("deposit", "bonus"), [(1, 1), (2_500, 2_500), (10_000, 10_000), (10_001, 10_000)]
)
def test_a_first_deposit_is_doubled_up_to_the_campaigns_amount(deposit: int, bonus: int) -> None:
    assert rules.deposit_bonus(deposit) == bonus


@pytest.mark.parametrize(
    ("stake", "tier", "points"),
    [
        (0, "bronze", 0),
        (99, "bronze", 0),
        (100, "bronze", 1),
        (199, "bronze", 1),
        (1_000, "silver", 11),
        (999, "silver", 10),
        (1_000, "gold", 12),
        (1_000, "platinum", 15),
        (9_007_199_254_740_991, "bronze", 90_071_992_547_409),
    ],
)
def test_points_are_rounded_down_once(stake: int, tier: str, points: int) -> None:
    assert rules.earned("sportsbook", stake, tier) == points


@pytest.mark.parametrize(
    ("points", "current", "tier"),
    [
        (0, "bronze", "bronze"),
        (999, "bronze", "bronze"),
        (1_000, "bronze", "silver"),
        (20_000, "bronze", "platinum"),
        (0, "gold", "gold"),
        (-5, "bronze", "bronze"),
    ],
)
def test_a_tier_is_reached_at_once_and_not_lost_by_a_reversal(
    points: int, current: str, tier: str
) -> None:
    assert rules.tier_for(points, current) == tier


def test_the_next_tier_tells_how_far_it_is() -> None:
    assert rules.next_tier(400, "bronze") == ("silver", 600)
    assert rules.next_tier(0, "gold") == ("platinum", 20_000)
    assert rules.next_tier(50_000, "platinum") is None


@pytest.mark.parametrize(
    ("amount", "newer", "balance", "left"),
    [
        (1_000, 0, None, 1_000),
        (1_000, 0, 1_000, 1_000),
        (1_000, 0, 300, 300),
        (1_000, 0, 5_000, 1_000),
        (1_000, 500, 500, 0),
        (1_000, 500, 700, 200),
        (1_000, 0, 0, 0),
    ],
)
def test_the_oldest_bonus_is_played_first(
    amount: int, newer: int, balance: int | None, left: int
) -> None:
    assert rules.left_of_bonus(amount, newer, balance) == left


def test_an_exclusion_ends_at_its_instant() -> None:
    assert rules.is_excluded(NOW + timedelta(seconds=1), NOW)
    assert not rules.is_excluded(NOW, NOW)
    assert not rules.is_excluded(None, NOW)
