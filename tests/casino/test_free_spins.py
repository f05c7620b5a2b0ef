"""Spin chances that marketing gave are played at the slots, each once."""

import pytest

from svc.casino.contract import OPEN_SESSION, PLAY_ROUND, NoSpinsLeft, OpenSession, PlayRound
from svc.marketing import contract as marketing, rules
from svc.mesh.clock import new_id
from tests.casino.players import balance_becomes, new_player
from tests.support.mesh import Operator, Services
from tests.support.waiting import until


async def test_the_welcome_spins_pay_for_slots_until_none_is_left(
    operator: Operator, services: Services
) -> None:
    await services("wallet", "casino", "marketing")
    user_id = await new_player(operator, 0)

    async def remaining() -> int:
        spins = await operator.call(marketing.SPINS, marketing.OfPlayer(user_id=user_id))
        return spins.by_game.get("slots", 0)

    async def awarded() -> bool:
        return await remaining() > 0

    await until(awarded, "the welcome spins are awarded")
    session = await operator.call(OPEN_SESSION, OpenSession(user_id=user_id, game_id="slots"))

    async def spin() -> int:
        request = PlayRound(
            user_id=user_id,
            session_id=session.session_id,
            idempotency_key=new_id(),
            stake=1,
            currency="EUR",
            choice={"free_spin": True},
        )
        played = await operator.call(PLAY_ROUND, request)
        assert await operator.call(PLAY_ROUND, request) == played
        return played.payout

    left = await remaining()
    won = sum([await spin() for _ in range(left)])
    assert await remaining() == 0
    with pytest.raises(NoSpinsLeft):
        await spin()
    await balance_becomes(operator, user_id, 0, bonus=rules.WELCOME_BONUS.amount + won)
