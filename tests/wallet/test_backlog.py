"""What waits for a wallet that was away is worked off when it comes back."""

import asyncio

from svc.marketing import contract as marketing
from svc.mesh.clock import new_id
from svc.mesh.errors import NotFound
from svc.wallet import contract as wallet
from tests.support.mesh import Operator, Services
from tests.support.waiting import until

BONUS = 300
CURRENCY = "XTQ"
STRANGERS = 60
"""More than the connections of the pool: each event holds one while it waits for the ledger."""


async def test_many_events_for_unknown_players_do_not_wait_for_each_other(
    services: Services, operator: Operator
) -> None:
    async def award(user_id: str) -> None:
        awarded = marketing.BonusAwarded(
            award_id=new_id(), user_id=user_id, campaign="welcome", kind="bonus", amount=BONUS,
            currency=CURRENCY, spins=0, transfer_id=new_id(), expires_at=None,
        )  # fmt: skip
        await operator.publish(marketing.BONUS_AWARDED, awarded, subject=user_id)

    async def has_it(user_id: str) -> bool:
        try:
            balance = await operator.call(wallet.BALANCE, wallet.BalanceOf(user_id=user_id))
        except NotFound:
            return False
        return balance.bonus == BONUS

    await services("wallet")
    await services.stop("wallet")
    users = [new_id() for _ in range(STRANGERS)]
    await asyncio.gather(*(award(user) for user in users))
    await services("wallet")

    for user in users:
        await until(lambda user=user: has_it(user))
