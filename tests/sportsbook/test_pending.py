"""Bets while the wallet is away: nothing is guessed, nothing is lost, nothing is paid twice."""

from datetime import timedelta

import pytest

from svc.mesh.clock import new_id
from svc.mesh.errors import Conflict, Unavailable
from svc.sportsbook.contract import BET_PLACED, LIST_BETS, PLACE_BET, BetsOf, PlaceBet
from tests.sportsbook.match import Match
from tests.sportsbook.players import Player, sweep, taken
from tests.support.mesh import Operator, Services
from tests.support.platform import Platform
from tests.support.waiting import until


async def pending_bet(services: Services, operator: Operator, slip: PlaceBet) -> str:
    """Strike a bet while no wallet answers; return its id."""
    await services.stop("wallet")
    with pytest.raises(Unavailable):
        await operator.call(PLACE_BET, slip)
    bets = await operator.call(LIST_BETS, BetsOf(user_id=slip.user_id, status="pending"))
    assert len(bets.items) == 1
    return bets.items[0].bet_id


async def test_a_bet_that_waits_for_the_wallet_is_accepted_by_the_sweep(
    match: Match, player: Player, services: Services, operator: Operator
) -> None:
    await match.odds()
    bet_id = await pending_bet(services, operator, player.slip(match.leg()))
    await services("wallet")

    async def accepted() -> bool:
        await sweep(operator)
        return (await player.bet(bet_id)).status == "accepted"

    await until(accepted, "the bet is accepted")
    assert await player.cash() == 9000
    await operator.heard(BET_PLACED, lambda data: data.bet_id == bet_id)
    assert len(await operator.all_heard(BET_PLACED, lambda data: data.bet_id == bet_id)) == 1


async def test_a_retry_with_the_same_key_goes_on_with_the_same_bet_at_its_price(
    match: Match, player: Player, services: Services, operator: Operator
) -> None:
    await match.odds()
    slip = player.slip(match.leg("2.50"))
    bet_id = await pending_bet(services, operator, slip)
    await match.odds({(1, ""): {"1": "1.50"}})
    await services("wallet")
    answer = await operator.call(PLACE_BET, slip)
    assert (answer.bet_id, answer.odds) == (bet_id, "2.50")
    assert await player.cash() == 9000


async def test_a_result_that_comes_while_the_bet_is_pending_settles_it_when_it_is_accepted(
    match: Match, player: Player, services: Services, operator: Operator
) -> None:
    await match.odds()
    slip = player.slip(match.leg())
    bet_id = await pending_bet(services, operator, slip)
    await match.settle({"1": 'result="1"'})
    assert (await player.bet(bet_id)).status == "pending"
    await services("wallet")
    await operator.call(PLACE_BET, slip)
    bet = await player.bet(bet_id)
    assert (bet.status, bet.payout) == ("settled", 2500)
    await player.gets_to(11_500)


async def test_a_bet_that_waited_too_long_is_given_up_and_no_money_moves(
    match: Match, player: Player, services: Services, operator: Operator, platform: Platform
) -> None:
    await match.odds()
    slip = player.slip(match.leg())
    bet_id = await pending_bet(services, operator, slip)
    await backdate(platform, bet_id)
    await services("wallet")
    await sweep(operator)
    await player.comes_to(bet_id, "rejected")
    assert await player.cash() == 10_000
    with pytest.raises(Conflict, match="given up"):
        await operator.call(PLACE_BET, slip)


async def test_a_stake_that_was_taken_without_an_answer_goes_back_when_the_bet_is_given_up(
    match: Match, player: Player, services: Services, operator: Operator, platform: Platform
) -> None:
    await match.odds()
    bet_id = await pending_bet(services, operator, player.slip(match.leg()))
    await services("wallet")
    await taken(operator, platform, bet_id)
    assert await player.cash() == 9000
    await backdate(platform, bet_id)
    await sweep(operator)
    await player.comes_to(bet_id, "rejected")
    assert await player.cash() == 10_000


async def test_a_wallet_that_answers_too_late_leaves_the_bet_pending_and_is_paid_once(
    match: Match, player: Player, operator: Operator, platform: Platform
) -> None:
    await match.odds()
    slip = player.slip(match.leg())
    async with platform.database("wallet") as database, database.transaction():
        await database.execute("LOCK TABLE transfer IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(Unavailable, match="same Idempotency-Key"):
            await operator.call(PLACE_BET, slip)
    answer = await operator.call(PLACE_BET, slip)
    assert answer.status == "accepted"
    assert await player.cash() == 9000


async def backdate(platform: Platform, bet_id: str) -> None:
    async with platform.database("sportsbook") as database:
        await database.execute(
            "UPDATE bet SET placed_at = placed_at - $2::interval WHERE bet_id = $1",
            bet_id,
            timedelta(minutes=5),
        )


async def test_an_unknown_key_after_all_this_is_a_new_bet(match: Match, player: Player) -> None:
    await match.odds()
    slip = player.slip(match.leg(), key=new_id())
    assert (await player.operator.call(PLACE_BET, slip)).status == "accepted"
