"""The trade's acceptance rows and sequences, and which test covers which; a row without one fails.

Every test named here goes through the public doors: HTTP for players and staff, the feed's for
results. The same rows are in the unit tables of `test_settlement_rules.py`, besides.
"""

import importlib
import re

import pytest

BETS, OFFERS, STEPS = "test_every_row", "test_every_offer", "test_every_sequence"
PAID = f"{BETS}::test_a_bet_is_struck_settled_and_paid"
DOWN = f"{BETS}::test_where_the_jurisdiction_rounds_down_a_part_of_a_penny_is_not_paid"
LUCKY = f"{BETS}::test_a_house_may_promise_extras_for_a_lucky_15"
FREE = f"{BETS}::test_a_free_bet_is_used_once_and_its_stake_is_the_houses"
WORTH = f"{OFFERS}::test_c2_a_bet_is_worth_its_payout_times_its_chance_less_the_houses_margin"
STEP = f"{STEPS}::test_a_bet_that_ends_otherwise_leaves_the_right_balance_after_each_step"
TWICE = f"{STEPS}::test_r8_whatever_is_told_twice_or_replayed_by_a_recovery_changes_nothing"

COVERED_BY = {
    "1 single won": (f"{PAID}[1]",),
    "2 single lost": (f"{PAID}[2]",),
    "3 single void by the feed": (f"{PAID}[3]",),
    "4 Asian handicap half won": (f"{PAID}[4]",),
    "7 dead heat of two at 10/1": (f"{PAID}[7]",),
    "8 dead heat of two at 4/1": (f"{PAID}[8]",),
    "10 dead heat of two at 2.50": (f"{PAID}[10]",),
    "11 dead heat of three, as sent": (f"{PAID}[11 as sent]",),
    "11 dead heat of three, the exact third": (f"{PAID}[11]",),
    "11 dead heat of three, rounded down": (f"{DOWN}[11]",),
    "12 treble won": (f"{PAID}[12]",),
    "14 treble with a lost leg": (f"{PAID}[14]",),
    "15 treble all void": (f"{PAID}[15]",),
    "17 double with a leg half lost": (f"{PAID}[17]",),
    "20 trixie W W L": (f"{PAID}[20]",),
    "21 trixie W W void": (f"{PAID}[21]",),
    "23 yankee all won": (f"{PAID}[23]",),
    "24 lucky 15 all won, without extras": (f"{PAID}[24]",),
    "25 lucky 15 all won, a tenth more": (f"{LUCKY}[25]", f"{LUCKY}[25 down]"),
    "27 lucky 15 L W void L": (f"{PAID}[27]",),
    "29 canadian, four of five": (f"{PAID}[29]",),
    "31 each way won": (f"{PAID}[31]",),
    "32 each way placed": (f"{PAID}[32]",),
    "37 Rule 4, 80 percent": (
        f"{BETS}::test_37_a_withdrawal_deducts_from_the_winnings_of_bets_struck_before_it",
    ),
    "39 67.0 in a dead heat": (f"{PAID}[39]",),
    "40 rounding": (f"{PAID}[40]", f"{DOWN}[40]"),
    "42 rounding of a tie": (f"{PAID}[42]", f"{DOWN}[42]"),
    "43 twenty legs, capped": (f"{BETS}::test_43_no_bet_pays_more_than_the_cap",),
    "44 free bet won": (f"{FREE}[44]",),
    "45 free bet void": (f"{FREE}[45]",),
    "C1 cash-out at the prices of now": (
        f"{OFFERS}::test_c1_a_bet_is_bought_back_at_the_prices_of_now",
    ),
    "C2 cash-out by the chance": (
        f"{WORTH}[C2]",
        f"{WORTH}[C2 as published]",
    ),
    "C4 cash-out of a double with a void leg": (
        f"{OFFERS}::test_c4_decided_legs_count_as_they_are_and_open_ones_by_their_chances",
    ),
    "C6 cash-out in part, the rest wins": (
        f"{OFFERS}::test_c6_a_part_is_bought_back_and_the_rest_runs_on",
    ),
    "R1 settled, and the same confirmed": (f"{STEP}[R1]",),
    "R2 rolled back and lost": (f"{STEP}[R2]",),
    "R3 lost by a newer result": (f"{STEP}[R3]",),
    "R4 cancelled after the settlement": (f"{STEP}[R4]",),
    "R7 rolled back when the money is gone": (f"{STEP}[R7]",),
    "R8 any of them twice, and replayed": tuple(
        f"{TWICE}[{each}]" for each in ("R1", "R2", "R3", "R4", "R7")
    ),
}
ROWS = frozenset(
    "1 2 3 4 7 8 10 11 12 14 15 17 20 21 23 24 25 27 29 31 32 37 39 40 42 43 44 45"  # noqa: SIM905 - a row of numbers
    " C1 C2 C4 C6 R1 R2 R3 R4 R7 R8".split()
)


def test_every_row_of_the_trade_stands_in_the_table() -> None:
    assert {row.partition(" ")[0] for row in COVERED_BY} == ROWS


@pytest.mark.parametrize("row", COVERED_BY)
def test_a_row_has_tests_that_exist(row: str) -> None:
    assert COVERED_BY[row]
    for place in COVERED_BY[row]:
        assert exists(place), f"{row}: there is no test {place}"


def exists(place: str) -> bool:
    """Tell whether a test is there, with its row among those that it is run with."""
    found = re.fullmatch(r"(\w+)::(\w+)(?:\[(.+)\])?", place)
    assert found is not None
    module = importlib.import_module(f"tests.sportsbook.{found[1]}")
    test = getattr(module, found[2], None)
    marks: list[pytest.Mark] = getattr(test, "pytestmark", [])
    names = {str(each.id) for mark in marks for each in mark.args[1]}
    return test is not None and (found[3] in names if found[3] else not names)
