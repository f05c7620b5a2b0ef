"""Bonuses that are given up by a withdrawal, with the real wallet."""

import pytest

from svc.marketing.contract import BONUS_EXPIRED
from svc.mesh.clock import new_id
from svc.mesh.errors import NotFound
from svc.payment import contract as payment
from svc.wallet import contract as wallet
from tests.marketing.test_service import bonuses_of, deposit, registered
from tests.support.mesh import Operator, Services
from tests.support.platform import Platform
from tests.support.waiting import until


@pytest.fixture(autouse=True)
async def _running(services: Services) -> None:
    await services("marketing", "wallet")


async def holds(operator: Operator, user_id: str, cash: int, bonus: int) -> None:
    """Wait until the wallet holds so much."""

    async def so() -> bool:
        try:
            found = await operator.call(wallet.BALANCE, wallet.BalanceOf(user_id=user_id))
        except NotFound:
            return False
        return (found.cash, found.bonus) == (cash, bonus)

    await until(so, f"cash {cash}, bonus {bonus}")


async def test_a_withdrawal_takes_bonuses_that_are_not_played_out_and_never_cash(
    operator: Operator, platform: Platform
) -> None:
    user_id = await registered(operator)
    await operator.publish(
        payment.PAYMENT_SUCCESS, deposit(user_id, 700, first=True), subject=user_id
    )
    await holds(operator, user_id, 700, 1_700)
    # Bonus money that was won with bonus money goes with it.
    won = wallet.Transfer(
        transfer_id=new_id(), user_id=user_id, amount=300, currency="EUR", kind="bonus",
        reference="winnings",
    )  # fmt: skip
    await operator.call(wallet.CREDIT_BALANCE, won)
    async with platform.database("marketing") as database:

        async def followed() -> bool:
            known = "SELECT bonus_balance FROM players WHERE user_id = $1"
            return await database.fetchval(known, user_id) == 2_000

        await until(followed, "marketing knows the balance")
    asked = payment.WithdrawalRequested(
        withdrawal_id=new_id(), user_id=user_id, amount=500, currency="EUR"
    )
    for _ in range(2):
        await operator.publish(payment.WITHDRAWAL_REQUESTED, asked, subject=user_id)
    await holds(operator, user_id, 700, 0)
    gone = await operator.all_heard(BONUS_EXPIRED, lambda e: e.user_id == user_id, count=2)
    assert all(event.data.forfeited for event in gone)
    assert sum(event.data.amount for event in gone) == 2_000
    found = await bonuses_of(operator, user_id)
    assert {name: bonus.status for name, bonus in found.items()} == {
        "welcome-bonus": "forfeited", "first-deposit": "forfeited", "welcome-spins": "active",
    }  # fmt: skip


async def test_a_deposit_after_a_withdrawal_earns_its_bonus_as_ever(operator: Operator) -> None:
    user_id = await registered(operator)
    await holds(operator, user_id, 0, 1_000)
    asked = payment.WithdrawalRequested(
        withdrawal_id=new_id(), user_id=user_id, amount=500, currency="EUR"
    )
    await operator.publish(payment.WITHDRAWAL_REQUESTED, asked, subject=user_id)
    await holds(operator, user_id, 0, 0)
    paid = deposit(user_id, 700, first=True)
    await operator.publish(payment.PAYMENT_SUCCESS, paid, subject=user_id)
    await holds(operator, user_id, 700, 700)
