"""Every named system, every transition with its event, offers that expire: at the doors."""

import random
from fractions import Fraction
from typing import Any

import pytest
from msgspec import Struct

from svc.mesh.contract import Event
from svc.sportsbook.contract import (
    BET_CANCELLED,
    BET_CASHED_OUT,
    BET_PLACED,
    BET_REJECTED,
    BET_ROLLED_BACK,
    BET_SETTLED,
)
from svc.sportsbook.rules_systems import SYSTEMS
from tests.sportsbook import oracle
from tests.sportsbook.house_door import LOST, VOID, Account, Door, Leg, problem, won
from tests.sportsbook.oracle import Runner
from tests.support.mesh import Operator

ODDS = ("1.50", "2.10", "3.00", "1.90", "2.60", "1.75", "4.00", "2.20")


async def test_every_named_system_pays_what_all_its_lines_pay(door: Door, account: Account) -> None:
    """Eight legs of which the third is lost; each system is on the first so many of them."""
    before = await account.cash()
    legs = [Leg(each, LOST if number == 2 else 'result="1"') for number, each in enumerate(ODDS)]
    events = [(await door.offer(leg), leg) for leg in legs]
    bets: list[tuple[dict[str, Any], int, tuple[int, ...]]] = []
    for name, (count, shortest) in SYSTEMS.items():
        bet = await account.bets(events[:count], 10, kind="system", system=name)
        bets.append((bet, count, tuple(range(shortest, count + 1))))
    bet = await account.bets(events[:6], 10, kind="system", system_sizes=[3])
    bets.append((bet, 6, (3,)))
    for event_id, leg in events:
        await door.settle(event_id, leg)
    runners = [Runner(Fraction(leg.odds), "lost" if leg.told == LOST else "won") for leg in legs]
    staked = paid = 0
    for bet, count, sizes in bets:
        expected = oracle.half_up(oracle.returns(runners[:count], sizes, 10))
        shown = await account.get(f"/v1/bets/{bet['bet_id']}")
        assert (shown["status"], shown["payout"]) == ("settled", expected), sizes
        staked, paid = staked + bet["stake"], paid + expected
    await account.holds(before - staked + paid)


async def test_two_legs_of_one_event_and_an_unknown_system_are_refused(
    door: Door, account: Account
) -> None:
    leg = Leg("2.00")
    event = (await door.offer(leg), leg)
    answer = await account.slip([event, event], 100)
    assert (answer.status_code, problem(answer)) == (400, "validation")
    assert "different events" in answer.json()["detail"]
    answer = await account.slip([event], 100, kind="system", system="quadrixie")
    assert (answer.status_code, problem(answer)) == (400, "validation")


async def test_a_price_that_moved_is_refused_with_the_odds_of_now_unless_the_slip_allows_it(
    door: Door, account: Account
) -> None:
    leg = Leg("2.00")
    event_id = await door.offer(Leg("2.20"))
    refused = await account.slip([(event_id, leg)], 100)
    assert (refused.status_code, problem(refused)) == (409, "odds-changed")
    assert refused.json()["odds"] == "2.20"
    for policy, seen, status in (("higher", "2.00", 201), ("higher", "2.50", 409),
                                 ("any", "2.50", 201)):  # fmt: skip
        answer = await account.slip([(event_id, Leg(seen))], 100, odds_policy=policy)
        assert answer.status_code == status, (policy, seen)
        assert answer.json()["odds"] == "2.20"


async def test_an_offer_that_has_expired_is_not_taken(
    door: Door, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPORTSBOOK_CASH_OUT_SECONDS", "0")
    _, bet = await account.strikes(won("3.00"), 1000)
    path = f"/v1/bets/{bet['bet_id']}/cash-out"
    quote = (await door.post(f"{path}/quote", None, account.headers)).json()
    answer = await door.post(path, {"quote_id": quote["quote_id"]}, account.headers)
    assert (answer.status_code, problem(answer)) == (409, "quote-expired")
    assert (await account.get(f"/v1/bets/{bet['bet_id']}"))["status"] == "accepted"


async def test_every_transition_of_a_bet_publishes_its_event(
    door: Door, account: Account, operator: Operator
) -> None:
    async def heard(event: Event[Any], bet_id: str) -> Struct:
        return (await operator.heard(event, lambda data: data.bet_id == bet_id)).data

    events, bet = await account.strikes(won("2.00"), 1000)
    bet_id = bet["bet_id"]
    assert await heard(BET_PLACED, bet_id)
    await door.settle(*events[0])
    assert await heard(BET_SETTLED, bet_id)
    await door.feed("rollback_bet_settlement", events[0][0], '<market id="1"/>')
    assert await heard(BET_ROLLED_BACK, bet_id)
    await door.feed("bet_cancel", events[0][0], '<market id="1"/>')
    assert await heard(BET_CANCELLED, bet_id)
    _, bet = await account.strikes(won("3.00"), 1000)
    path = f"/v1/bets/{bet['bet_id']}/cash-out"
    for fraction in ("0.5", "1"):
        quote = (await door.post(f"{path}/quote", None, account.headers)).json()
        taken = {"quote_id": quote["quote_id"], "fraction": fraction}
        answer = await door.post(path, taken, account.headers)
        assert answer.status_code == 200, answer.text
    told = await operator.all_heard(
        BET_CASHED_OUT, lambda data: data.bet_id == bet["bet_id"], count=2
    )
    assert [(each.data.whole, each.data.fraction) for each in told] == [(False, "0.5"), (True, "1")]
    poor = await Account.opened(door)
    event = (await door.offer(Leg("2.00")), Leg("2.00"))
    assert (await poor.slip([event], 100)).status_code == 422
    await operator.heard(BET_REJECTED, lambda data: data.user_id == poor.user_id)


FATES = {
    'result="1"': ("won", 1),
    LOST: ("lost", 1),
    VOID: ("void", 1),
    'result="1" void_factor="0.5"': ("half won", 1),
    'result="0" void_factor="0.5"': ("half lost", 1),
    'result="1" dead_heat_factor="0.5"': ("won", 2),
    'result="1" dead_heat_factor="0.25"': ("won", 4),
}
"""What the feed tells of an outcome, and the oracle's words for it: fate, and how many share."""


def runner(odds: Fraction, told: str) -> Runner:
    return Runner(odds, *FATES[told])


@pytest.mark.parametrize("each_way", [False, True])
async def test_bets_at_random_pay_what_their_lines_pay_one_by_one(
    door: Door, account: Account, *, each_way: bool
) -> None:
    draw = random.Random(11)
    before, staked, paid = await account.cash(), 0, 0
    legs = [
        Leg(f"{draw.randint(105, 900) / 100:.2f}", draw.choice(list(FATES)), draw.choice([*FATES]))
        for _ in range(7)
    ]
    events = [(await door.offer(leg, each_way=each_way), leg) for leg in legs]
    bets: list[tuple[dict[str, Any], list[Leg], tuple[int, ...], int]] = []
    for _ in range(10):
        chosen = draw.sample(events, draw.randint(2, len(events)))
        sizes = sorted(draw.sample(range(1, len(chosen) + 1), draw.randint(1, len(chosen))))
        unit = draw.randint(1, 99)
        bet = await account.bets(chosen, unit, kind="system", system_sizes=sizes, each_way=each_way)
        bets.append((bet, [leg for _, leg in chosen], tuple(sizes), unit))
    for event_id, leg in draw.sample(events, len(events)):
        await door.settle(event_id, leg, each_way=each_way)
    for bet, chosen, sizes, unit in bets:
        expected = oracle.returns(
            [runner(Fraction(leg.odds), leg.told) for leg in chosen], sizes, unit
        )
        if each_way:  # a fifth of the odds, since eight run
            placed = [runner(1 + (Fraction(leg.odds) - 1) / 5, leg.placed) for leg in chosen]
            expected += oracle.returns(placed, sizes, unit)
        shown = await account.get(f"/v1/bets/{bet['bet_id']}")
        assert (shown["status"], shown["payout"]) == ("settled", oracle.half_up(expected)), shown
        staked, paid = staked + bet["stake"], paid + shown["payout"]
    await account.holds(before - staked + paid)
