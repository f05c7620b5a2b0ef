"""Loyalty points of bets that end otherwise than settled, or not for good."""

import pytest

from svc.mesh.clock import new_id
from svc.sportsbook import contract as sportsbook
from tests.marketing.test_service import (
    completed,
    expire,
    loyalty_of,
    placed,
    played_out,
    registered,
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


async def stands(operator: Operator, user_id: str, earned: int, pending: int) -> None:
    """Wait until a player has so many points, and so many more from open bets."""

    async def so() -> bool:
        found = await loyalty_of(operator, user_id)
        return (found.points, found.pending) == (earned, pending)

    await until(so, f"{earned} points and {pending} pending")


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
