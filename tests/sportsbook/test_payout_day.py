"""What a player may be paid in a day: bets in any order, rollbacks, cash-outs, at the doors."""

import asyncio

import httpx
import pytest

from tests.sportsbook.house_door import VOID, Account, Door, Leg, problem, won
from tests.sportsbook.players import sweep
from tests.support.mesh import Operator

MOST = 3000


@pytest.fixture(autouse=True)
def a_day_of_thirty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPORTSBOOK_PAYOUT_DAY_MAX", str(MOST))


async def begun(door: Door, operator: Operator, odds: list[str]) -> tuple[Account, list[str]]:
    """Strike a single of 10.00 at each of these odds; return the player and the events."""
    account = await Account.opened(door)
    await account.is_given(operator, 10_000)
    events = [(await account.strikes(won(each), 1000))[0][0][0] for each in odds]
    return account, events


async def payouts(account: Account) -> list[int | None]:
    """Return what the player's bets were paid, the oldest first."""
    return [bet["payout"] for bet in reversed((await account.get("/v1/bets"))["items"])]


async def test_bets_of_a_day_are_paid_no_more_than_its_limit_together_in_any_order(
    door: Door, operator: Operator
) -> None:
    account, events = await begun(door, operator, ["2.00", "2.50", "1.50"])
    for event_id in events:
        await door.settle(event_id, Leg("2.00"))
    assert await payouts(account) == [2000, 1000, 0]
    await account.holds(7000 + MOST)
    for event_id in events:
        await door.repeat_all(event_id, 'request_id="7"')
    other, events = await begun(door, operator, ["2.00", "2.50", "1.50"])
    await asyncio.gather(*(door.settle(event_id, Leg("2.00")) for event_id in reversed(events)))
    assert sum(each or 0 for each in await payouts(other)) == MOST
    for each in (account, other):
        await each.holds(7000 + MOST)


async def test_what_is_taken_back_makes_room_for_what_was_cut(
    door: Door, operator: Operator
) -> None:
    account, events = await begun(door, operator, ["2.00", "2.50"])
    for event_id in events:
        await door.settle(event_id, Leg("2.00"))
    await account.holds(8000 + MOST)
    await door.feed("rollback_bet_settlement", events[0], '<market id="1"/>')
    await sweep(operator)
    await account.holds(8000 + 2500)
    assert await payouts(account) == [None, 2500]
    await door.settle(events[0], Leg("2.00"))
    assert await payouts(account) == [500, 2500]
    await account.holds(8000 + MOST)


async def test_a_refund_is_the_players_own_and_counts_for_nothing(
    door: Door, operator: Operator
) -> None:
    account, events = await begun(door, operator, ["3.00", "2.00"])
    await door.settle(events[0], Leg("3.00"))
    await door.settle(events[1], Leg("2.00", VOID))
    assert await payouts(account) == [3000, 1000]
    # Not void after all: the day is full.
    await door.settle(events[1], Leg("2.00"))
    assert await payouts(account) == [3000, 0]
    await account.holds(8000 + MOST)


async def test_a_bet_is_bought_back_for_what_the_day_leaves(door: Door, operator: Operator) -> None:
    account, events = await begun(door, operator, ["2.50", "2.00"])
    await door.settle(events[0], Leg("2.50"))
    bet_id = (await account.get("/v1/bets"))["items"][0]["bet_id"]
    quoted = await quote(account, bet_id)
    assert quoted.json()["amount"] == 500
    taken = await take(account, bet_id, quoted)
    assert taken.json()["amount"] == 500
    await account.holds(8000 + MOST)
    events = (await account.strikes(won("2.00"), 1000))[0]
    bet_id = (await account.get("/v1/bets"))["items"][0]["bet_id"]
    refused = await quote(account, bet_id)
    assert (refused.status_code, problem(refused)) == (409, "no-cash-out")


async def test_an_offer_from_before_the_day_was_full_does_not_hold(
    door: Door, operator: Operator
) -> None:
    account, events = await begun(door, operator, ["3.00", "2.00"])
    bet_id = (await account.get("/v1/bets"))["items"][0]["bet_id"]
    quoted = await quote(account, bet_id)
    await door.settle(events[0], Leg("3.00"))
    refused = await take(account, bet_id, quoted)
    assert (refused.status_code, problem(refused)) == (409, "quote-expired")
    await account.holds(8000 + MOST)


async def quote(account: Account, bet_id: str) -> httpx.Response:
    return await account.door.post(f"/v1/bets/{bet_id}/cash-out/quote", None, account.headers)


async def take(account: Account, bet_id: str, quoted: httpx.Response) -> httpx.Response:
    body = {"quote_id": quoted.json()["quote_id"]}
    return await account.door.post(f"/v1/bets/{bet_id}/cash-out", body, account.headers)
