"""Withdrawals and refunds on the real broker, database, wallet and provider."""

import asyncio

import pytest

from svc.mesh.clock import new_id
from svc.mesh.errors import Conflict, IdempotencyMismatch, NotFound, Unavailable
from svc.payment.contract import (
    CANCEL_WITHDRAWAL,
    PAYMENT_REFUNDED,
    REFUND_DEPOSIT,
    WITHDRAWAL_FAILED,
    WITHDRAWAL_PAID,
    WITHDRAWAL_REQUESTED,
    ClosedLoop,
    Deposit,
    InsufficientFunds,
    RefundDeposit,
    WithdrawalOf,
)
from tests.payment.support import Shop
from tests.support.waiting import until


async def refund(shop: Shop, deposit_id: str, key: str = "") -> Deposit:
    request = RefundDeposit(deposit_id=deposit_id, idempotency_key=key or new_id())
    return await shop.operator.call(REFUND_DEPOSIT, request)


async def test_a_withdrawal_is_held_paid_and_captured(shop: Shop) -> None:
    user = await shop.rich_player(10_000)
    await shop.faults(delay_ms=300)
    asked = await shop.withdraw(user, 4_000)
    assert asked.status == "submitted"
    await shop.has(user, cash=10_000, held=4_000)
    await shop.has(user, cash=6_000, held=0)
    await shop.withdrawal_is(user, asked.withdrawal_id, "paid")
    for event in (WITHDRAWAL_REQUESTED, WITHDRAWAL_PAID):
        told = await shop.operator.all_heard(
            event,
            lambda data: data.user_id == user,
        )
        assert len(told) == 1


async def test_a_payout_that_fails_gives_the_money_back(shop: Shop) -> None:
    user = await shop.rich_player(5_000)
    asked = await shop.withdraw(user, 4_000, method="bank_fail")
    failed = await shop.withdrawal_is(user, asked.withdrawal_id, "failed")
    assert (failed.reason, failed.message) == (
        "account_closed",
        "The bank account has been closed.",
    )
    await shop.has(user, cash=5_000)
    event = await shop.operator.heard(WITHDRAWAL_FAILED, lambda data: data.user_id == user)
    assert (event.data.reason, event.data.returned) == ("account_closed", False)


async def test_a_payout_that_comes_back_ends_with_the_money_at_the_player(shop: Shop) -> None:
    user = await shop.rich_player(5_000)
    asked = await shop.withdraw(user, 4_000, method="bank_return")
    await shop.withdrawal_is(user, asked.withdrawal_id, "failed")
    await shop.has(user, cash=5_000)


@pytest.mark.parametrize("order", [("paid", "failed"), ("failed", "paid")])
async def test_news_of_a_payout_in_any_order_end_the_same(
    shop: Shop, order: tuple[str, ...]
) -> None:
    user = await shop.rich_player(5_000)
    await shop.faults(drop=True)
    asked = await shop.withdraw(user, 4_000)
    provider_id = (await shop.row("withdrawals", "withdrawal_id", asked.withdrawal_id))[
        "provider_id"
    ]
    thing = {"id": provider_id, "amount": 4_000, "currency": "eur", "failure_code": None}
    for status in (*order, *order):
        await shop.webhook(f"payout.{status}", thing | {"status": status}, event=new_id())
    await shop.withdrawal_is(user, asked.withdrawal_id, "failed")
    await shop.has(user, cash=5_000)
    event = await shop.operator.heard(WITHDRAWAL_FAILED, lambda data: data.user_id == user)
    assert event.data.returned is (order[0] == "paid")
    assert (await shop.row("withdrawals", "provider_id", provider_id))["flag"] is None


async def test_a_bank_that_nobody_knows_gives_the_money_back(shop: Shop) -> None:
    user = await shop.rich_player(5_000)
    failed = await shop.withdraw(user, 4_000, method="mattress")
    assert (failed.status, failed.reason) == ("failed", "resource_missing")
    await shop.has(user, cash=5_000)


async def test_too_much_is_refused_with_the_wallets_numbers_the_same_for_the_key(
    shop: Shop,
) -> None:
    user, key = await shop.rich_player(1_000), new_id()
    for _ in range(2):
        with pytest.raises(InsufficientFunds) as refused:
            await shop.withdraw(user, 1_001, key=key)
        assert refused.value.members["available"] == 1_000
    with pytest.raises(IdempotencyMismatch):
        await shop.withdraw(user, 1_000, key=key)
    await shop.has(user, cash=1_000)


async def test_the_same_key_withdraws_once_and_gets_the_same_answer(shop: Shop) -> None:
    user, key = await shop.rich_player(1_000), new_id()
    answers = await asyncio.gather(*(shop.withdraw(user, 300, key=key) for _ in range(4)))
    await shop.withdrawal_is(user, answers[0].withdrawal_id, "paid")
    answers.append(await shop.withdraw(user, 300, key=key))
    assert all(answer == answers[-1] for answer in answers)
    await shop.has(user, cash=700)


async def test_without_the_wallet_nothing_is_withdrawn_and_the_same_key_goes_on(
    shop: Shop,
) -> None:
    user, key = await shop.rich_player(1_000), new_id()
    await shop.services.stop("wallet")
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(Unavailable):
        await shop.withdraw(user, 300, key=key)
    assert loop.time() - began < 3
    await shop.services("wallet")
    await shop.has(user, cash=1_000)
    assert (await shop.withdraw(user, 300, key=key)).status == "submitted"
    await shop.has(user, cash=700)


async def test_a_capture_that_was_not_made_is_made_by_the_sweep(shop: Shop) -> None:
    user = await shop.rich_player(1_000)
    await shop.faults(delay_ms=400)
    asked = await shop.withdraw(user, 300)
    await shop.services.stop("wallet")

    async def told() -> bool:
        row = await shop.row("withdrawals", "withdrawal_id", asked.withdrawal_id)
        return bool(row["state"] == "paid_pending_capture")

    await until(told)
    await shop.services("wallet")
    await shop.has(user, cash=1_000, held=300)
    await shop.sweep()
    await shop.has(user, cash=700)
    await shop.withdrawal_is(user, asked.withdrawal_id, "paid")


async def test_a_payout_whose_answer_is_lost_is_not_made_twice(shop: Shop) -> None:
    user = await shop.rich_player(1_000)
    await shop.faults(timeout_after_success=2)
    asked = await shop.withdraw(user, 300)
    await shop.sweep()
    await shop.withdrawal_is(user, asked.withdrawal_id, "paid")
    await shop.has(user, cash=700)
    events = (await shop.provider.get("/simulate/events")).json()["items"]
    payouts = {
        event["about"]
        for event in events
        if event["event"]["data"]["object"].get("metadata", {}).get("withdrawal_id")
        == asked.withdrawal_id
    }
    assert len(payouts) == 1


async def test_a_provider_that_is_down_gets_the_payout_later_and_nobody_can_cancel_it(
    shop: Shop,
) -> None:
    user = await shop.rich_player(1_000)
    await shop.faults(error_5xx=2)
    asked = await shop.withdraw(user, 300)
    assert asked.status == "pending"
    mine = WithdrawalOf(user_id=user, withdrawal_id=asked.withdrawal_id)
    with pytest.raises(Conflict):
        await shop.operator.call(CANCEL_WITHDRAWAL, mine)
    await shop.sweep()
    await shop.has(user, cash=700)


async def test_before_it_is_submitted_a_withdrawal_can_be_cancelled(shop: Shop) -> None:
    user, key = await shop.rich_player(1_000), new_id()
    await shop.services.stop("wallet")
    with pytest.raises(Unavailable):
        await shop.withdraw(user, 300, key=key)
    async with shop.platform.database("payment") as database:
        withdrawal_id = str(
            await database.fetchval(
                "SELECT withdrawal_id FROM withdrawals WHERE user_id = $1", user
            )
        )
    await shop.services("wallet")
    mine = WithdrawalOf(user_id=user, withdrawal_id=withdrawal_id)
    with pytest.raises(NotFound):
        await shop.operator.call(
            CANCEL_WITHDRAWAL, WithdrawalOf(user_id=new_id(), withdrawal_id=withdrawal_id)
        )
    for _ in range(2):
        assert (await shop.operator.call(CANCEL_WITHDRAWAL, mine)).status == "cancelled"
    await shop.has(user, cash=1_000)
    assert (await shop.withdraw(user, 300, key=key)).status == "cancelled"
    await shop.sweep()
    await shop.has(user, cash=1_000)


async def test_what_came_from_an_e_wallet_goes_back_there_before_it_goes_elsewhere(
    shop: Shop,
) -> None:
    user = await shop.rich_player(2_000)
    await shop.deposit(user, 500, method="ewallet")
    await shop.has(user, cash=2_500)
    with pytest.raises(ClosedLoop) as refused:
        await shop.withdraw(user, 1_000)
    assert refused.value.members == {"method": "ewallet", "remaining": 500}
    await shop.withdraw(user, 500, method="ewallet")
    await shop.withdraw(user, 1_000)
    await shop.has(user, cash=1_000)


async def test_a_refund_leaves_the_wallet_and_then_the_provider(shop: Shop) -> None:
    user, key = await shop.player(), new_id()
    paid = await shop.deposit(user, 800)
    await shop.has(user, cash=800)
    assert (await refund(shop, paid.deposit_id, key)).status == "refunded"
    assert (await refund(shop, paid.deposit_id, key)).status == "refunded"
    await shop.has(user, cash=0)
    told = await shop.operator.all_heard(PAYMENT_REFUNDED, lambda data: data.user_id == user)
    assert [event.data.amount for event in told] == [800]
    with pytest.raises(Conflict):
        await refund(shop, paid.deposit_id)


async def test_money_that_was_spent_is_not_refunded(shop: Shop) -> None:
    user, key = await shop.player(), new_id()
    paid = await shop.deposit(user, 800)
    await shop.has(user, cash=800)
    await shop.withdraw(user, 100)
    await shop.has(user, cash=700)
    for _ in range(2):
        with pytest.raises(InsufficientFunds) as refused:
            await refund(shop, paid.deposit_id, key)
        assert refused.value.members["available"] == 700
    await shop.deposit_is(user, paid.deposit_id, "succeeded")


async def test_a_refund_that_the_provider_refuses_comes_back_to_the_wallet(shop: Shop) -> None:
    user = await shop.player()
    paid = await shop.deposit(user, 800)
    await shop.has(user, cash=800)
    await shop.faults(drop=True)
    provider_id = (await shop.row("deposits", "deposit_id", paid.deposit_id))["provider_id"]
    (
        await shop.provider.post("/v1/refunds", json={"payment_intent": provider_id})
    ).raise_for_status()
    with pytest.raises(Conflict):
        await refund(shop, paid.deposit_id)
    await shop.has(user, cash=800)
    await shop.deposit_is(user, paid.deposit_id, "succeeded")


async def test_a_refund_made_at_the_provider_is_taken_from_the_wallet(shop: Shop) -> None:
    user = await shop.player()
    paid = await shop.deposit(user, 800)
    await shop.has(user, cash=800)
    provider_id = (await shop.row("deposits", "deposit_id", paid.deposit_id))["provider_id"]
    for part in (300, 500):
        answer = await shop.provider.post(
            "/v1/refunds", json={"payment_intent": provider_id, "amount": part}
        )
        answer.raise_for_status()

    async def both_told() -> bool:
        async with shop.platform.database("payment") as database:
            total = await database.fetchval(
                "SELECT coalesce(sum(amount), 0) FROM refunds WHERE deposit_id = $1",
                paid.deposit_id,
            )
        return bool(total == 800)

    await until(both_told)
    await shop.sweep()
    await shop.has(user, cash=0)
    await shop.deposit_is(user, paid.deposit_id, "refunded")
