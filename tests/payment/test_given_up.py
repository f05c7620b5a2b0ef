"""After a day the provider may have forgotten a key: nothing is asked for a second time then."""

import pytest

from svc.mesh.clock import new_id
from svc.mesh.errors import Conflict
from svc.payment.contract import ABANDON_WITHDRAWAL, AbandonWithdrawal
from svc.payment.contract_reports import PENDING, PendingPayments
from tests.payment.support import Shop
from tests.support.waiting import until


async def age(shop: Shop, table: str, key: str, row_id: str) -> None:
    """Make it as if a payment had been taken in a day ago."""
    async with shop.platform.database("payment") as database:
        await database.execute(
            f"UPDATE {table} SET created_at = created_at - interval '1 day' WHERE {key} = $1",  # noqa: S608 -- literals
            row_id,
        )


async def known_there(shop: Shop, name: str, row_id: str) -> int:
    """How many payments or payouts of ours the provider told of."""
    events = (await shop.provider.get("/simulate/events")).json()["items"]
    return len(
        {
            event["about"]
            for event in events
            if event["event"]["data"]["object"].get("metadata", {}).get(name) == row_id
        }
    )


async def flag_of(shop: Shop, withdrawal_id: str) -> str | None:
    """What a person is told to look at."""
    flag: str | None = (await shop.row("withdrawals", "withdrawal_id", withdrawal_id))["flag"]
    return flag


async def test_a_deposit_that_nobody_completed_is_let_go_after_a_day(shop: Shop) -> None:
    user = await shop.player()
    asked = await shop.deposit(user, 700, method="card_3ds")
    await age(shop, "deposits", "deposit_id", asked.deposit_id)
    await shop.sweep()
    gone = await shop.deposit_is(user, asked.deposit_id, "failed")
    assert gone.reason == "canceled"
    intent = await shop.provider.get(
        f"/v1/payment_intents/{await shop.provider_id(asked.deposit_id)}"
    )
    assert intent.json()["status"] == "canceled"


async def test_a_deposit_that_was_paid_at_the_last_moment_is_credited_all_the_same(
    shop: Shop,
) -> None:
    user = await shop.player()
    await shop.faults(drop=True, processing_ms=0)
    asked = await shop.deposit(user, 700)

    async def paid() -> bool:
        payment = await shop.provider_id(asked.deposit_id)
        intent = await shop.provider.get(f"/v1/payment_intents/{payment}")
        return bool(intent.json()["status"] == "succeeded")

    await until(paid)
    await age(shop, "deposits", "deposit_id", asked.deposit_id)
    await shop.sweep()
    await shop.has(user, cash=700)


@pytest.mark.parametrize("review_from", ["", "1"])
async def test_a_deposit_that_was_never_answered_is_not_asked_for_after_a_day(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, review_from: str
) -> None:
    user = await shop.player()
    monkeypatch.setenv("PAYMENT_REVIEW_FROM", review_from)
    await shop.faults(error_5xx=True)
    asked = await shop.deposit(user, 700)
    await shop.faults()
    await age(shop, "deposits", "deposit_id", asked.deposit_id)
    await shop.sweep()
    gone = await shop.deposit_is(user, asked.deposit_id, "failed")
    assert gone.reason == "expired"
    assert await known_there(shop, "deposit_id", asked.deposit_id) == 0


@pytest.mark.parametrize("carried_out", [False, True])
async def test_a_payout_that_was_never_answered_is_not_asked_for_again_but_found_or_flagged(
    shop: Shop, carried_out: bool
) -> None:
    user = await shop.rich_player(1_000)
    fault = "timeout_after_success" if carried_out else "error_5xx"
    await shop.faults(**{fault: 2, "drop": True})
    asked = await shop.withdraw(user, 300)
    assert asked.status == "pending"
    await age(shop, "withdrawals", "withdrawal_id", asked.withdrawal_id)
    await shop.sweep()

    await until(lambda: flag_of(shop, asked.withdrawal_id))
    assert (await shop.operator.call(PENDING, PendingPayments())).flagged >= 1
    assert await known_there(shop, "withdrawal_id", asked.withdrawal_id) == int(carried_out)
    await shop.sweep("reconcile-payments")
    abandon = AbandonWithdrawal(withdrawal_id=asked.withdrawal_id)
    if carried_out:
        await shop.withdrawal_is(user, asked.withdrawal_id, "paid")
        await shop.has(user, cash=700)
        with pytest.raises(Conflict):
            await shop.operator.call(ABANDON_WITHDRAWAL, abandon)
    else:
        await shop.has(user, cash=1_000, held=300)
        for _ in range(2):
            given_back = await shop.operator.call(ABANDON_WITHDRAWAL, abandon)
            assert (given_back.status, given_back.reason) == ("failed", "expired")
        await shop.has(user, cash=1_000)


@pytest.mark.parametrize("rejected", [False, True])
async def test_a_payout_that_was_made_after_its_money_was_given_back_is_flagged(
    shop: Shop, *, rejected: bool
) -> None:
    user = await shop.rich_player(1_000)
    if rejected:
        asked = await shop.withdraw(user, 300, method="mattress")
    else:
        # Not for two calls only: a comparison of another test may still be asking.
        await shop.faults(error_5xx=True)
        asked = await shop.withdraw(user, 300)
        await shop.faults()
        await age(shop, "withdrawals", "withdrawal_id", asked.withdrawal_id)
        await shop.sweep()
        await until(lambda: flag_of(shop, asked.withdrawal_id))
        abandon = AbandonWithdrawal(withdrawal_id=asked.withdrawal_id)
        await shop.operator.call(ABANDON_WITHDRAWAL, abandon)
    await shop.has(user, cash=1_000)
    payout = {"id": f"po_{new_id()}", "amount": 300, "currency": "eur", "status": "paid"}
    metadata = {"withdrawal_id": asked.withdrawal_id}
    for _ in range(2):
        await shop.webhook("payout.paid", payout | {"metadata": metadata})
    assert await flag_of(shop, asked.withdrawal_id) == (
        "paid out though failed (resource_missing)"
        if rejected
        else "not answered for a day; paid out though failed (expired)"
    )
    await shop.withdrawal_is(user, asked.withdrawal_id, "failed")
    await shop.has(user, cash=1_000)
