"""The rules of jackpots, raffles and tournaments, with published vectors."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, strategies as st

from svc.gaming import rules
from svc.gaming.rules import E4, Pot

SEED = "a3f1c2d4e5b60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90"
EMPTY = Pot(
    seed=10_000, cap=100_000, main_e4=0, reserve_e4=0, contributed_e4=0, topped_up_e4=0, paid=0,
    target=100_000,
)  # fmt: skip


def balanced(pot: Pot) -> bool:
    return pot.contributed_e4 + pot.topped_up_e4 == pot.main_e4 + pot.reserve_e4 + pot.paid * E4


def test_one_percent_of_250_and_333_and_1_is_exactly_5_84() -> None:
    pot = EMPTY
    for stake in (250, 333, 1):
        pot = rules.contribute(pot, stake)
    assert pot.contributed_e4 == 58_400
    assert pot.main_e4 + pot.reserve_e4 == 58_400
    assert (pot.main_e4, pot.reserve_e4) == (46_720, 11_680)
    assert pot.value == 10_004


def test_the_bet_that_lifts_the_pot_to_its_target_wins_and_the_remainder_carries() -> None:
    pot = replace(EMPTY, target=10_001)
    before = rules.contribute(pot, 124)
    assert not rules.drops(before)
    lifted = rules.contribute(before, 2)
    assert rules.drops(lifted)
    prize, following = rules.pay_out(lifted, 50_000)
    assert prize == 10_001
    assert following.value_e4 == 10_000 * E4 + lifted.main_e4 - 1 * E4
    assert following.target == 50_000
    assert balanced(following)


def test_a_pot_never_pays_more_than_its_cap() -> None:
    lifted = rules.contribute(EMPTY, 20_000_000)
    prize, following = rules.pay_out(lifted, 20_000)
    assert prize == 100_000
    assert following.value_e4 == lifted.value_e4 - 90_000 * E4
    assert balanced(following)


def test_the_next_seed_comes_from_the_reserve_and_the_house_adds_what_is_missing() -> None:
    poor = rules.contribute(replace(EMPTY, target=10_001), 126)
    _, after_poor = rules.pay_out(poor, 20_000)
    assert after_poor.reserve_e4 == 0
    assert after_poor.topped_up_e4 == 10_000 * E4 - poor.reserve_e4
    rich = rules.contribute(EMPTY, 20_000_000)
    _, after_rich = rules.pay_out(rich, 20_000)
    assert after_rich.reserve_e4 == rich.reserve_e4 - 10_000 * E4
    assert after_rich.topped_up_e4 == 0


@given(stakes=st.lists(st.integers(1, 100_000), max_size=60), target=st.integers(10_000, 100_000))
def test_nothing_is_lost_or_made_whatever_is_staked(stakes: list[int], target: int) -> None:
    pot = replace(EMPTY, target=target)
    for stake in stakes:
        pot = rules.contribute(pot, stake)
        if rules.drops(pot):
            prize, pot = rules.pay_out(pot, target)
            assert target <= prize <= pot.cap
        assert balanced(pot)
        assert pot.main_e4 >= 0
        assert pot.reserve_e4 >= 0


def test_a_target_lies_between_seed_and_cap_and_both_ends_are_possible() -> None:
    assert rules.draw_target(10, 20, lambda sides: 0 * sides) == 10
    assert rules.draw_target(10, 20, lambda sides: sides - 1) == 20


def test_the_published_raffle_vector_holds() -> None:
    tickets = [f"T{number:03d}" for number in range(10)]
    assert rules.list_hash(tickets).startswith("caf29772d57817fe")
    assert rules.draw_winners("raffle-1", tickets, SEED, 3) == ["T002", "T004", "T005"]


def test_a_raffle_draws_every_ticket_at_most_once_and_no_more_than_there_are() -> None:
    tickets = [rules.ticket_id(number) for number in range(5)]
    assert sorted(rules.draw_winners("r", tickets, SEED, 9)) == tickets
    assert rules.draw_winners("r", [], SEED, 3) == []


def test_names_of_tickets_sort_as_their_numbers_do() -> None:
    names = [rules.ticket_id(number) for number in (0, 9, 10, 99, 1_000_000)]
    assert names == sorted(names)


@pytest.mark.parametrize(
    ("amount", "refunded", "tickets"),
    [(999, 0, 0), (1_000, 0, 1), (5_999, 0, 5), (5_000, 1, 4), (5_000, 5_000, 0), (500, 900, 0),
     (10**9, 0, 1_000)],
)  # fmt: skip
def test_a_ticket_for_each_ten_that_stay_deposited(
    amount: int, refunded: int, tickets: int
) -> None:
    assert rules.tickets_for(amount, refunded) == tickets


@pytest.mark.parametrize(
    ("pool", "weights", "parts"),
    [
        (100_000, (50, 30, 20), [50_000, 30_000, 20_000]),
        (100, (1, 1, 1), [34, 33, 33]),
        (101, (50, 30, 20), [51, 30, 20]),
        (1, (1, 1), [1, 0]),
    ],
)
def test_shares_add_up_to_the_pool_by_largest_remainder(
    pool: int, weights: tuple[int, ...], parts: list[int]
) -> None:
    assert rules.shares(pool, weights) == parts
    assert sum(parts) == pool


def test_a_week_runs_from_monday_to_monday() -> None:
    sunday = datetime(2026, 11, 22, 23, 59, tzinfo=UTC)
    monday = datetime(2026, 11, 16, tzinfo=UTC)
    assert rules.week_of(sunday) == (monday, monday + timedelta(days=7))
    assert rules.week_of(monday)[0] == monday
    week = rules.week_id("raffle", "EUR", sunday)
    assert rules.game_id(week, 0) == "raffle-eur-2026-w47"
    assert rules.game_id(week, 2) == "raffle-eur-2026-w47-3"


def test_among_equal_scores_the_first_to_reach_it_is_read_first() -> None:
    early = rules.leaderboard_member("0-early", datetime(2026, 1, 1, tzinfo=UTC))
    late = rules.leaderboard_member("9-late", datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC))
    assert sorted([late, early], reverse=True) == [early, late]
    assert rules.member_user(early) == "0-early"
