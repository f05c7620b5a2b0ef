"""Every row of the trade's table of bets through the public doors: HTTP, and the feed's.

Each row is struck, settled by the feed and paid; what is rounded down in other places is in the
unit tables, as are extras and margins that a house may choose.
"""

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from svc.mesh.clock import SystemClock, new_id
from svc.wallet import contract as wallet
from tests.sportsbook.house_door import RACE, Account, Door, Leg
from tests.support.mesh import Operator, Services
from tests.support.platform import Platform

LOST, VOID = 'result="0"', 'result="0" void_factor="1"'
RICH = 100_000_000


@pytest.fixture(scope="module")
async def door(platform: Platform, services: Services) -> AsyncGenerator[Door]:
    await services("identity", "gateway", "sportsbook", "wallet")
    settings = platform.settings
    async with httpx.AsyncClient(base_url=settings["GATEWAY_URL"], timeout=20) as client:
        door = Door(client, settings["BETRADAR_TOKEN"])
        door.staff = await door.log_in(settings["ADMIN_EMAIL"], settings["ADMIN_PASSWORD"])
        yield door


@pytest.fixture(scope="module")
async def player(door: Door, operator: Operator) -> Account:
    """A player with a million, who strikes all the bets of these tables."""
    account = await Account.opened(door)
    await deposited(operator, account, RICH)
    return account


async def struck(
    door: Door, player: Account, legs: list[Leg], stake: int, **more: Any
) -> tuple[list[tuple[str, Leg]], dict[str, Any]]:
    """Offer the legs and strike a bet on them."""
    each_way = bool(more.get("each_way"))
    events = [(await door.offer(leg, each_way=each_way), leg) for leg in legs]
    return events, await player.bets(events, stake, **more)


def won(*odds: str) -> list[Leg]:
    return [Leg(each) for each in odds]


def dead_heat(odds: str, factor: str) -> Leg:
    return Leg(odds, f'result="1" dead_heat_factor="{factor}"')


TREBLE = ("2.5", "2.0", "2.25")
YANKEE = ("2", "3.5", "4", "1.5")
ROWS = [
    pytest.param(won("5.5"), 10_000, {}, (10_000, 55_000), id="1"),
    pytest.param([Leg("2.00", LOST)], 1000, {}, (1000, 0), id="2"),
    pytest.param([Leg("1.85", VOID)], 1234, {}, (1234, 1234), id="3"),
    pytest.param([Leg("1.90", 'result="1" void_factor="0.5"')], 1000, {}, (1000, 1450), id="4"),
    pytest.param([dead_heat("11", "0.5")], 1000, {}, (1000, 5500), id="7"),
    pytest.param([dead_heat("5.0", "0.5")], 1000, {}, (1000, 2500), id="8"),
    pytest.param([dead_heat("2.50", "0.5")], 5000, {}, (5000, 6250), id="10"),
    pytest.param([dead_heat("5.00", "0.3333")], 10_000, {}, (10_000, 16_665), id="11"),
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
    player: Account, legs: list[Leg], stake: int, more: dict[str, Any], money: tuple[int, int]
) -> None:
    door = player.door
    before = await player.cash()
    kind = {"kind": "system"} if "system" in more or "system_sizes" in more else {}
    events, bet = await struck(door, player, legs, stake, **kind, **more)
    assert (bet["status"], bet["stake"]) == ("accepted", money[0])
    assert await player.cash() == before - money[0]
    for event_id, leg in events:
        await door.settle(event_id, leg, each_way=bool(more.get("each_way")))
    shown = await player.get(f"/v1/bets/{bet['bet_id']}")
    assert shown["payout"] == money[1]
    await player.holds(before - money[0] + money[1])


async def test_37_a_withdrawal_deducts_from_the_winnings_of_bets_struck_before_it(
    door: Door, player: Account
) -> None:
    before, now = await player.cash(), SystemClock().now()
    events, bet = await struck(door, player, won("2.25"), 1000)
    await door.settle(*events[0])
    await player.holds(before + 1250)
    order = {
        "event_id": events[0][0],
        "market_id": 1,
        "percent": 80,
        "from_at": (now - timedelta(minutes=1)).isoformat(),
        "until_at": (now + timedelta(minutes=1)).isoformat(),
    }
    answer = await door.post("/v1/admin/sportsbook/deductions", order, door.staff)
    assert answer.status_code == 200, answer.text
    assert (await player.get(f"/v1/bets/{bet['bet_id']}"))["payout"] == 1250
    await player.holds(before + 250)


async def test_43_no_bet_pays_more_than_the_cap(door: Door, player: Account) -> None:
    before = await player.cash()
    events, bet = await struck(door, player, won(*["4.0"] * 14), 1000)
    assert bet["potential_payout"] == 100_000_000
    for event_id, leg in events:
        await door.settle(event_id, leg)
    assert (await player.get(f"/v1/bets/{bet['bet_id']}"))["payout"] == 100_000_000
    await player.holds(before - 1000 + 100_000_000)


@pytest.mark.parametrize(
    ("told", "paid", "left"),
    [
        pytest.param('result="1"', 2000, 0, id="44: won, the stake is not returned"),
        pytest.param(VOID, 0, 1, id="45: void, the free bet is back"),
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
    events, bet = await struck(door, account, [Leg("3.0", told)], 1000, free_bet_id=free)
    assert (await account.get("/v1/free-bets"))["items"] == []
    await door.settle(*events[0])
    shown = await account.get(f"/v1/bets/{bet['bet_id']}")
    assert shown["payout"] == paid
    assert len((await account.get("/v1/free-bets"))["items"]) == left
    await account.holds(paid)


async def test_a_free_bet_of_another_amount_or_used_before_is_refused(
    door: Door, player: Account
) -> None:
    given = {"user_id": player.user_id, "amount": 1000, "currency": "EUR"}
    answer = await door.post("/v1/admin/sportsbook/free-bets", given, door.staff)
    free = answer.json()["free_bet_id"]
    events = [(await door.offer(Leg("3.0")), Leg("3.0"))]
    for stake, status in ((900, 422), (1000, 201), (1000, 422)):
        answer = await player.slip(events, stake, free_bet_id=free)
        assert answer.status_code == status, answer.text


WON_1, WON_2, LOST_2 = "won, scouted", "won, confirmed", "lost, confirmed"
BACK, CANCEL, AGAIN, REPLAY, GONE = (
    "rolled back",
    "cancelled",
    "told again",
    "replayed",
    "withdrawn",
)
SEQUENCES = [
    pytest.param([(WON_1, 11_000), (WON_2, 11_000)], "settled", id="R1"),
    pytest.param(
        [(WON_1, 11_000), (WON_2, 11_000), (BACK, 9000), (LOST_2, 9000)], "settled", id="R2"
    ),
    pytest.param([(WON_1, 11_000), (LOST_2, 9000)], "settled", id="R3"),
    pytest.param([(WON_1, 11_000), (CANCEL, 10_000)], "cancelled", id="R4"),
    pytest.param([(WON_1, 11_000), (GONE, 0), (BACK, -2000)], "accepted", id="R7"),
    pytest.param(
        [
            (WON_1, 11_000), (AGAIN, 11_000), (REPLAY, 11_000), (BACK, 9000), (AGAIN, 9000),
            (REPLAY, 9000), (CANCEL, 10_000), (AGAIN, 10_000), (REPLAY, 10_000),
        ],
        "cancelled", id="R8",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("steps", "status"), SEQUENCES)
async def test_a_bet_that_ends_otherwise_leaves_the_right_balance_after_each_step(
    door: Door, operator: Operator, steps: list[tuple[str, int]], status: str
) -> None:
    account = await Account.opened(door)
    await deposited(operator, account, 10_000)
    events, bet = await struck(door, account, won("2.00"), 1000)
    assert await account.cash() == 9000
    for step, cash in steps:
        if step == GONE:
            await deposited(operator, account, -11_000)
        else:
            await told(door, events[0][0], step)
        await account.holds(cash)
    assert (await account.get(f"/v1/bets/{bet['bet_id']}"))["status"] == status
    if steps[-1][1] < 0:
        event = (await door.offer(Leg("2.00")), Leg("2.00"))
        answer = await account.slip([event], 10)
        assert (answer.status_code, problem(answer)) == (422, "insufficient-funds")
        await deposited(operator, account, 2500)
        assert await account.cash() == 500


async def told(door: Door, event_id: str, step: str) -> None:
    """Let the feed tell one step of a sequence."""
    results = {WON_1: (1, 1), WON_2: (2, 1), LOST_2: (2, 0)}
    if step in {AGAIN, REPLAY}:
        await door.repeat('request_id="7"' if step == REPLAY else "")
    elif step in results:
        certainty, result = results[step]
        market = f'<market id="1"><outcome id="1" result="{result}"/></market>'
        inside = f"<outcomes>{market}</outcomes>"
        await door.feed("bet_settlement", event_id, inside, f'certainty="{certainty}"')
    else:
        name = "rollback_bet_settlement" if step == BACK else "bet_cancel"
        await door.feed(name, event_id, '<market id="1"/>')


async def deposited(operator: Operator, account: Account, amount: int) -> None:
    """Let money come in, or go out when it is below zero."""
    transfer = wallet.Transfer(
        transfer_id=new_id(),
        user_id=account.user_id,
        amount=abs(amount),
        currency="EUR",
        kind="deposit" if amount > 0 else "withdrawal",
        reference="test",
    )
    await operator.call(wallet.CREDIT_BALANCE if amount > 0 else wallet.DEDUCT_BALANCE, transfer)


async def cashed_out(player: Account, bet_id: str, **more: Any) -> tuple[int, dict[str, Any]]:
    """Ask for an offer and take it; return the whole offer and what was said to the taking."""
    path = f"/v1/bets/{bet_id}/cash-out"
    quote = await player.door.post(f"{path}/quote", None, player.headers)
    assert quote.status_code == 200, quote.text
    body = {"quote_id": quote.json()["quote_id"], **more}
    answer = await player.door.post(path, body, player.headers)
    assert answer.status_code == 200, answer.text
    return quote.json()["amount"], answer.json()


async def test_c1_a_bet_is_bought_back_at_the_prices_of_now(door: Door, player: Account) -> None:
    before = await player.cash()
    events, bet = await struck(door, player, won("3.00"), 1000)
    await reprice(door, events[0][0], "1.50")
    offered, said = await cashed_out(player, bet["bet_id"])
    assert (offered, said["amount"], said["status"]) == (1900, 1900, "cashed_out")
    await player.holds(before + 900)
    await door.settle(*events[0])
    shown = await player.get(f"/v1/bets/{bet['bet_id']}")
    assert (shown["status"], shown["payout"]) == ("cashed_out", 1900)
    assert await player.cash() == before + 900


async def reprice(door: Door, event_id: str, odds: str, more: str = "") -> None:
    outcome = f'<outcome id="1" odds="{odds}" {more}/>'
    market = f'<market id="1" status="1" cashout_status="1">{outcome}</market>'
    await door.feed("odds_change", event_id, f"<odds>{market}</odds>")


async def test_c4_decided_legs_count_as_they_are_and_open_ones_by_their_chances(
    door: Door, player: Account
) -> None:
    before = await player.cash()
    events, bet = await struck(door, player, [Leg("2.0", VOID), Leg("3.0")], 1000)
    await door.settle(*events[0])
    await reprice(door, events[1][0], "2.4", 'probabilities="0.40" win_probabilities="0.40"')
    offered, _ = await cashed_out(player, bet["bet_id"])
    assert offered == 1140
    await player.holds(before + 140)


async def test_c6_a_part_is_bought_back_and_the_rest_runs_on(door: Door, player: Account) -> None:
    before = await player.cash()
    events, bet = await struck(door, player, won("3.00"), 1000)
    await reprice(door, events[0][0], "1.50")
    offered, said = await cashed_out(player, bet["bet_id"], fraction=0.4)
    assert (offered, said["amount"], said["status"]) == (1900, 760, "accepted")
    await player.holds(before - 240)
    await door.settle(*events[0])
    shown = await player.get(f"/v1/bets/{bet['bet_id']}")
    assert (shown["payout"], shown["cashed_out"]) == (1800, 760)
    await player.holds(before - 240 + 1800)


async def test_an_offer_is_void_when_something_happens_to_the_bet(
    door: Door, player: Account
) -> None:
    legs = [Leg("2.0"), Leg("3.0")]
    events, bet = await struck(door, player, legs, 1000)
    path = f"/v1/bets/{bet['bet_id']}/cash-out"
    quote = (await door.post(f"{path}/quote", None, player.headers)).json()["quote_id"]
    await door.settle(*events[0])
    answer = await door.post(path, {"quote_id": quote}, player.headers)
    assert (answer.status_code, problem(answer)) == (409, "quote-expired")
    await door.feed("bet_stop", events[1][0], "", 'groups="all"')
    answer = await door.post(f"{path}/quote", None, player.headers)
    assert (answer.status_code, problem(answer)) == (409, "market-closed")


def problem(answer: httpx.Response) -> str:
    return answer.json()["type"].rsplit(":", 1)[1]


async def test_an_offer_is_taken_once_whatever_is_sent_twice(door: Door, player: Account) -> None:
    before = await player.cash()
    _, bet = await struck(door, player, won("3.00"), 1000)
    path = f"/v1/bets/{bet['bet_id']}/cash-out"
    quote = (await door.post(f"{path}/quote", None, player.headers)).json()["quote_id"]
    body, key = {"quote_id": quote, "fraction": "0.5"}, {"idempotency-key": new_id()}
    answers = [await door.post(path, body, player.headers | key) for _ in range(2)]
    assert [answer.json()["amount"] for answer in answers] == [475, 475]
    other = await door.post(path, body, player.headers)
    assert (other.status_code, problem(other)) == (409, "conflict")
    await player.holds(before - 525)


async def test_a_bet_is_either_bought_back_or_settled_and_paid_once(
    door: Door, player: Account
) -> None:
    before = await player.cash()
    events, bet = await struck(door, player, won("3.00"), 1000)
    path = f"/v1/bets/{bet['bet_id']}/cash-out"
    quote = (await door.post(f"{path}/quote", None, player.headers)).json()["quote_id"]
    takes = [door.post(path, {"quote_id": quote}, player.headers) for _ in range(5)]
    settling = asyncio.create_task(door.settle(*events[0]))
    answers = await asyncio.gather(*takes)
    await settling
    taken = [answer for answer in answers if answer.status_code == 200]
    assert len(taken) <= 1
    shown = await player.get(f"/v1/bets/{bet['bet_id']}")
    paid = taken[0].json()["amount"] if taken else 3000
    assert (shown["status"], shown["payout"]) == ("cashed_out" if taken else "settled", paid)
    await player.holds(before - 1000 + paid)


async def test_each_way_needs_a_race_and_a_market_that_says_who_was_placed(
    door: Door, player: Account
) -> None:
    leg = Leg("3.75")
    event_id = await door.offer(leg)
    await door.feed("odds_change", event_id, f"<odds>{race(RACE)}</odds>")
    answer = await player.slip([(event_id, leg)], 100, each_way=True)
    assert (answer.status_code, problem(answer)) == (409, "market-closed")
    selection = {"event_id": event_id, "market_id": 1, "outcome_id": "1", "odds": "3.75"}
    answer = await player.slip([(event_id, leg)], 100, each_way=True, selections=[selection])
    assert (answer.status_code, problem(answer)) == (400, "validation")


def race(market: int) -> str:
    rows = "".join(f'<outcome id="{number}" odds="3.75"/>' for number in range(1, 9))
    return f'<market id="{market}" status="1">{rows}</market>'
