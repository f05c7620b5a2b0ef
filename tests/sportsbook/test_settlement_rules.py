"""What legs and bets are worth, as tables: published answers wherever there are any."""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given, strategies as st
from odds_tools import system_payout

from svc.mesh.errors import Invalid
from svc.sportsbook import rules_settlement, rules_systems
from svc.sportsbook.contract import BetKind, BetResult, LegResult
from svc.sportsbook.rules_settlement import OPEN, LegState, Terms, Verdict
from svc.sportsbook.rules_systems import SYSTEMS, PlaceTerms, SystemName
from tests.sportsbook import oracle
from tests.sportsbook.oracle import Runner


@dataclass(frozen=True)
class Leg:
    """A leg as a row of a table: odds, result, void factor, dead heat factor, Rule 4."""

    odds: str
    result: int = 1
    void: str = "0"
    dead_heat: str = "1"
    rule4: str = "0"

    def state(self) -> LegState:
        void = Decimal(self.void)
        factor = rules_settlement.leg_factor(
            Decimal(self.odds), self.result, void, Decimal(self.dead_heat), Decimal(self.rule4)
        )
        return LegState(rules_settlement.leg_result(self.result, void), factor)


def won(*odds: str) -> list[Leg]:
    return [Leg(each) for each in odds]


def lost(odds: str) -> Leg:
    return Leg(odds, 0)


def void(odds: str) -> Leg:
    return Leg(odds, 0, "1")


def terms(unit: int, legs: int, sizes: tuple[int, ...] | None = None, **fields: object) -> Terms:
    sizes = sizes or (legs,)
    stake = unit * rules_systems.lines(legs, sizes)
    return msgspec.structs.replace(
        Terms(unit_stake=unit, stake=stake, sizes=sizes, payout_max=1_000_000), **fields
    )


def settled(given: Terms, legs: list[Leg], place: list[Leg] | None = None) -> Verdict:
    found = rules_settlement.verdict(
        given, [leg.state() for leg in legs], [leg.state() for leg in place or []]
    )
    assert found is not None
    return found


ROWS = [
    pytest.param(won("5.5"), 10_000, (55_000, 55_000), id="1: 9/2 won (Wikipedia)"),
    pytest.param([lost("2.00")], 1000, (0, 0), id="2: lost"),
    pytest.param([void("1.85")], 1234, (1234, 1234), id="3: void by the feed"),
    pytest.param([Leg("1.90", 1, "0.5")], 1000, (1450, 1450), id="4: half won"),
    pytest.param([Leg("1.90", 0, "0.5")], 1000, (500, 500), id="half lost"),
    pytest.param([Leg("11", dead_heat="0.5")], 1000, (5500, 5500), id="7: 10/1 dead heat"),
    pytest.param([Leg("5.0", dead_heat="0.5")], 1000, (2500, 2500), id="8: 4/1 dead heat"),
    pytest.param([Leg("2.50", dead_heat="0.5")], 5000, (6250, 6250), id="10: DraftKings"),
    pytest.param([Leg("5.00", dead_heat="0.3333")], 10_000, (16_665, 16_665), id="11: as sent"),
    pytest.param(won("2.5", "2.0", "2.25"), 2000, (22_500, 22_500), id="12: treble won"),
    pytest.param([*won("2.5", "2.25"), lost("2.0")], 2000, (0, 0), id="14: treble lost"),
    pytest.param([void("2.5"), void("2.0"), void("2.25")], 2000, (2000, 2000), id="15: all void"),
    pytest.param([Leg("1.90", 0, "0.5"), Leg("2.00")], 1000, (1000, 1000), id="17: half lost"),
    pytest.param([Leg("2.25", rule4="0.8")], 1000, (1250, 1250), id="37: Rule 4 (Unibet)"),
    pytest.param([Leg("67.0", dead_heat="0.5")], 250, (8375, 8375), id="39: 67.0 dead heat"),
    pytest.param(won("1.333"), 333, (444, 443), id="40: rounding"),
    pytest.param(won("1.25"), 50, (63, 62), id="42: a tie"),
    pytest.param(won(*["2.0"] * 20), 1000, (1_000_000, 1_000_000), id="43: capped"),
]  # fmt: skip


@pytest.mark.parametrize(("legs", "stake", "paid"), ROWS)
def test_a_line_pays_its_stake_times_its_legs_rounded_once(
    legs: list[Leg], stake: int, paid: tuple[int, int]
) -> None:
    assert settled(terms(stake, len(legs)), legs).payout == paid[0]
    assert settled(terms(stake, len(legs), rounding="down"), legs).payout == paid[1]


def test_an_exact_third_of_a_dead_heat_is_not_lost_on_the_way() -> None:
    third = [LegState("won", Fraction(5) / 3)]
    assert rules_settlement.verdict(terms(10_000, 1), third) == Verdict("won", 16_667)
    assert rules_settlement.verdict(terms(10_000, 1, rounding="down"), third) == (
        Verdict("won", 16_666)
    )


YANKEE = won("2", "3.5", "4", "1.5")
SYSTEM_ROWS = [
    pytest.param("trixie", [*won("2", "3"), lost("4")], (400, 600), id="20: trixie W W L"),
    pytest.param("trixie", [*won("2", "3"), void("4")], (400, 1700), id="21: trixie W W void"),
    pytest.param("yankee", YANKEE, (1100, 15_675), id="23: yankee all won"),
    pytest.param("lucky15", YANKEE, (1500, 16_775), id="24: lucky 15 all won"),
    pytest.param(
        "lucky15", [lost("2"), Leg("3.5"), void("4"), lost("1.5")], (1500, 800), id="27: lucky 15"
    ),
    pytest.param(
        "canadian", [*won("2", "2", "2", "2"), lost("2")], (2600, 7200), id="29: canadian"
    ),
]


@pytest.mark.parametrize(("name", "legs", "money"), SYSTEM_ROWS)
def test_a_system_pays_the_sum_of_its_lines(
    name: SystemName, legs: list[Leg], money: tuple[int, int]
) -> None:
    sizes = rules_systems.sizes_of("system", len(legs), None, name)
    given = terms(100, len(legs), sizes)
    assert (given.stake, settled(given, legs).payout) == money


@pytest.mark.parametrize(
    ("legs", "half_up", "down"),
    [
        pytest.param(YANKEE, 18_303, 18_302, id="25: all won, a tenth more"),
        pytest.param([Leg("4"), *[lost("2")] * 3], 700, 700, id="one winner, its profit twice"),
        pytest.param([Leg("4"), lost("2"), lost("2"), void("3")], 900, 900, id="off: one void"),
        pytest.param([*won("2", "3"), lost("2"), lost("2")], 1100, 1100, id="off: two winners"),
    ],
)
def test_the_extras_of_a_lucky_15_where_they_were_promised(
    legs: list[Leg], half_up: int, down: int
) -> None:
    lucky = terms(100, 4, (1, 2, 3, 4), lucky=True)
    assert settled(lucky, legs).payout == half_up
    assert settled(msgspec.structs.replace(lucky, rounding="down"), legs).payout == down


def test_other_systems_have_no_extras() -> None:
    yankee = terms(100, 4, (2, 3, 4), lucky=True)
    assert settled(yankee, YANKEE).payout == 15_675


@pytest.mark.parametrize(
    ("won_too", "money"),
    [
        pytest.param(1, (20_000, 53_000), id="31: each way 11/4 a fifth, won (Wikipedia)"),
        pytest.param(0, (20_000, 15_500), id="32: each way 11/4 a fifth, placed (Wikipedia)"),
    ],
)
def test_each_way_pays_the_win_half_and_the_place_half(
    won_too: int, money: tuple[int, int]
) -> None:
    place = rules_systems.place_odds(Decimal("3.75"), PlaceTerms(Fraction(1, 5), 3))
    given = terms(10_000, 1, stake=20_000)
    found = settled(given, [Leg("3.75", won_too)], [Leg(str(place))])
    assert (given.stake, found.payout) == money


def test_each_way_doubles_run_win_to_win_and_place_to_place() -> None:
    """2 x 100 on 5.0 and 9.0 at a quarter: the first won, the second was placed only."""
    win, place = [Leg("5.0"), lost("9.0")], won("2.0", "3.0")
    assert settled(terms(100, 2, stake=200), win, place) == Verdict("partial", 600)


@pytest.mark.parametrize(
    ("legs", "paid"),
    [
        pytest.param(won("3.0"), 2000, id="44: won, the stake is not returned"),
        pytest.param([void("3.0")], 0, id="45: void, no cash"),
        pytest.param([lost("3.0")], 0, id="lost"),
    ],
)
def test_of_a_free_bet_the_stake_is_not_returned(legs: list[Leg], paid: int) -> None:
    assert settled(terms(1000, 1, free=True), legs).payout == paid


def test_what_was_cashed_out_runs_no_more() -> None:
    left = terms(1000, 1, running=Fraction(6, 10))
    assert settled(left, won("3.00")).payout == 1800


@pytest.mark.parametrize(
    ("words", "sizes", "result"),
    [
        ("won", (1,), "won"),
        ("won open", (2,), None),
        ("lost open", (2,), "lost"),
        ("won void", (2,), "won"),
        ("void void", (2,), "void"),
        ("half_won won", (2,), "partial"),
        ("half_lost", (1,), "partial"),
        ("won won lost", (2, 3), "partial"),
        ("lost lost open", (2, 3), "lost"),
        ("lost open open", (2, 3), None),
        ("lost open open", (1, 2, 3), None),
    ],
)
def test_a_bet_is_decided_by_its_last_leg_or_when_every_line_has_a_lost_one(
    words: str, sizes: tuple[int, ...], result: BetResult | None
) -> None:
    factors = {"won": Fraction(2), "lost": Fraction(0), "half_won": Fraction(3, 2)}
    states = [
        LegState(word, factors.get(word, Fraction(1)))  # pyright: ignore[reportArgumentType] -- words of a table
        for word in words.split()
    ]
    found = rules_settlement.verdict(terms(100, len(states), sizes), states)
    assert (found and found.result) == result


def test_an_each_way_bet_is_open_until_both_halves_are_decided() -> None:
    given = terms(100, 1, stake=200)
    assert rules_settlement.verdict(given, [lost("5.0").state()], [OPEN]) is None
    assert rules_settlement.verdict(given, [OPEN], [lost("2.0").state()]) is None


@pytest.mark.parametrize(
    ("result", "void_factor", "word"),
    [
        (1, "0", "won"),
        (1, "0.0", "won"),
        (0, "0", "lost"),
        (1, "0.5", "half_won"),
        (0, "0.5", "half_lost"),
        (0, "1", "void"),
        (1, "1.0", "void"),
        (-1, "0", "open"),
    ],
)
def test_the_word_for_a_leg_follows_result_and_void_factor(
    result: int, void_factor: str, word: LegResult
) -> None:
    assert rules_settlement.leg_result(result, Decimal(void_factor)) == word


LINES = {
    "trixie": 4, "patent": 7, "yankee": 11, "lucky15": 15, "canadian": 26, "super_yankee": 26,
    "lucky31": 31, "heinz": 57, "lucky63": 63, "super_heinz": 120, "goliath": 247,
}  # fmt: skip


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_named_systems_have_the_lines_that_all_books_say(name: SystemName) -> None:
    legs = SYSTEMS[name][0]
    sizes = rules_systems.sizes_of("system", legs, None, name)
    assert rules_systems.lines(legs, sizes) == LINES[name]


def test_k_of_n_has_as_many_lines_as_there_are_choices() -> None:
    assert rules_systems.lines(20, rules_systems.sizes_of("system", 20, [10], None)) == 184_756


@pytest.mark.parametrize(
    ("kind", "legs", "sizes", "name", "why"),
    [
        ("single", 2, None, None, "one selection"),
        ("accumulator", 1, None, None, "two selections"),
        ("single", 1, [1], None, "system_sizes"),
        ("accumulator", 2, None, "trixie", "system_sizes and system"),
        ("system", 3, None, None, "either system_sizes or system"),
        ("system", 3, [2], "trixie", "either system_sizes or system"),
        ("system", 4, None, "trixie", "a trixie has 3 selections, not 4"),
        ("system", 3, [4], None, "from 1 to 3"),
        ("system", 3, [2, 2], None, "different numbers"),
        ("system", 3, [], None, "different numbers"),
        ("system", 1, [1], None, "two selections"),
    ],
)
def test_what_is_no_bet_is_refused_with_the_reason(
    kind: BetKind, legs: int, sizes: list[int] | None, name: SystemName | None, why: str
) -> None:
    with pytest.raises(Invalid, match=why):
        rules_systems.sizes_of(kind, legs, sizes, name)


@pytest.mark.parametrize(
    ("runners", "handicap", "expected"),
    [
        (4, False, None),
        (5, False, (Fraction(1, 4), 2)),
        (7, True, (Fraction(1, 4), 2)),
        (8, False, (Fraction(1, 5), 3)),
        (11, True, (Fraction(1, 5), 3)),
        (12, True, (Fraction(1, 4), 3)),
        (15, False, (Fraction(1, 5), 3)),
        (16, True, (Fraction(1, 4), 4)),
    ],
)
def test_place_terms_follow_the_number_of_runners(
    runners: int, handicap: bool, expected: tuple[Fraction, int] | None
) -> None:
    found = rules_systems.place_terms(runners, handicap=handicap)
    assert (found and (found.fraction, found.places)) == expected


FATES = {"won": (1, "0"), "lost": (0, "0"), "void": (0, "1"), "half won": (1, "0.5"),
         "half lost": (0, "0.5")}  # fmt: skip
RUNNERS = st.builds(
    Runner,
    odds=st.integers(1_001, 100_000).map(lambda thousandths: Fraction(thousandths, 1000)),
    fate=st.sampled_from(sorted(FATES)),
    shared=st.sampled_from([1, 1, 1, 2, 4, 5]),
    rule4=st.sampled_from([0, 0, 0, 5, 80]),
)


@st.composite
def bets(draw: st.DrawFn) -> tuple[list[Runner], tuple[int, ...], int]:
    """Draw a bet of any kind with what became of its legs."""
    runners = draw(st.lists(RUNNERS, min_size=1, max_size=7))
    sizes = draw(st.sets(st.integers(1, len(runners)), min_size=1))
    return runners, tuple(sorted(sizes)), draw(st.integers(1, 1_000_000))


def state_of(runner: Runner) -> LegState:
    result, void_factor = FATES[runner.fate]
    odds = Decimal(runner.odds.numerator) / runner.odds.denominator
    return LegState(
        rules_settlement.leg_result(result, Decimal(void_factor)),
        rules_settlement.leg_factor(
            odds, result, Decimal(void_factor), 1 / Decimal(runner.shared),
            Decimal(runner.rule4) / 100,
        ),
    )  # fmt: skip


@given(bet=bets())
def test_every_bet_pays_what_its_lines_pay_one_by_one(
    bet: tuple[list[Runner], tuple[int, ...], int],
) -> None:
    runners, sizes, unit = bet
    found = rules_settlement.verdict(
        terms(unit, len(runners), sizes, payout_max=10**60), [state_of(each) for each in runners]
    )
    assert found is not None
    assert found.payout == oracle.half_up(oracle.returns(runners, sizes, unit))


@given(bet=bets(), places=st.data())
def test_every_each_way_bet_pays_both_halves_rounded_once(
    bet: tuple[list[Runner], tuple[int, ...], int], places: st.DataObject
) -> None:
    runners, sizes, unit = bet
    placed = places.draw(st.lists(RUNNERS, min_size=len(runners), max_size=len(runners)))
    found = rules_settlement.verdict(
        terms(unit, len(runners), sizes, payout_max=10**60),
        [state_of(each) for each in runners],
        [state_of(each) for each in placed],
    )
    assert found is not None
    both = oracle.returns(runners, sizes, unit) + oracle.returns(placed, sizes, unit)
    assert found.payout == oracle.half_up(both)


@given(
    legs=st.lists(
        st.tuples(st.integers(101, 900), st.sampled_from(["win", "lose", "void"])),
        min_size=2,
        max_size=6,
    ),
    unit=st.integers(1, 100_000),
    sizes=st.data(),
)
def test_systems_pay_what_another_library_says(
    legs: list[tuple[int, str]], unit: int, sizes: st.DataObject
) -> None:
    chosen = tuple(sorted(sizes.draw(st.sets(st.integers(1, len(legs)), min_size=1))))
    given = terms(unit, len(legs), chosen, payout_max=10**30)
    states = [
        Leg(str(Decimal(odds) / 100), int(how == "win"), str(int(how == "void"))).state()
        for odds, how in legs
    ]
    found = rules_settlement.verdict(given, states)
    assert found is not None
    expected = system_payout(
        [odds / 100 for odds, _ in legs], chosen, given.stake, [how for _, how in legs]
    )
    assert abs(found.payout - expected) <= 0.5 + expected * 1e-9
