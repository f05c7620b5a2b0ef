"""What a slip may be, which price holds and how much may be staked, as tables."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid5

import msgspec
import pytest
from hypothesis import given, strategies as st

from svc.mesh.clock import new_id
from svc.mesh.errors import Invalid
from svc.sportsbook import rules, rules_settlement, settling
from svc.sportsbook.contract import (
    LimitExceeded,
    MarketClosed,
    OddsChanged,
    OddsPolicy,
    PlaceBet,
    Selection,
)
from svc.sportsbook.rules import Offer
from svc.sportsbook.rules_settlement import Rounding, Terms

NOW = datetime(2026, 11, 22, 12, 30, tzinfo=UTC)


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


def all_won(stake: int, odds: list[Decimal]) -> tuple[Decimal, int]:
    terms = Terms(unit_stake=stake, stake=stake, sizes=(len(odds),), payout_max=1_000_000)
    exact = rules_settlement.all_won(terms, odds)
    return rules.bet_odds(exact, stake), rules_settlement.paid(exact, terms)


def test_the_odds_of_an_accumulator_are_cut_for_show_but_not_for_money() -> None:
    odds = [Decimal("1.333"), Decimal("1.777"), Decimal("1.919")]
    shown, payout = all_won(100_000, odds)
    assert (rules.odds_text(shown), payout) == ("4.545613", 454_561)


def test_the_odds_of_the_longest_accumulator_can_be_written() -> None:
    shown, _ = all_won(1000, [Decimal("13.00")] * 20)
    assert rules.odds_text(shown) == "19004963774880799438801.00"
    highest, payout = all_won(100_000, [Decimal("999999.999999")] * 20)
    assert len(rules.odds_text(highest).partition(".")[0]) == 120
    assert payout == 1_000_000


PRICES = st.decimals("1.000001", "999999.999999", places=6, allow_nan=False)


@given(
    odds=st.lists(PRICES, min_size=1, max_size=20),
    stake=st.integers(1, 10**9),
    cap=st.integers(1, 10**12),
    rounding=st.sampled_from(["half_up", "down"]),
)
def test_whole_numbers_come_to_the_same_as_fractions(
    odds: list[Decimal], stake: int, cap: int, rounding: Rounding
) -> None:
    terms = Terms(
        unit_stake=stake, stake=stake, sizes=(len(odds),), payout_max=cap, rounding=rounding
    )
    exact = rules_settlement.all_won(terms, odds)
    millionths, payout = rules_settlement.all_won_plainly(stake, odds, cap, rounding)
    assert rules.odds_of(millionths) == rules.bet_odds(exact, stake)
    assert payout == rules_settlement.paid(exact, terms)


def test_more_risk_than_an_outcome_may_carry_is_refused_with_the_stake_that_it_may() -> None:
    wanted = slip("single", "a")
    rules.check_exposure(100, 900, wanted, 100, 1000)
    with pytest.raises(LimitExceeded) as refused:
        rules.check_exposure(100, 975, wanted, 100, 1000)
    assert refused.value.members["alternative_stake"] == 25


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
        pytest.param(changed(OPEN, producer_up=False), id="producer down"),
        pytest.param(changed(OPEN, event_status="ended"), id="ended"),
        pytest.param(changed(BEFORE, starts_at=NOW), id="pre-match, started"),
        pytest.param(changed(OPEN, holds_until=NOW), id="too old"),
    ],
)
def test_whatever_is_not_open_takes_no_bets(offer: Offer) -> None:
    with pytest.raises(MarketClosed):
        rules.check_open(KEY, offer, NOW)


def test_a_selection_is_bought_back_without_a_price_but_not_while_it_is_closed() -> None:
    assert rules.check_running(KEY, OPEN, NOW) == Decimal("2.5")
    assert rules.check_running(KEY, changed(OPEN, odds=None), NOW) is None
    for fields in ({"producer_up": False}, {"market_status": "suspended"}, {"holds_until": NOW}):
        closed = changed(OPEN, **fields)
        with pytest.raises(MarketClosed):
            rules.check_running(KEY, closed, NOW)


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
        (slip("single", "a", each_way=True), "no each-way betting on market 1"),
        (slip("single", "a", "b"), "one selection"),
        (slip("accumulator", "a"), "two selections"),
        (slip("accumulator", "a", "b", "a"), "different events"),
        (slip("system", "a", "b", "a", system_sizes=[2]), "different events"),
        (slip("single", "a", system_sizes=[1]), "system_sizes"),
    ],
)
def test_a_slip_that_is_no_bet_is_refused_with_the_reason(bad: PlaceBet, why: str) -> None:
    with pytest.raises(Invalid, match=why):
        rules.checked_slip(bad)


def test_the_stake_of_a_slip_is_for_each_line_and_half() -> None:
    trixie = rules.checked_slip(slip("system", "a", "b", "c", system="trixie"))
    assert (trixie.sizes, trixie.lines, trixie.stake) == ((2, 3), 4, 400)
    placed = slip("single", "a", each_way=True)
    runner = msgspec.structs.replace(placed.selections[0], market_id=1110)
    assert rules.checked_slip(msgspec.structs.replace(placed, selections=[runner])).stake == 200


@pytest.mark.parametrize(("period", "days"), [("day", 1), ("week", 7), ("month", 30)])
def test_periods_of_limits_roll(period: str, days: int) -> None:
    assert rules.period_start(period, NOW) == NOW - timedelta(days=days)


@given(bet_id=st.uuids(), version=st.integers(0, 10**6), what=st.sampled_from(["pay", "undo"]))
def test_the_id_of_a_payment_is_the_uuid_of_its_name(bet_id: UUID, version: int, what: str) -> None:
    expected = uuid5(bet_id, f"{version}:{what}")
    assert settling.payment_id(str(bet_id), version, what) == str(expected)
