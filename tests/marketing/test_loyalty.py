"""Loyalty points: pending with the stake, earned when it is settled, and what takes them back."""

from datetime import UTC, datetime, timedelta

import pytest

from svc.casino import contract as casino
from svc.marketing.contract import LOYALTY_POINTS_EARNED, Loyalty
from svc.mesh.clock import new_id
from svc.sportsbook import contract as sportsbook
from tests.marketing.test_service import (
    bonuses_of,
    cancelled,
    completed,
    expire,
    loyalty_of,
    placed,
    played_out,
    registered,
    round_of,
    settled,
)
from tests.support.mesh import Operator, Services
from tests.support.platform import Platform
from tests.support.waiting import until


@pytest.fixture(autouse=True)
async def _running(services: Services) -> None:
    await services("marketing", "wallet")


def bought_back(user_id: str, bet_id: str) -> sportsbook.BetCashedOut:
    return sportsbook.BetCashedOut(
        bet_id=bet_id, user_id=user_id, amount=900, fraction="1", whole=True, currency="EUR",
        transfer_id=new_id(), stake_transfer_id=new_id(),
    )  # fmt: skip


def rolled_back(bet: sportsbook.BetSettled) -> sportsbook.BetRolledBack:
    return sportsbook.BetRolledBack(
        bet_id=bet.bet_id, user_id=bet.user_id, payout=0, refund=0, currency="EUR",
        transfer_id=new_id(), original_transfer_id=bet.transfer_id,
        stake_transfer_id=bet.stake_transfer_id,
    )  # fmt: skip


async def had_its_turn(operator: Operator) -> None:
    """Wait until another player, told of later on the same stream, has points."""
    other = await registered(operator)
    bet = settled(other, new_id(), "lost")
    await operator.publish(sportsbook.BET_SETTLED, bet, subject=bet.bet_id)
    await stands(operator, other, 10, 0)


async def stands(operator: Operator, user_id: str, earned: int, pending: int) -> None:
    """Wait until a player has so many points, and so many more from open bets."""

    async def so() -> bool:
        found = await loyalty_of(operator, user_id)
        return (found.points, found.pending) == (earned, pending)

    await until(so, f"{earned} points and {pending} pending")


async def test_points_are_pending_until_the_bet_is_settled_and_go_when_it_is_voided(
    operator: Operator, platform: Platform
) -> None:
    user_id, bet_id = await registered(operator), new_id()
    await operator.publish(sportsbook.BET_PLACED, placed(user_id, bet_id), subject=bet_id)
    async with platform.database("marketing") as database:

        async def noted() -> bool:
            pending = await database.fetchval(
                "SELECT pending_points FROM loyalty_stakes WHERE reference = $1", bet_id
            )
            return pending == 10

        await until(noted)
    held = await loyalty_of(operator, user_id)
    assert (held.points, held.pending) == (0, 10)
    await operator.publish(sportsbook.BET_SETTLED, settled(user_id, bet_id, "lost"), subject=bet_id)
    await operator.publish(sportsbook.BET_SETTLED, settled(user_id, bet_id, "won"), subject=bet_id)
    await operator.publish(sportsbook.BET_CANCELLED, cancelled(user_id, bet_id), subject=bet_id)
    earned = await operator.all_heard(
        LOYALTY_POINTS_EARNED, lambda e: e.user_id == user_id, count=2
    )
    assert [(e.data.points, e.data.balance) for e in earned] == [(10, 10), (-10, 0)]
    assert (await loyalty_of(operator, user_id)).points == 0


async def test_a_void_bet_and_a_late_placement_earn_nothing(operator: Operator) -> None:
    user_id, bet_id = await registered(operator), new_id()
    await operator.publish(sportsbook.BET_SETTLED, settled(user_id, bet_id, "void"), subject=bet_id)
    await operator.publish(casino.CASINO_PAYOUT_COMPLETE, round_of(user_id, 250), subject=user_id)
    earned = await operator.heard(LOYALTY_POINTS_EARNED, lambda e: e.user_id == user_id)
    assert (earned.data.points, earned.data.balance) == (2, 2)


async def test_a_tier_is_reached_by_casino_stakes(operator: Operator) -> None:
    user_id = await registered(operator)
    for stake in (100_000, 100_000):
        await operator.publish(
            casino.CASINO_PAYOUT_COMPLETE, round_of(user_id, stake), subject=user_id
        )
    earned = await operator.all_heard(
        LOYALTY_POINTS_EARNED, lambda e: e.user_id == user_id, count=2
    )
    assert [(e.data.points, e.data.tier) for e in earned] == [(1_000, "silver"), (1_100, "silver")]
    assert await loyalty_of(operator, user_id) == Loyalty(
        points=2_100, pending=0, tier="silver", next_tier="gold", points_to_next=2_900
    )


async def test_a_bet_that_was_bought_back_whole_earns_nothing_and_holds_up_no_bonus(
    operator: Operator, platform: Platform
) -> None:
    user_id, bet_id, late = await registered(operator), new_id(), new_id()
    await operator.publish(sportsbook.BET_PLACED, placed(user_id, bet_id), subject=bet_id)
    await stands(operator, user_id, 0, 10)
    told = bought_back(user_id, bet_id)
    await operator.publish(sportsbook.BET_CASHED_OUT, told, subject=bet_id)
    await stands(operator, user_id, 0, 0)
    told = bought_back(user_id, late)
    await operator.publish(sportsbook.BET_CASHED_OUT, told, subject=late)
    await operator.publish(sportsbook.BET_PLACED, placed(user_id, late), subject=late)
    await operator.publish(sportsbook.BET_SETTLED, settled(user_id, new_id(), "lost"), subject=late)
    await stands(operator, user_id, 10, 0)
    await played_out(operator, platform, user_id)
    await expire(operator)
    await completed(operator, user_id)


async def test_points_are_pending_again_while_a_settlement_is_taken_back(
    operator: Operator,
) -> None:
    user_id, bet_id = await registered(operator), new_id()
    for result in ("won", "lost"):
        bet = settled(user_id, bet_id, result)
        await operator.publish(sportsbook.BET_SETTLED, bet, subject=bet_id)
        await stands(operator, user_id, 10, 0)
        await operator.publish(sportsbook.BET_ROLLED_BACK, rolled_back(bet), subject=bet_id)
        await stands(operator, user_id, 0, 10)
    await operator.publish(sportsbook.BET_CANCELLED, cancelled(user_id, bet_id), subject=bet_id)
    await stands(operator, user_id, 0, 0)
    bet = settled(user_id, bet_id, "void")
    await operator.publish(sportsbook.BET_ROLLED_BACK, rolled_back(bet), subject=bet_id)
    await stands(operator, user_id, 0, 10)
    earned = await operator.all_heard(LOYALTY_POINTS_EARNED, lambda e: e.user_id == user_id)
    assert [(e.data.points, e.data.balance) for e in earned] == [(10, 10), (-10, 0)] * 2


async def test_the_last_word_on_points_holds_in_whatever_order_a_rollback_is_told(
    operator: Operator,
) -> None:
    user_id, bet_id = await registered(operator), new_id()
    first, last = datetime.now(UTC), datetime.now(UTC) + timedelta(seconds=1)
    won, lost = settled(user_id, bet_id, "won"), settled(user_id, bet_id, "lost")
    undo = rolled_back(won)
    await operator.publish(sportsbook.BET_PLACED, placed(user_id, bet_id), subject=bet_id)
    await stands(operator, user_id, 0, 10)
    await operator.publish(sportsbook.BET_ROLLED_BACK, undo, subject=bet_id, at=last)
    await had_its_turn(operator)
    await operator.publish(sportsbook.BET_SETTLED, won, subject=bet_id, at=first)
    await had_its_turn(operator)
    await stands(operator, user_id, 0, 10)
    # It was settled again at once: that is the newer word, also when it is told first.
    await operator.publish(sportsbook.BET_SETTLED, lost, subject=bet_id, at=last)
    await stands(operator, user_id, 10, 0)
    await operator.publish(sportsbook.BET_ROLLED_BACK, undo, subject=bet_id, at=last)
    await had_its_turn(operator)
    await stands(operator, user_id, 10, 0)


async def test_a_bet_that_is_open_again_holds_up_the_end_of_a_bonus(
    operator: Operator, platform: Platform
) -> None:
    user_id, other, bet_id = await registered(operator), await registered(operator), new_id()
    bet = settled(user_id, bet_id, "won")
    await operator.publish(sportsbook.BET_SETTLED, bet, subject=bet_id)
    await stands(operator, user_id, 10, 0)
    await operator.publish(sportsbook.BET_ROLLED_BACK, rolled_back(bet), subject=bet_id)
    await stands(operator, user_id, 0, 10)
    for each in (user_id, other):
        await played_out(operator, platform, each)
    await expire(operator)
    await completed(operator, other)
    assert (await bonuses_of(operator, user_id))["welcome-bonus"].status == "active"
    await operator.publish(sportsbook.BET_SETTLED, bet, subject=bet_id)
    await stands(operator, user_id, 10, 0)
    await expire(operator)
    await completed(operator, user_id)
