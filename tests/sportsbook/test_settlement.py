"""How bets end: by results and cancellations of the feed, paid by the real wallet."""

import asyncio
from datetime import datetime

import pytest

from svc.sportsbook.contract import BET_CANCELLED, BET_SETTLED, LIST_BETS, BetsOf, MarketClosed
from tests.sportsbook.match import Match
from tests.sportsbook.players import Player
from tests.support.mesh import Operator


@pytest.mark.parametrize(
    ("told", "result", "payout"),
    [
        ('result="1"', "won", 2500),
        ('result="0"', "lost", 0),
        ('result="0" void_factor="1"', "void", 1000),
        ('result="1" void_factor="0.0"', "won", 2500),
        ('result="1" void_factor="0.5"', "partial", 1750),
        ('result="0" void_factor="0.5"', "partial", 500),
        ('result="1" dead_heat_factor="0.5"', "won", 1250),
    ],
)
async def test_a_settlement_pays_what_the_outcome_is_worth(
    match: Match, player: Player, told: str, result: str, payout: int
) -> None:
    await match.odds()
    placed = await player.bets(match.leg())
    await match.settle({"1": told})
    event = await player.operator.heard(BET_SETTLED, lambda data: data.bet_id == placed.bet_id)
    assert (event.data.result, event.data.payout) == (result, payout)
    bet = await player.bet(placed.bet_id)
    assert (bet.status, bet.result, bet.payout) == ("settled", result, payout)
    await player.gets_to(9000 + payout)


async def test_a_settlement_that_comes_again_as_confirmed_pays_once(
    match: Match, player: Player, operator: Operator
) -> None:
    await match.odds()
    placed = await player.bets(match.leg())
    for certainty in (1, 2, 2):
        await match.settle({"1": 'result="1"', "2": 'result="0"'}, certainty=certainty)
    await player.gets_to(11_500)
    await operator.heard(BET_SETTLED, lambda data: data.bet_id == placed.bet_id)
    heard = await operator.all_heard(BET_SETTLED, lambda data: data.bet_id == placed.bet_id)
    assert len(heard) == 1


async def test_an_undecided_outcome_leaves_the_bet_open(match: Match, player: Player) -> None:
    await match.odds()
    placed = await player.bets(match.leg())
    await match.settle({"1": 'result="-1"'})
    assert (await player.bet(placed.bet_id)).status == "accepted"


async def test_a_settlement_of_another_line_leaves_the_bet_open(
    match: Match, player: Player
) -> None:
    lines = {
        (18, "total=2.5"): {"12": "1.85", "13": "1.95"},
        (18, "total=3.5"): {"12": "3.1", "13": "1.3"},
    }
    await match.odds(lines)
    placed = await player.bets(match.leg("1.85", market=18, specifiers="total=2.5", outcome="12"))
    await match.settle({"12": 'result="0"'}, market=18, specifiers="total=3.5")
    assert (await player.bet(placed.bet_id)).status == "accepted"
    await match.settle({"12": 'result="1"'}, market=18, specifiers="total=2.5")
    assert (await player.bet(placed.bet_id)).payout == 1850


async def test_a_cancellation_gives_back_the_stakes_of_bets_struck_in_its_window(
    match: Match, player: Player, operator: Operator
) -> None:
    await match.odds()
    before = await player.bets(match.leg())
    inside = await player.bets(match.leg())
    after = await player.bets(match.leg())
    start, end = ms(inside.placed_at), ms(after.placed_at)
    await match.cancel(start=start, end=end)
    event = await operator.heard(BET_CANCELLED, lambda data: data.bet_id == inside.bet_id)
    assert event.data.refund == 1000
    found = [(await player.bet(each.bet_id)).status for each in (before, inside, after)]
    assert found == ["accepted", "cancelled", "accepted"]
    await player.gets_to(8000)


def ms(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)


async def test_a_cancellation_without_a_window_voids_all_and_a_later_result_changes_nothing(
    match: Match, player: Player
) -> None:
    await match.odds()
    placed = await player.bets(match.leg())
    await match.cancel()
    await match.settle({"1": 'result="1"'})
    bet = await player.bet(placed.bet_id)
    assert (bet.status, bet.result, bet.payout) == ("cancelled", "void", 1000)
    await player.gets_to(10_000)


async def test_an_accumulator_multiplies_and_a_void_leg_counts_as_one(
    match: Match, player: Player, operator: Operator
) -> None:
    other, third = Match(operator), Match(operator)
    for each in (match, other, third):
        await each.odds()
    placed = await player.bets(match.leg(), other.leg(), third.leg())
    assert (placed.odds, placed.potential_payout) == ("15.625", 15_625)
    await match.settle({"1": 'result="1"'})
    await other.cancel()
    assert (await player.bet(placed.bet_id)).status == "accepted"
    await third.settle({"1": 'result="1"'})
    bet = await player.bet(placed.bet_id)
    assert (bet.result, bet.payout) == ("won", 6250)
    assert [leg.result for leg in bet.legs] == ["won", "void", "won"]
    await player.gets_to(15_250)


async def test_an_accumulator_is_lost_with_its_first_lost_leg(
    match: Match, player: Player, operator: Operator
) -> None:
    other = Match(operator)
    for each in (match, other):
        await each.odds()
    placed = await player.bets(match.leg(), other.leg())
    await match.settle({"1": 'result="0"'})
    assert (await player.bet(placed.bet_id)).result == "lost"
    await other.settle({"1": 'result="1"'})
    bet = await player.bet(placed.bet_id)
    assert (bet.payout, [leg.result for leg in bet.legs]) == (0, ["lost", "won"])


async def test_legs_that_are_settled_at_the_same_time_settle_their_bet_once(
    match: Match, player: Player, operator: Operator
) -> None:
    matches = [match, *(Match(operator) for _ in range(5))]
    for each in matches:
        await each.odds()
    placed = await player.bets(*(each.leg() for each in matches), stake=100)
    await asyncio.gather(*(each.settle({"1": 'result="1"'}) for each in matches))
    bet = await player.comes_to(placed.bet_id, "settled")
    assert bet.payout == 24_414
    heard = await operator.all_heard(BET_SETTLED, lambda data: data.bet_id == placed.bet_id)
    assert len(heard) == 1


async def test_a_bet_that_meets_its_settlement_is_either_refused_or_settled(
    match: Match, player: Player, operator: Operator
) -> None:
    await match.odds()

    async def one() -> str:
        try:
            return (await player.bets(match.leg(), stake=10)).bet_id
        except MarketClosed:
            return ""

    bets = [asyncio.create_task(one()) for _ in range(40)]
    await asyncio.wait(bets, return_when=asyncio.FIRST_COMPLETED)
    await match.settle({"1": 'result="1"'})
    struck = [bet_id for bet_id in await asyncio.gather(*bets) if bet_id]
    assert struck
    page = await operator.call(LIST_BETS, BetsOf(user_id=player.user_id, limit=200))
    assert {bet.bet_id for bet in page.items} == set(struck)
    assert {(bet.status, bet.payout) for bet in page.items} == {("settled", 25)}
    await player.gets_to(10_000 + 15 * len(struck))
