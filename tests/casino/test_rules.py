"""The casino's rules: fair numbers, exact returns, payouts to the minor unit."""

import itertools
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, strategies as st

from svc.casino import rules
from svc.mesh.errors import Invalid

SEED = "a3f1c2d4e5b60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DICE = rules.GAMES["dice"]
SLOTS = rules.GAMES["slots"]


def dice(target: int, stake: int, *, over: bool, nonce: int = 0) -> rules.Result:
    return rules.play(DICE, {"target": target, "over": over}, stake, (SEED, "player-42"), nonce)


def test_the_published_vector_of_commitment_and_digest_holds() -> None:
    assert (
        rules.commitment(SEED) == "808eabce95ad39ee0e58f13bba1ba861571bf729f9f99ce334f331fe0d335c03"
    )
    assert rules.digest(SEED, "player-42", 0, 0).hex().startswith("872a52520290f71a")


def test_a_roll_is_the_first_eight_bytes_modulo_the_faces() -> None:
    assert dice(50, 100, over=True).outcome["roll"] == 0x872A52520290F71A % 10_000


def test_a_number_that_would_favour_small_results_is_thrown_away() -> None:
    draws = rules.Draws(SEED, "player-42", 0)
    first = int.from_bytes(rules.digest(SEED, "player-42", 0, 0)[:8], "big")
    sides = first  # the largest multiple of `sides` below 2^64 is `first` itself: it is rejected
    assert draws.below(sides) == (
        int.from_bytes(rules.digest(SEED, "player-42", 0, draws.cursor - 1)[:8], "big") % sides
    )
    assert draws.cursor > 1


@pytest.mark.parametrize(
    ("chance", "multiplier"),
    [(50, 19_800), (98, 10_102), (2, 495_000), (33, 30_000), (7, 141_428), (66, 15_000)],
)
def test_dice_pays_99_by_the_chance_rounded_down_to_four_decimals(
    chance: int, multiplier: int
) -> None:
    assert rules.dice_multiplier(chance) == multiplier


def test_no_dice_bet_returns_more_than_99_percent_and_none_much_less() -> None:
    returns = [rules.dice_return(chance) for chance in range(2, 99)]
    assert max(returns) == Fraction(99, 100)
    assert min(returns) > Fraction(9899, 10_000)


@given(
    target=st.integers(2, 98), over=st.booleans(), nonce=st.integers(0, 10_000),
    stake=st.integers(10, 100_000),
)  # fmt: skip
def test_a_dice_payout_follows_from_roll_and_multiplier(
    target: int, over: bool, nonce: int, stake: int
) -> None:
    result = dice(target, stake, over=over, nonce=nonce)
    roll = result.outcome["roll"]
    chance = 100 - target if over else target
    won = roll >= target * 100 if over else roll < target * 100
    assert result.outcome["win"] is won
    assert result.payout == (stake * (990_000 // chance) // 10_000 if won else 0)


def test_every_roll_wins_either_over_or_under() -> None:
    for nonce in range(200):
        wins = [dice(37, 100, over=over, nonce=nonce).outcome["win"] for over in (True, False)]
        assert sorted(wins) == [False, True]


def test_slots_return_is_counted_over_all_stops_and_published_as_text() -> None:
    total = sum(
        rules.slots_pay((a, b, c))
        for a, b, c in itertools.product(rules.STRIP, rules.STRIP, rules.STRIP)
    )
    assert Fraction(total, 20**3) == Fraction(952, 1000)
    assert SLOTS.rtp == "0.9520"
    assert DICE.rtp == "0.9900"


@pytest.mark.parametrize(
    ("reels", "pay"),
    [
        (("seven", "seven", "seven"), 750), (("cherry", "cherry", "cherry"), 15),
        (("cherry", "cherry", "bell"), 5), (("cherry", "bell", "cherry"), 1),
        (("bell", "cherry", "cherry"), 0), (("lemon", "lemon", "orange"), 0),
    ],
)  # fmt: skip
def test_slots_pay_by_the_table(reels: tuple[str, str, str], pay: int) -> None:
    assert rules.slots_pay(reels) == pay


def test_a_slots_round_uses_one_number_per_reel() -> None:
    result = rules.play(SLOTS, None, 100, (SEED, "player-42"), 7)
    draws = rules.Draws(SEED, "player-42", 7)
    assert result.outcome["stops"] == [draws.below(20) for _ in range(3)]
    assert result.payout == 100 * int(result.outcome["multiplier"])


@pytest.mark.parametrize(
    ("choice", "field"),
    [
        ({"target": 1, "over": True}, "$.target"),
        ({"target": 99, "over": True}, "$.target"),
        ({"target": "50", "over": True}, "$.target"),
        ({"target": 50}, "over"),
        ({"target": 50, "over": True, "roll": 1}, "roll"),
        (None, "target"),
    ],
)
def test_a_wrong_choice_is_refused_by_field(choice: dict[str, Any] | None, field: str) -> None:
    with pytest.raises(Invalid) as refusal:
        rules.read_choice(DICE, choice)
    assert field in refusal.value.detail


def test_after_a_refund_stakes_stay_small_for_a_day() -> None:
    refunded = NOW - timedelta(hours=23)
    assert rules.highest_stake(DICE, None, NOW) == 100_000
    assert rules.highest_stake(DICE, refunded, NOW) == 10_000
    assert rules.highest_stake(DICE, refunded, NOW + timedelta(hours=1)) == 100_000


def test_two_bodies_that_differ_only_in_key_order_are_the_same_request() -> None:
    one = rules.request_hash("s", 100, "EUR", {"target": 50, "over": True})
    same = rules.request_hash("s", 100, "EUR", {"over": True, "target": 50})
    other = rules.request_hash("s", 101, "EUR", {"over": True, "target": 50})
    assert one == same != other
