"""Refunds that fail late: the bank sends the money back, and the wallet has it again, once."""

from typing import Any

from svc.mesh.clock import new_id
from svc.payment.contract import (
    REFUND_DEPOSIT,
    REFUND_RETURNED,
    RefundDeposit,
)
from svc.payment.contract_reports import RECONCILE, ReconciliationOf
from tests.payment.support import Shop
from tests.support.waiting import until

METHOD = "card_refund_fails"
AMOUNT = 4_000


async def refund(shop: Shop, deposit_id: str) -> None:
    request = RefundDeposit(deposit_id=deposit_id, idempotency_key=new_id())
    await shop.operator.call(REFUND_DEPOSIT, request)


async def returned(shop: Shop, deposit_id: str) -> int:
    async with shop.platform.database("payment") as database:
        query = "SELECT count(*) FROM refund_returns WHERE deposit_id = $1 AND state = 'credited'"
        return int(await database.fetchval(query, deposit_id))


async def test_a_refund_that_comes_back_is_in_the_wallet_again_and_may_be_made_anew(
    shop: Shop,
) -> None:
    user = await shop.player()
    deposit = await shop.deposit(user, AMOUNT, METHOD)
    await shop.has(user, cash=AMOUNT)
    for times in (1, 2):
        await refund(shop, deposit.deposit_id)

        async def back(times: int = times) -> bool:
            await shop.sweep()
            return await returned(shop, deposit.deposit_id) == times

        await until(back, "the refund came back")
        await shop.has(user, cash=AMOUNT)
        await shop.deposit_is(user, deposit.deposit_id, "succeeded")
    told = await shop.operator.all_heard(
        REFUND_RETURNED, lambda data: data.user_id == user, count=2
    )
    assert {event.data.amount for event in told} == {AMOUNT}


async def test_the_news_of_a_returned_refund_may_come_first_and_often(shop: Shop) -> None:
    user = await shop.player()
    deposit = await shop.deposit(user, AMOUNT)
    await shop.has(user, cash=AMOUNT)
    payment = await shop.provider_id(deposit.deposit_id)
    failed: dict[str, Any] = {
        "id": f"re_{new_id()}", "object": "refund", "amount": 1_500, "currency": "eur",
        "payment_intent": payment, "status": "failed", "metadata": {},
    }  # fmt: skip
    charge: dict[str, Any] = {
        "id": f"ch_{new_id()}", "payment_intent": payment, "amount_refunded": 0,
        "refunds": {"data": [{**failed, "status": "succeeded"}]}, "metadata": {},
    }  # fmt: skip
    for _ in range(2):
        await shop.webhook("refund.failed", failed)
    await shop.webhook("charge.refunded", charge)
    await shop.webhook("charge.refund.updated", failed)

    async def back() -> bool:
        await shop.sweep()
        async with shop.platform.database("payment") as database:
            query = "SELECT count(*) FROM refunds WHERE deposit_id = $1 AND state = 'done'"
            done = await database.fetchval(query, deposit.deposit_id)
        return bool(done) and await returned(shop, deposit.deposit_id) == 1

    await until(back, "the refund was taken and came back")
    await shop.has(user, cash=AMOUNT)
    assert (await shop.deposit_is(user, deposit.deposit_id, "succeeded")).amount == AMOUNT
    await shop.webhook("charge.refunded", charge)
    await shop.sweep()
    await shop.has(user, cash=AMOUNT)


async def test_provider_books_and_ledger_agree_on_a_refund_that_came_back(shop: Shop) -> None:
    user = await shop.player()
    deposit = await shop.deposit(user, AMOUNT, METHOD)
    await shop.has(user, cash=AMOUNT)
    await refund(shop, deposit.deposit_id)
    payment = await shop.provider_id(deposit.deposit_id)

    async def agreed() -> bool:
        await shop.sweep()
        report = await shop.operator.call(RECONCILE, ReconciliationOf(), wait_s=20)
        differing = {item.provider_id for item in report.items}
        return payment not in differing and await returned(shop, deposit.deposit_id) == 1

    await until(agreed, "nothing differs")
    await shop.has(user, cash=AMOUNT)
