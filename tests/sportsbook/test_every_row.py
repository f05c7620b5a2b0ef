"""Every row of the trade's table of bets through the public doors: HTTP, and the feed's.

Each row is struck, settled by the feed and paid. Which test covers which row stands in
`test_rows_of_the_trade.py`.
"""

from datetime import timedelta
from typing import Any

import pytest

from svc.mesh.clock import SystemClock
from tests.sportsbook.house_door import (
    LOST,
    RACE,
    VOID,
    Account,
    Door,
    Leg,
    dead_heat,
    problem,
    won,
)

TREBLE = ("2.5", "2.0", "2.25")
YANKEE = ("2", "3.5", "4", "1.5")
THIRD = dead_heat("5.00", "0.333333333333")
"""A third with all the digits that the feed's reader keeps."""
ROWS = [
    pytest.param(won("5.5"), 10_000, {}, (10_000, 55_000), id="1"),
    pytest.param([Leg("2.00", LOST)], 1000, {}, (1000, 0), id="2"),
    pytest.param([Leg("1.85", VOID)], 1234, {}, (1234, 1234), id="3"),
    pytest.param([Leg("1.90", 'result="1" void_factor="0.5"')], 1000, {}, (1000, 1450), id="4"),
    pytest.param([dead_heat("11", "0.5")], 1000, {}, (1000, 5500), id="7"),
    pytest.param([dead_heat("5.0", "0.5")], 1000, {}, (1000, 2500), id="8"),
    pytest.param([dead_heat("2.50", "0.5")], 5000, {}, (5000, 6250), id="10"),
    pytest.param([dead_heat("5.00", "0.3333")], 10_000, {}, (10_000, 16_665), id="11 as sent"),
    pytest.param([THIRD], 10_000, {}, (10_000, 16_667), id="11"),
    pytest.param(won(*TREBLE), 2000, {}, (2000, 22_500), id="12"),
    pytest.param([Leg("2.5"), Leg("2.0", LOST), Leg("2.25")], 2000, {}, (2000, 0), id="14"),
    pytest.param([Leg(odds, VOID) for odds in TREBLE], 2000, {}, (2000, 2000), id="15"),
    pytest.param(
        [Leg("1.90", 'result="0" void_factor="0.5"'), Leg("2.00")], 1000, {}, (1000, 1000), id="17"
    ),
    pytest.param(
        [*won("2", "3"), Leg("4", LOST)], 100, {"system": "trixie"}, (400, 600), id="20"
    ),
    pytest.param(
        [*won("2", "3"), Leg("4", VOID)], 100, {"system_sizes": [2, 3]}, (400, 1700), id="21"
    ),
    pytest.param(won(*YANKEE), 100, {"system": "yankee"}, (1100, 15_675), id="23"),
    pytest.param(won(*YANKEE), 100, {"system": "lucky15"}, (1500, 16_775), id="24"),
    pytest.param(
        [Leg("2", LOST), Leg("3.5"), Leg("4", VOID), Leg("1.5", LOST)], 100,
        {"system": "lucky15"}, (1500, 800), id="27",
    ),
    pytest.param(
        [*won("2.0", "2.0", "2.0", "2.0"), Leg("2.0", LOST)], 100, {"system": "canadian"},
        (2600, 7200), id="29",
    ),
    pytest.param(
        [Leg("3.75", placed='result="1"')], 10_000, {"each_way": True}, (20_000, 53_000), id="31"
    ),
    pytest.param(
        [Leg("3.75", LOST, 'result="1"')], 10_000, {"each_way": True}, (20_000, 15_500), id="32"
    ),
    pytest.param([dead_heat("67.0", "0.5")], 250, {}, (250, 8375), id="39"),
    pytest.param(won("1.333"), 333, {}, (333, 444), id="40"),
    pytest.param(won("1.25"), 50, {}, (50, 63), id="42"),
]  # fmt: skip


@pytest.mark.parametrize(("legs", "stake", "more", "money"), ROWS)
async def test_a_bet_is_struck_settled_and_paid(
    account: Account, legs: list[Leg], stake: int, more: dict[str, Any], money: tuple[int, int]
) -> None:
    await pays(account, legs, stake, more, money)


async def pays(
    account: Account, legs: list[Leg], stake: int, more: dict[str, Any], money: tuple[int, int]
) -> None:
    """Strike a bet, let the feed settle it, and see what it costs and pays."""
    door, before = account.door, await account.cash()
    kind = {"kind": "system"} if "system" in more or "system_sizes" in more else {}
    events, bet = await account.strikes(legs, stake, **kind, **more)
    assert (bet["status"], bet["stake"]) == ("accepted", money[0])
    assert await account.cash() == before - money[0]
    for event_id, leg in events:
        await door.settle(event_id, leg, each_way=bool(more.get("each_way")))
    shown = await account.get(f"/v1/bets/{bet['bet_id']}")
    assert shown["payout"] == money[1]
    await account.holds(before - money[0] + money[1])


LUCKY: dict[str, Any] = {"system": "lucky15"}
DOWN = [
    pytest.param([THIRD], 10_000, (10_000, 16_666), id="11"),
    pytest.param(won("1.333"), 333, (333, 443), id="40"),
    pytest.param(won("1.25"), 50, (50, 62), id="42"),
]


@pytest.mark.parametrize(("legs", "stake", "money"), DOWN)
async def test_where_the_jurisdiction_rounds_down_a_part_of_a_penny_is_not_paid(
    account: Account,
    legs: list[Leg],
    stake: int,
    money: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ROUNDING", "down")
    await pays(account, legs, stake, {}, money)


@pytest.mark.parametrize(
    ("legs", "money", "rounding"),
    [
        pytest.param(won(*YANKEE), (1500, 18_303), "half_up", id="25"),
        pytest.param(won(*YANKEE), (1500, 18_302), "down", id="25 down"),
        pytest.param([Leg("4"), *[Leg("2", LOST)] * 3], (1500, 700), "down", id="one winner"),
    ],
)
async def test_a_house_may_promise_extras_for_a_lucky_15(
    account: Account,
    legs: list[Leg],
    money: tuple[int, int],
    rounding: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ROUNDING", rounding)
    monkeypatch.setenv("SPORTSBOOK_LUCKY_EXTRAS", "on")
    await pays(account, legs, 100, LUCKY, money)


async def test_37_a_withdrawal_deducts_from_the_winnings_of_bets_struck_before_it(
    door: Door, account: Account
) -> None:
    before, now = await account.cash(), SystemClock().now()
    events, bet = await account.strikes(won("2.25"), 1000)
    await door.settle(*events[0])
    await account.holds(before + 1250)
    order = {
        "event_id": events[0][0],
        "market_id": 1,
        "percent": 80,
        "from_at": (now - timedelta(minutes=1)).isoformat(),
        "until_at": (now + timedelta(minutes=1)).isoformat(),
    }
    answer = await door.post("/v1/admin/sportsbook/deductions", order, door.staff)
    assert answer.status_code == 200, answer.text
    assert (await account.get(f"/v1/bets/{bet['bet_id']}"))["payout"] == 1250
    await account.holds(before + 250)


async def test_43_no_bet_pays_more_than_the_cap(
    door: Door, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPORTSBOOK_PAYOUT_MAX", "1000000")
    before = await account.cash()
    events, bet = await account.strikes(won(*["2.0"] * 20), 1000)
    assert bet["potential_payout"] == 1_000_000
    for event_id, leg in events:
        await door.settle(event_id, leg)
    assert (await account.get(f"/v1/bets/{bet['bet_id']}"))["payout"] == 1_000_000
    await account.holds(before - 1000 + 1_000_000)


async def test_a_bet_pays_by_the_cap_and_the_rounding_that_it_was_struck_on(
    door: Door, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await account.cash()
    events, bet = await account.strikes(won("1.333"), 333)
    monkeypatch.setenv("SPORTSBOOK_PAYOUT_MAX", "400")
    monkeypatch.setenv("ROUNDING", "down")
    later, capped = await account.strikes(won("1.333"), 333)
    assert (bet["potential_payout"], capped["potential_payout"]) == (444, 400)
    await door.settle(*events[0])
    monkeypatch.setenv("SPORTSBOOK_PAYOUT_MAX", "1000000")
    monkeypatch.setenv("ROUNDING", "half_up")
    await door.settle(*later[0])
    await account.holds(before - 666 + 444 + 400)


@pytest.mark.parametrize(
    ("told", "paid", "left"),
    [
        pytest.param('result="1"', 2000, 0, id="44"),
        pytest.param(VOID, 0, 1, id="45"),
    ],
)
async def test_a_free_bet_is_used_once_and_its_stake_is_the_houses(
    door: Door, told: str, paid: int, left: int
) -> None:
    account = await Account.opened(door)
    given = {"user_id": account.user_id, "amount": 1000, "currency": "EUR"}
    answer = await door.post("/v1/admin/sportsbook/free-bets", given, door.staff)
    assert answer.status_code == 201, answer.text
    free = answer.json()["free_bet_id"]
    events, bet = await account.strikes([Leg("3.0", told)], 1000, free_bet_id=free)
    assert (await account.get("/v1/free-bets"))["items"] == []
    await door.settle(*events[0])
    shown = await account.get(f"/v1/bets/{bet['bet_id']}")
    assert shown["payout"] == paid
    assert len((await account.get("/v1/free-bets"))["items"]) == left
    await account.holds(paid)


async def test_a_free_bet_of_another_amount_or_used_before_is_refused(
    door: Door, account: Account
) -> None:
    given = {"user_id": account.user_id, "amount": 1000, "currency": "EUR"}
    answer = await door.post("/v1/admin/sportsbook/free-bets", given, door.staff)
    free = answer.json()["free_bet_id"]
    events = [(await door.offer(Leg("3.0")), Leg("3.0"))]
    for stake, status in ((900, 422), (1000, 201), (1000, 422)):
        answer = await account.slip(events, stake, free_bet_id=free)
        assert answer.status_code == status, answer.text


async def test_each_way_needs_a_race_and_a_market_that_says_who_was_placed(
    door: Door, account: Account
) -> None:
    leg = Leg("3.75")
    event_id = await door.offer(leg)
    await door.feed("odds_change", event_id, f"<odds>{race(RACE)}</odds>")
    answer = await account.slip([(event_id, leg)], 100, each_way=True)
    assert (answer.status_code, problem(answer)) == (409, "market-closed")
    selection = {"event_id": event_id, "market_id": 1, "outcome_id": "1", "odds": "3.75"}
    answer = await account.slip([(event_id, leg)], 100, each_way=True, selections=[selection])
    assert (answer.status_code, problem(answer)) == (400, "validation")


def race(market: int) -> str:
    rows = "".join(f'<outcome id="{number}" odds="3.75"/>' for number in range(1, 9))
    return f'<market id="{market}" status="1">{rows}</market>'
