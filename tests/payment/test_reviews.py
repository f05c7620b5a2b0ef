"""Large deposits are authorised first; an operator captures them, a part, or lets them go."""

import pytest

from svc.mesh.errors import Conflict
from svc.payment.contract import (
    CAPTURE_DEPOSIT,
    RELEASE_DEPOSIT,
    CaptureDeposit,
    Deposit,
    ReleaseDeposit,
)
from tests.payment.support import Shop
from tests.support.waiting import until


@pytest.fixture(autouse=True)
def reviewed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAYMENT_REVIEW_FROM", "5000")


async def authorised(shop: Shop, user: str) -> Deposit:
    asked = await shop.deposit(user, 8_000)

    async def waits() -> bool:
        payment = await shop.provider_id(asked.deposit_id)
        intent = (await shop.provider.get(f"/v1/payment_intents/{payment}")).json()
        return bool(intent["status"] == "requires_capture")

    await until(waits)
    return asked


async def capture(shop: Shop, deposit: Deposit, amount: int | None = None) -> Deposit:
    request = CaptureDeposit(deposit_id=deposit.deposit_id, amount=amount)
    return await shop.operator.call(CAPTURE_DEPOSIT, request)


async def test_of_an_authorised_deposit_the_captured_part_is_credited_once(shop: Shop) -> None:
    user = await shop.player()
    asked = await authorised(shop, user)
    await shop.sweep()
    assert (await shop.balance(user)).cash == 0
    for _ in range(2):
        taken = await capture(shop, asked, 3_000)
        assert (taken.status, taken.amount, taken.received) == ("succeeded", 8_000, 3_000)
    await shop.has(user, cash=3_000)
    for other in (8_001, None):
        with pytest.raises(Conflict):
            await capture(shop, asked, other)
    with pytest.raises(Conflict):
        await shop.operator.call(RELEASE_DEPOSIT, ReleaseDeposit(deposit_id=asked.deposit_id))


async def test_a_capture_whose_answer_is_lost_is_made_once(shop: Shop) -> None:
    user = await shop.player()
    asked = await authorised(shop, user)
    await shop.faults(timeout_after_success=1, drop=True)
    assert (await capture(shop, asked)).status == "succeeded"
    await shop.has(user, cash=8_000)


async def test_a_deposit_that_is_let_go_fails_and_more_than_it_cannot_be_captured(
    shop: Shop,
) -> None:
    user = await shop.player()
    asked = await authorised(shop, user)
    with pytest.raises(Conflict):
        await capture(shop, asked, 8_001)
    for _ in range(2):
        gone = await shop.operator.call(
            RELEASE_DEPOSIT, ReleaseDeposit(deposit_id=asked.deposit_id)
        )
        assert (gone.status, gone.reason) == ("failed", "canceled")
    assert (await shop.balance(user)).cash == 0


async def test_a_small_deposit_waits_for_nobody_and_cannot_be_captured(shop: Shop) -> None:
    user = await shop.player()
    asked = await shop.deposit(user, 4_999)
    await shop.has(user, cash=4_999)
    with pytest.raises(Conflict):
        await capture(shop, asked)
