"""Bets that are bought back, through the public doors: the trade's rows, and what may go wrong."""

import asyncio
from typing import Any

import pytest

from svc.mesh.clock import new_id
from tests.sportsbook.house_door import VOID, Account, Door, Leg, problem, won


async def cashed_out(account: Account, bet_id: str, **more: Any) -> tuple[int, dict[str, Any]]:
    """Ask for an offer and take it; return the whole offer and what was said to the taking."""
    path = f"/v1/bets/{bet_id}/cash-out"
    quote = await account.door.post(f"{path}/quote", None, account.headers)
    assert quote.status_code == 200, quote.text
    body = {"quote_id": quote.json()["quote_id"], **more}
    answer = await account.door.post(path, body, account.headers)
    assert answer.status_code == 200, answer.text
    return quote.json()["amount"], answer.json()


async def test_c1_a_bet_is_bought_back_at_the_prices_of_now(door: Door, account: Account) -> None:
    before = await account.cash()
    events, bet = await account.strikes(won("3.00"), 1000)
    await reprice(door, events[0][0], "1.50")
    offered, said = await cashed_out(account, bet["bet_id"])
    assert (offered, said["amount"], said["status"]) == (1900, 1900, "cashed_out")
    await account.holds(before + 900)
    await door.settle(*events[0])
    shown = await account.get(f"/v1/bets/{bet['bet_id']}")
    assert (shown["status"], shown["payout"]) == ("cashed_out", 1900)
    assert await account.cash() == before + 900


@pytest.mark.parametrize(
    ("margin", "offered"),
    [pytest.param("0", 15_000, id="C2"), pytest.param("2/15", 13_000, id="C2 as published")],
)
async def test_c2_a_bet_is_worth_its_payout_times_its_chance_less_the_houses_margin(
    door: Door,
    account: Account,
    margin: str,
    offered: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SPORTSBOOK_CASH_OUT_MARGIN", margin)
    before = await account.cash()
    events, bet = await account.strikes(won("2.50"), 10_000)
    assert bet["potential_payout"] == 25_000
    await reprice(door, events[0][0], "1.50", 'probabilities="0.60" win_probabilities="0.60"')
    assert (await cashed_out(account, bet["bet_id"]))[0] == offered
    await account.holds(before - 10_000 + offered)


async def reprice(door: Door, event_id: str, odds: str, more: str = "") -> None:
    outcome = f'<outcome id="1" odds="{odds}" {more}/>'
    market = f'<market id="1" status="1" cashout_status="1">{outcome}</market>'
    await door.feed("odds_change", event_id, f"<odds>{market}</odds>")


async def test_c4_decided_legs_count_as_they_are_and_open_ones_by_their_chances(
    door: Door, account: Account
) -> None:
    before = await account.cash()
    events, bet = await account.strikes([Leg("2.0", VOID), Leg("3.0")], 1000)
    await door.settle(*events[0])
    await reprice(door, events[1][0], "2.4", 'probabilities="0.40" win_probabilities="0.40"')
    offered, _ = await cashed_out(account, bet["bet_id"])
    assert offered == 1140
    await account.holds(before + 140)


async def test_c6_a_part_is_bought_back_and_the_rest_runs_on(door: Door, account: Account) -> None:
    before = await account.cash()
    events, bet = await account.strikes(won("3.00"), 1000)
    await reprice(door, events[0][0], "1.50")
    offered, said = await cashed_out(account, bet["bet_id"], fraction=0.4)
    assert (offered, said["amount"], said["status"]) == (1900, 760, "accepted")
    await account.holds(before - 240)
    await door.settle(*events[0])
    shown = await account.get(f"/v1/bets/{bet['bet_id']}")
    assert (shown["payout"], shown["cashed_out"]) == (1800, 760)
    await account.holds(before - 240 + 1800)


async def test_a_bet_is_bought_back_by_the_cap_that_it_was_struck_on(
    door: Door, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await account.cash()
    events, bet = await account.strikes(won("3.00"), 1000)
    monkeypatch.setenv("SPORTSBOOK_PAYOUT_MAX", "500")
    await reprice(door, events[0][0], "1.50")
    assert (await cashed_out(account, bet["bet_id"]))[0] == 1900
    await account.holds(before + 900)


async def test_an_offer_is_void_when_something_happens_to_the_bet(
    door: Door, account: Account
) -> None:
    legs = [Leg("2.0"), Leg("3.0")]
    events, bet = await account.strikes(legs, 1000)
    path = f"/v1/bets/{bet['bet_id']}/cash-out"
    quote = (await door.post(f"{path}/quote", None, account.headers)).json()["quote_id"]
    await door.settle(*events[0])
    answer = await door.post(path, {"quote_id": quote}, account.headers)
    assert (answer.status_code, problem(answer)) == (409, "quote-expired")
    await door.feed("bet_stop", events[1][0], "", 'groups="all"')
    answer = await door.post(f"{path}/quote", None, account.headers)
    assert (answer.status_code, problem(answer)) == (409, "market-closed")


async def test_an_offer_is_taken_once_whatever_is_sent_twice(door: Door, account: Account) -> None:
    before = await account.cash()
    _, bet = await account.strikes(won("3.00"), 1000)
    path = f"/v1/bets/{bet['bet_id']}/cash-out"
    quote = (await door.post(f"{path}/quote", None, account.headers)).json()["quote_id"]
    body, key = {"quote_id": quote, "fraction": "0.5"}, {"idempotency-key": new_id()}
    answers = [await door.post(path, body, account.headers | key) for _ in range(2)]
    assert [answer.json()["amount"] for answer in answers] == [475, 475]
    other = await door.post(path, body, account.headers)
    assert (other.status_code, problem(other)) == (409, "conflict")
    await account.holds(before - 525)


async def test_a_bet_is_either_bought_back_or_settled_and_paid_once(
    door: Door, account: Account
) -> None:
    before = await account.cash()
    events, bet = await account.strikes(won("3.00"), 1000)
    path = f"/v1/bets/{bet['bet_id']}/cash-out"
    quote = (await door.post(f"{path}/quote", None, account.headers)).json()["quote_id"]
    takes = [door.post(path, {"quote_id": quote}, account.headers) for _ in range(5)]
    settling = asyncio.create_task(door.settle(*events[0]))
    answers = await asyncio.gather(*takes)
    await settling
    taken = [answer for answer in answers if answer.status_code == 200]
    assert len(taken) <= 1
    shown = await account.get(f"/v1/bets/{bet['bet_id']}")
    paid = taken[0].json()["amount"] if taken else 3000
    assert (shown["status"], shown["payout"]) == ("cashed_out" if taken else "settled", paid)
    await account.holds(before - 1000 + paid)
