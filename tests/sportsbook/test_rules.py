"""What legs and bets are worth, as tables: published answers wherever there are any."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given, strategies as st
from odds_tools import accumulator_payout

from svc.mesh.clock import new_id
from svc.mesh.errors import Invalid
from svc.sportsbook import rules
from svc.sportsbook.contract import (
    LegResult,
    MarketClosed,
    OddsChanged,
    OddsPolicy,
    PlaceBet,
    Selection,
)
from svc.sportsbook.rules import Limits, Offer

NOW = datetime(2026, 11, 22, 12, 30, tzinfo=UTC)
LIMITS = Limits(stake_min=10, stake_max=1_000_000, payout_max=1_000_000)
DOWN = Limits(stake_min=10, stake_max=1_000_000, payout_max=1_000_000, rounding="down")


@dataclass(frozen=True)
class Leg:
    """A leg as a row of a table: odds, result, void factor, dead heat factor."""

    odds: str
    result: int
    void: str = "0"
    dead_heat: str = "1"

    def factor(self) -> Fraction:
        return rules.leg_factor(
            Decimal(self.odds), self.result, Decimal(self.void), Decimal(self.dead_heat)
        )


PAYOUTS = [
    pytest.param([Leg("5.5", 1)], 10_000, 55_000, 55_000, id="9/2 won (Wikipedia)"),
    pytest.param([Leg("2.00", 0)], 1000, 0, 0, id="lost"),
    pytest.param([Leg("1.85", 0, "1")], 1234, 1234, 1234, id="void by the feed"),
    pytest.param([Leg("1.90", 1, "0.5")], 1000, 1450, 1450, id="half won"),
    pytest.param([Leg("1.90", 0, "0.5")], 1000, 500, 500, id="half lost"),
    pytest.param([Leg("11", 1, "0", "0.5")], 1000, 5500, 5500, id="10/1 dead heat (Betfair)"),
    pytest.param([Leg("5.0", 1, "0", "0.5")], 1000, 2500, 2500, id="4/1 dead heat (racing)"),
    pytest.param([Leg("2.50", 1, "0", "0.5")], 5000, 6250, 6250, id="dead heat (DraftKings)"),
    pytest.param([Leg("5.00", 1, "0", "0.3333")], 10_000, 16_665, 16_665, id="third as sent"),
    pytest.param(
        [Leg("2.5", 1), Leg("2.0", 1), Leg("2.25", 1)], 2000, 22_500, 22_500, id="treble won"
    ),
    pytest.param([Leg("2.5", 1), Leg("2.0", 0), Leg("2.25", 1)], 2000, 0, 0, id="treble lost"),
    pytest.param([Leg("2.5", 1, "1"), Leg("2", 0, "1")], 2000, 2000, 2000, id="all void"),
    pytest.param([Leg("1.90", 0, "0.5"), Leg("2.00", 1)], 1000, 1000, 1000, id="half lost x won"),
    pytest.param([Leg("67.0", 1, "0", "0.5")], 250, 8375, 8375, id="67.0 dead heat"),
    pytest.param([Leg("1.333", 1)], 333, 444, 443, id="rounding"),
    pytest.param([Leg("1.25", 1)], 50, 63, 62, id="a tie rounds up"),
    pytest.param([Leg("2.0", 1)] * 20, 1000, 1_000_000, 1_000_000, id="capped"),
]  # fmt: skip


@pytest.mark.parametrize(("legs", "stake", "half_up", "down"), PAYOUTS)
def test_a_bet_pays_the_stake_times_its_legs_rounded_once(
    legs: list[Leg], stake: int, half_up: int, down: int
) -> None:
    factors = [leg.factor() for leg in legs]
    assert rules.bet_return(stake, factors, LIMITS) == half_up
    assert rules.bet_return(stake, factors, DOWN) == down


def test_an_exact_third_of_a_dead_heat_is_not_lost_on_the_way() -> None:
    assert rules.bet_return(10_000, [Fraction(5) / 3], LIMITS) == 16_667


@given(
    legs=st.lists(
        st.tuples(st.integers(101, 900), st.sampled_from(["win", "lose", "void"])),
        min_size=2,
        max_size=5,
    ),
    stake=st.integers(1, 100_000),
)
def test_accumulators_pay_what_another_library_says(
    legs: list[tuple[int, str]], stake: int
) -> None:
    uncapped = Limits(stake_min=1, stake_max=10**9, payout_max=10**15)
    factors = [
        Leg(str(Decimal(odds) / 100), int(result == "win"), str(int(result == "void"))).factor()
        for odds, result in legs
    ]
    expected = accumulator_payout(stake, [odds / 100 for odds, _ in legs], [how for _, how in legs])
    assert abs(rules.bet_return(stake, factors, uncapped) - expected) <= 0.5 + expected * 1e-9


@pytest.mark.parametrize(
    ("result", "void", "word"),
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
    result: int, void: str, word: LegResult
) -> None:
    assert rules.leg_result(result, Decimal(void)) == word


@pytest.mark.parametrize(
    ("legs", "decided", "result"),
    [
        (["won"], True, "won"),
        (["open"], False, None),
        (["won", "open"], False, None),
        (["lost", "open"], True, "lost"),
        (["won", "void"], True, "won"),
        (["void", "void"], True, "void"),
        (["half_won", "won"], True, "partial"),
        (["half_lost"], True, "partial"),
    ],
)
def test_a_bet_is_decided_by_its_last_leg_or_by_the_first_that_is_lost(
    legs: list[LegResult], decided: bool, result: str | None
) -> None:
    assert rules.decided(legs) is decided
    if decided:
        assert rules.bet_result(legs) == result


@pytest.mark.parametrize(
    ("policy", "seen", "now", "holds"),
    [
        ("none", "2.50", "2.5", True),
        ("none", "2.50", "2.51", False),
        ("none", "2.50", "2.49", False),
        ("higher", "2.50", "2.51", True),
        ("higher", "2.50", "2.50", True),
        ("higher", "2.50", "2.49", False),
        ("any", "2.50", "1.10", True),
    ],
)
def test_a_price_holds_as_the_slips_policy_says(
    policy: OddsPolicy, seen: str, now: str, holds: bool
) -> None:
    if holds:
        rules.check_prices(policy, [Decimal(seen)], [Decimal(now)])
        return
    with pytest.raises(OddsChanged) as refused:
        rules.check_prices(policy, [Decimal(seen)], [Decimal(now)])
    assert refused.value.members["odds"] == now


def test_a_better_leg_does_not_make_up_for_a_worse_one() -> None:
    with pytest.raises(OddsChanged) as refused:
        rules.check_prices(
            "higher", [Decimal("2.0"), Decimal("3.0")], [Decimal("2.5"), Decimal("2.9")]
        )
    assert refused.value.members == {"odds": "7.25", "selections": ["2.50", "2.90"]}


@pytest.mark.parametrize(
    ("odds", "text"),
    [
        ("2.5", "2.50"),
        ("2.50", "2.50"),
        ("11", "11.00"),
        ("1E+1", "10.00"),
        ("1.333", "1.333"),
        ("1.3330", "1.333"),
        ("11.2500", "11.25"),
    ],
)
def test_odds_are_shown_with_two_places_or_as_many_as_they_need(odds: str, text: str) -> None:
    assert rules.odds_text(Decimal(odds)) == text


def test_the_odds_of_an_accumulator_are_cut_for_show_but_not_for_money() -> None:
    odds = [Decimal("1.333"), Decimal("1.777"), Decimal("1.919")]
    assert rules.odds_text(rules.total_odds(odds)) == "4.545613"
    assert rules.potential_payout(100_000, odds, LIMITS) == 454_561


def test_the_odds_of_the_longest_accumulator_can_be_written() -> None:
    assert (
        rules.odds_text(rules.total_odds([Decimal("13.00")] * 20)) == "19004963774880799438801.00"
    )
    highest = [Decimal("999999.999999")] * 20
    assert len(rules.odds_text(rules.total_odds(highest)).partition(".")[0]) == 120
    assert rules.potential_payout(100_000, highest, LIMITS) == LIMITS.payout_max


OPEN = Offer(
    odds=Decimal("2.5"),
    active=True,
    decided=False,
    market_status="active",
    producer=1,
    event_status="live",
    starts_at=NOW - timedelta(hours=1),
)
BEFORE = Offer(
    odds=Decimal("2.5"),
    active=True,
    decided=False,
    market_status="active",
    producer=3,
    event_status="not_started",
    starts_at=NOW + timedelta(seconds=1),
)
KEY = ("sr:match:1", 1, "", "1")


@pytest.mark.parametrize("offer", [OPEN, BEFORE])
def test_an_open_outcome_gives_its_odds(offer: Offer) -> None:
    assert rules.check_open(KEY, offer, NOW) == Decimal("2.5")


def changed(offer: Offer, **fields: object) -> Offer:
    return msgspec.structs.replace(offer, **fields)


@pytest.mark.parametrize(
    "offer",
    [
        pytest.param(changed(OPEN, market_status="suspended"), id="suspended"),
        pytest.param(changed(OPEN, market_status="inactive"), id="inactive"),
        pytest.param(changed(OPEN, market_status="settled"), id="settled"),
        pytest.param(changed(OPEN, market_status="cancelled"), id="cancelled"),
        pytest.param(changed(OPEN, market_status="handed_over"), id="handed over"),
        pytest.param(changed(OPEN, decided=True), id="decided"),
        pytest.param(changed(OPEN, active=False), id="outcome inactive"),
        pytest.param(changed(OPEN, odds=None), id="no price"),
        pytest.param(changed(OPEN, event_status="ended"), id="ended"),
        pytest.param(changed(BEFORE, starts_at=NOW), id="pre-match, started"),
    ],
)
def test_whatever_is_not_open_takes_no_bets(offer: Offer) -> None:
    with pytest.raises(MarketClosed):
        rules.check_open(KEY, offer, NOW)


def slip(kind: str, *events: str, **fields: object) -> PlaceBet:
    given: dict[str, object] = {
        "user_id": new_id(),
        "idempotency_key": "k",
        "kind": kind,
        "selections": [
            Selection(event_id=event, market_id=1, outcome_id="1", odds="2.0") for event in events
        ],
        "stake": 100,
        "currency": "EUR",
        **fields,
    }
    return PlaceBet(**given)  # pyright: ignore[reportArgumentType] -- rows of a table


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (slip("system", "a", "b", "c", system_sizes=[2]), "system bets are not offered yet"),
        (slip("single", "a", each_way=True), "each-way bets are not offered yet"),
        (slip("single", "a", "b"), "one selection"),
        (slip("accumulator", "a"), "two selections"),
        (slip("accumulator", "a", "b", "a"), "different events"),
        (slip("single", "a", system_sizes=[1]), "system_sizes"),
    ],
)
def test_a_slip_that_is_no_bet_is_refused_with_the_reason(bad: PlaceBet, why: str) -> None:
    with pytest.raises(Invalid, match=why):
        rules.checked_slip(bad)


@pytest.mark.parametrize(
    ("period", "start"),
    [
        ("day", datetime(2026, 11, 22, tzinfo=UTC)),
        ("week", datetime(2026, 11, 16, tzinfo=UTC)),
        ("month", datetime(2026, 11, 1, tzinfo=UTC)),
    ],
)
def test_periods_of_limits_begin_with_the_calendar(period: str, start: datetime) -> None:
    assert rules.period_start(period, NOW) == start
