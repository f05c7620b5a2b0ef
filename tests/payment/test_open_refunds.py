"""Refunds of ours that wait for the provider, while it tells of others or of that very one."""

from typing import Any

import pytest

from svc.mesh.clock import new_id
from svc.mesh.errors import Conflict, Unavailable
from svc.payment.contract import REFUND_DEPOSIT, Deposit, RefundDeposit
from tests.payment.support import Shop
from tests.support.waiting import until

AMOUNT = 800


async def refund(shop: Shop, deposit_id: str, key: str = "") -> Deposit:
    request = RefundDeposit(deposit_id=deposit_id, idempotency_key=key or new_id())
    return await shop.operator.call(REFUND_DEPOSIT, request)


async def refunds_of(shop: Shop, deposit_id: str) -> set[tuple[str, int, str]]:
    """Who gave a deposit back, how much of it, and how that stands."""
    async with shop.platform.database("payment") as database:
        rows = await database.fetch(
            "SELECT actor, amount, state FROM refunds WHERE deposit_id = $1", deposit_id
        )
    return {(row["actor"], row["amount"], row["state"]) for row in rows}


async def told(shop: Shop, deposit_id: str) -> list[str]:
    """What became of the news of refunds."""
    payment = await shop.provider_id(deposit_id)
    async with shop.platform.database("payment") as database:
        rows = await database.fetch(
            "SELECT state FROM provider_events WHERE type = 'charge.refunded' AND object_id = $1",
            payment,
        )
    return [row["state"] for row in rows]


async def paid_in(shop: Shop) -> tuple[str, str]:
    """A player who has paid in, and the deposit."""
    user = await shop.player()
    deposit = await shop.deposit(user, AMOUNT)
    await shop.has(user, cash=AMOUNT)
    return user, deposit.deposit_id


async def test_a_refund_made_there_while_ours_waits_is_booked_when_ours_is_refused(
    shop: Shop,
) -> None:
    user, deposit_id = await paid_in(shop)
    key = new_id()
    await shop.faults(error_5xx=True)
    await refund(shop, deposit_id, key)
    await shop.faults()
    body = {"payment_intent": await shop.provider_id(deposit_id)}
    (await shop.provider.post("/v1/refunds", json=body)).raise_for_status()
    await until(lambda: told(shop, deposit_id))
    assert await refunds_of(shop, deposit_id) == {("operator", AMOUNT, "deducted")}
    assert await told(shop, deposit_id) == ["parked"]
    async with shop.platform.database("payment") as database:
        # Longer ago than the sweep tries again what waits.
        await database.execute(
            "UPDATE provider_events SET received_at = '2026-01-01' WHERE object_id = $1",
            body["payment_intent"],
        )
    with pytest.raises(Conflict):
        await refund(shop, deposit_id, key)
    assert await told(shop, deposit_id) == ["applied"]
    await shop.sweep()
    await shop.deposit_is(user, deposit_id, "refunded")
    await shop.has(user, cash=0)
    assert await refunds_of(shop, deposit_id) == {
        ("operator", AMOUNT, "refused"),
        ("provider", AMOUNT, "done"),
    }


async def test_the_news_of_our_own_refund_that_come_before_its_answer_book_nothing(
    shop: Shop,
) -> None:
    user, deposit_id = await paid_in(shop)
    await shop.faults(timeout_after_success=2)
    await refund(shop, deposit_id)
    await until(lambda: told(shop, deposit_id))
    assert await told(shop, deposit_id) == ["parked"]
    await shop.sweep()
    await shop.deposit_is(user, deposit_id, "refunded")
    assert await told(shop, deposit_id) == ["applied"]
    await shop.has(user, cash=0)
    assert await refunds_of(shop, deposit_id) == {("operator", AMOUNT, "done")}


async def test_a_refund_made_there_is_booked_when_the_wallet_refuses_ours(shop: Shop) -> None:
    user, deposit_id = await paid_in(shop)
    await shop.withdraw(user, 500)
    await shop.has(user, cash=300)
    await shop.services.stop("wallet")
    with pytest.raises(Unavailable):
        await refund(shop, deposit_id)
    body = {"payment_intent": await shop.provider_id(deposit_id), "amount": 100}
    (await shop.provider.post("/v1/refunds", json=body)).raise_for_status()
    await until(lambda: told(shop, deposit_id))
    assert await told(shop, deposit_id) == ["parked"]
    await shop.services("wallet")

    async def both_at_rest() -> bool:
        await shop.sweep()
        return await refunds_of(shop, deposit_id) == {
            ("operator", AMOUNT, "refused"),
            ("provider", 100, "done"),
        }

    await until(both_at_rest)
    await shop.has(user, cash=200)


@pytest.mark.parametrize("carried_out", [False, True])
async def test_a_refund_that_was_never_answered_is_made_once_though_its_key_was_forgotten(
    shop: Shop, *, carried_out: bool
) -> None:
    user, deposit_id = await paid_in(shop)
    fault = "timeout_after_success" if carried_out else "error_5xx"
    await shop.faults(**{fault: True, "drop": True})
    await refund(shop, deposit_id)
    await shop.faults(drop=True)
    (await shop.provider.post("/simulate/forget_keys")).raise_for_status()
    async with shop.platform.database("payment") as database:
        aged = "UPDATE refunds SET created_at = created_at - interval '1 day' WHERE deposit_id = $1"
        await database.execute(aged, deposit_id)
    await shop.sweep()
    await shop.deposit_is(user, deposit_id, "refunded")
    await shop.has(user, cash=0)
    assert await refunds_of(shop, deposit_id) == {("operator", AMOUNT, "done")}
    query = {"payment_intent": await shop.provider_id(deposit_id)}
    made: dict[str, Any] = (await shop.provider.get("/v1/refunds", params=query)).json()
    assert [one["amount"] for one in made["data"]] == [AMOUNT]
    ours = await shop.row("refunds", "deposit_id", deposit_id)
    assert ours["provider_id"] == made["data"][0]["id"]
