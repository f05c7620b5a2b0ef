"""Bets that end otherwise than they did before: the wallet follows, to the penny and once.

Every sequence begins with 100.00 and one bet of 10.00 at 2.00, as the table of the trade has it.
"""

import pytest

from svc.mesh.clock import new_id
from svc.sportsbook.contract import BET_ROLLED_BACK, BET_SETTLED, PLACE_BET, BetRefused
from svc.wallet import contract as wallet
from tests.sportsbook.match import Match
from tests.sportsbook.players import Player, until
from tests.support.mesh import Operator
from tests.support.platform import Platform

WON, LOST, VOID = 'result="1"', 'result="0"', 'result="0" void_factor="1"'
EVENS = {(1, ""): {"1": "2.00", "2": "2.00"}}


@pytest.fixture
async def bet(match: Match, player: Player) -> str:
    await match.odds(EVENS)
    return (await player.bets(match.leg("2.00"))).bet_id


async def payments_are_done(platform: Platform, bet_id: str) -> None:
    """Wait until the wallet has answered whatever it was told of a bet."""

    async def done() -> bool:
        async with platform.database("sportsbook") as database:
            waiting = await database.fetchval(
                "SELECT count(*) FROM transfer_order WHERE bet_id = $1 AND done_at IS NULL", bet_id
            )
        return waiting == 0

    await until(done, f"the payments of {bet_id} are done")


async def test_r1_the_same_result_confirmed_pays_nothing_more(
    match: Match, player: Player, bet: str, platform: Platform
) -> None:
    await player.gets_to(9000)
    await match.settle({"1": WON}, certainty=1)
    await player.gets_to(11_000)
    await match.settle({"1": WON}, certainty=2)
    await payments_are_done(platform, bet)
    assert await player.cash() == 11_000


async def test_r2_a_settlement_that_is_rolled_back_opens_the_bet_again(
    match: Match, player: Player, bet: str, operator: Operator
) -> None:
    await match.settle({"1": WON})
    await player.gets_to(11_000)
    await match.roll_back()
    await player.gets_to(9000)
    shown = await player.bet(bet)
    assert (shown.status, shown.payout, shown.result) == ("accepted", None, None)
    told = await operator.heard(BET_ROLLED_BACK, lambda data: data.bet_id == bet)
    assert (told.data.payout, told.data.refund) == (2000, 0)
    await match.settle({"1": LOST})
    assert (await player.bet(bet)).result == "lost"
    assert await player.cash() == 9000


async def test_r3_a_newer_result_changes_the_balance_by_the_difference(
    match: Match, player: Player, bet: str, operator: Operator, platform: Platform
) -> None:
    await match.settle({"1": WON}, certainty=1)
    await player.gets_to(11_000)
    await match.settle({"1": LOST}, certainty=2)
    await player.gets_to(9000)
    await payments_are_done(platform, bet)
    settled = await operator.all_heard(BET_SETTLED, lambda data: data.bet_id == bet)
    assert [event.data.result for event in settled] == ["won", "lost"]


async def test_r3_an_older_result_that_comes_later_changes_nothing(
    match: Match, player: Player, bet: str, platform: Platform
) -> None:
    earlier = match.tick()
    await match.settle({"1": WON})
    await match.settle({"1": LOST}, at_ms=earlier)
    await payments_are_done(platform, bet)
    await player.gets_to(11_000)
    assert (await player.bet(bet)).result == "won"


async def test_r4_a_cancellation_after_the_payout_leaves_the_stake(
    match: Match, player: Player, bet: str, platform: Platform
) -> None:
    await match.settle({"1": WON})
    await player.gets_to(11_000)
    await match.cancel()
    await player.gets_to(10_000)
    assert (await player.bet(bet)).status == "cancelled"
    await match.undo_cancel()
    await player.gets_to(11_000)
    await payments_are_done(platform, bet)
    shown = await player.bet(bet)
    assert (shown.status, shown.payout) == ("settled", 2000)


async def test_r7_what_was_withdrawn_meanwhile_is_owed_and_the_next_deposit_clears_it(
    match: Match, player: Player, bet: str, operator: Operator
) -> None:
    await match.settle({"1": WON})
    await player.gets_to(11_000)
    await withdrawn(operator, player, 11_000)
    await match.roll_back()
    await player.gets_to(-2000)
    await match.odds(EVENS)
    with pytest.raises(BetRefused):
        await player.bets(match.leg("2.00"), stake=10)
    with pytest.raises(wallet.InDebt):
        await withdrawn(operator, player, 1)
    await player.with_money(2500)
    assert await player.cash() == 500
    await match.odds(EVENS)
    slip = player.slip(match.leg("2.00"), stake=500)
    assert (await operator.call(PLACE_BET, slip)).status == "accepted"
    assert (await player.bet(bet)).status == "accepted"


async def withdrawn(operator: Operator, player: Player, amount: int) -> None:
    await operator.call(
        wallet.DEDUCT_BALANCE,
        wallet.Transfer(
            transfer_id=new_id(),
            user_id=player.user_id,
            amount=amount,
            currency="EUR",
            kind="withdrawal",
            reference="test",
        ),
    )


async def test_r8_whatever_is_told_twice_or_replayed_by_a_recovery_changes_nothing(
    match: Match, player: Player, bet: str, platform: Platform
) -> None:
    win, back, lose = match.tick(), match.tick(), match.tick()
    for request_id in (None, None, 17):
        await match.settle({"1": WON}, at_ms=win, request_id=request_id)
    await player.gets_to(11_000)
    for request_id in (None, None, 17):
        await match.roll_back(at_ms=back, request_id=request_id)
    await player.gets_to(9000)
    await match.settle({"1": WON}, at_ms=win, request_id=18)
    await match.settle({"1": LOST}, at_ms=lose)
    await match.roll_back(at_ms=back, request_id=18)
    await payments_are_done(platform, bet)
    assert ((await player.bet(bet)).result, await player.cash()) == ("lost", 9000)


async def test_a_void_that_turns_into_a_win_is_paid_in_full(
    match: Match, player: Player, bet: str
) -> None:
    await match.settle({"1": VOID})
    await player.gets_to(10_000)
    await match.settle({"1": WON})
    await player.gets_to(11_000)
    assert (await player.bet(bet)).payout == 2000


async def test_an_accumulator_that_was_lost_lives_again_with_its_leg(
    match: Match, player: Player, operator: Operator
) -> None:
    other = Match(operator)
    for each in (match, other):
        await each.odds(EVENS)
    placed = await player.bets(match.leg("2.00"), other.leg("2.00"))
    await match.settle({"1": LOST})
    await player.comes_to(placed.bet_id, "settled")
    await other.settle({"1": WON})
    await match.settle({"1": WON})
    await player.gets_to(13_000)
    await match.roll_back()
    await player.gets_to(9000)
    assert (await player.bet(placed.bet_id)).status == "accepted"
