"""Chargebacks: what the bank takes leaves the wallet, into debt if need be, and may come back."""

from itertools import permutations
from typing import Any

import pytest

from svc.mesh.clock import new_id
from svc.mesh.errors import Conflict
from svc.payment.contract import (
    DISPUTE_CLOSED,
    PAYMENT_DISPUTED,
    REFUND_DEPOSIT,
    AccountBlocked,
    InsufficientFunds,
    RefundDeposit,
)
from tests.payment.support import Shop
from tests.support.waiting import until

FEE = 1_500


async def test_a_chargeback_takes_amount_and_fee_even_what_is_not_there(shop: Shop) -> None:
    user = await shop.player()
    paid = await shop.deposit(user, 4_000)
    await shop.has(user, cash=4_000)
    await shop.withdraw(user, 1_000)
    await shop.has(user, cash=3_000)
    dispute = await shop.charge_back(paid.deposit_id)
    await shop.has(user, cash=-2_500)
    assert (await shop.balance(user)).debt == 2_500
    event = await shop.operator.heard(PAYMENT_DISPUTED, lambda data: data.user_id == user)
    assert (event.data.amount, event.data.reason) == (4_000 + FEE, "fraudulent")
    with pytest.raises(AccountBlocked):
        await shop.withdraw(user, 100)
    with pytest.raises(Conflict):
        await shop.operator.call(
            REFUND_DEPOSIT, RefundDeposit(deposit_id=paid.deposit_id, idempotency_key=new_id())
        )
    await shop.decide(dispute, "lost")
    closed = await shop.operator.heard(DISPUTE_CLOSED, lambda data: data.user_id == user)
    assert (closed.data.won, closed.data.returned) == (False, 0)
    with pytest.raises(InsufficientFunds):
        await shop.withdraw(user, 100)
    await shop.deposit(user, 3_000)
    await shop.has(user, cash=500)
    await shop.withdraw(user, 100)
    await shop.has(user, cash=400)


async def test_a_dispute_that_is_won_returns_the_money_and_opens_payouts_again(shop: Shop) -> None:
    user = await shop.rich_player(5_000)
    paid = await shop.deposit(user, 2_000)
    await shop.has(user, cash=7_000)
    dispute = await shop.charge_back(paid.deposit_id, amount=500)
    await shop.has(user, cash=7_000 - 500 - FEE)
    await shop.decide(dispute, "won")
    await shop.has(user, cash=7_000 - FEE)
    closed = await shop.operator.heard(DISPUTE_CLOSED, lambda data: data.user_id == user)
    assert (closed.data.won, closed.data.returned) == (True, 500)
    await shop.withdraw(user, 1_000)
    await shop.has(user, cash=6_000 - FEE)


async def waits_like(shop: Shop, withdrawal_id: str, key: str) -> None:
    """Make it as if a withdrawal like this had been taken in a moment ago, and not held yet."""
    async with shop.platform.database("payment") as database:
        await database.execute(
            """
            INSERT INTO withdrawals (
                withdrawal_id, user_id, idempotency_key, request_hash, amount, currency, method,
                hold_id, hold_transfer_id, capture_transfer_id, release_transfer_id,
                return_transfer_id, next_try_at, created_at, updated_at
            )
            SELECT gen_random_uuid(), user_id, $2, request_hash, 300, currency, method,
                gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), gen_random_uuid(),
                gen_random_uuid(), '3000-01-01', created_at, updated_at
            FROM withdrawals WHERE withdrawal_id = $1
            """,
            withdrawal_id,
            key,
        )


async def test_a_withdrawal_that_was_not_handed_over_is_given_back_by_a_dispute(
    shop: Shop,
) -> None:
    user = await shop.rich_player(9_000)
    paid = await shop.deposit(user, 1_000)
    await shop.has(user, cash=10_000)
    asked = await shop.withdraw(user, 2_000)
    await shop.withdrawal_is(user, asked.withdrawal_id, "paid")
    await waits_like(shop, asked.withdrawal_id, "waits")
    await shop.charge_back(paid.deposit_id)
    await shop.has(user, cash=8_000 - 1_000 - FEE)
    await shop.sweep()
    waited = await shop.row("withdrawals", "idempotency_key", "waits")
    failed = await shop.withdrawal_is(user, str(waited["withdrawal_id"]), "failed")
    assert failed.reason == "disputed"
    assert (await shop.balance(user)).held == 0


async def test_an_inquiry_takes_nothing_and_blocks_nothing(shop: Shop) -> None:
    user = await shop.player()
    paid = await shop.deposit(user, 2_000)
    await shop.has(user, cash=2_000)
    inquiry: dict[str, Any] = {
        "id": f"dp_{new_id()}", "status": "warning_needs_response", "amount": 2_000,
        "currency": "eur", "payment_intent": await shop.provider_id(paid.deposit_id),
        "balance_transactions": [], "reason": "general",
    }  # fmt: skip
    await shop.webhook("charge.dispute.created", inquiry)
    await shop.withdraw(user, 500)
    await shop.has(user, cash=1_500)
    row = await shop.row("deposits", "deposit_id", paid.deposit_id)
    assert row["flag"] == "disputed: general"


@pytest.mark.parametrize("order", list(permutations(("created", "withdrawn", "won"))))
async def test_news_of_a_dispute_in_any_order_end_the_same(
    shop: Shop, order: tuple[str, ...]
) -> None:
    user = await shop.player()
    paid = await shop.deposit(user, 2_000)
    await shop.has(user, cash=2_000)
    taken = {"id": "txn_1", "type": "adjustment", "net": -3_500, "currency": "eur", "created": 1}
    given = taken | {"id": "txn_2", "net": 2_000}
    dispute = {
        "id": f"dp_{new_id()}", "status": "needs_response", "amount": 2_000, "currency": "eur",
        "payment_intent": await shop.provider_id(paid.deposit_id), "reason": "general",
    }  # fmt: skip
    told: dict[str, tuple[str, dict[str, Any]]] = {
        "created": ("charge.dispute.created", {"balance_transactions": []}),
        "withdrawn": ("charge.dispute.funds_withdrawn", {"balance_transactions": [taken]}),
        "won": (
            "charge.dispute.closed",
            {"balance_transactions": [taken, given], "status": "won"},
        ),
    }
    for name in (*order, *order):
        kind, more = told[name]
        await shop.webhook(kind, dispute | more, event=f"evt_{name}_{paid.deposit_id}")
    await shop.has(user, cash=2_000 - 1_500)

    async def at_rest() -> bool:
        row = await shop.row("disputes", "provider_id", str(dispute["id"]))
        return (row["state"], row["outcome"]) == ("credited", "won")

    await until(at_rest)
    closed = await shop.operator.all_heard(DISPUTE_CLOSED, lambda data: data.user_id == user)
    assert [event.data.won for event in closed] == [True]


IN_YEN: dict[str, dict[str, Any]] = {
    "disputed in EUR/JPY": {
        "currency": "eur",
        "balance_transactions": [
            {"id": "txn_1", "type": "adjustment", "net": -681_000, "currency": "jpy", "created": 1}
        ],
    },
    "disputed in JPY": {"currency": "jpy"},
}
"""In what a dispute is told: its movements are, or all of it in the form that lists none."""


@pytest.mark.parametrize("outcome", ["won", "lost"])
@pytest.mark.parametrize("flag", IN_YEN)
async def test_a_dispute_in_another_currency_moves_no_money_and_blocks_payouts_until_it_is_closed(
    shop: Shop, flag: str, outcome: str
) -> None:
    user, key = await shop.rich_player(5_000), new_id()
    paid = await shop.deposit(user, 2_000)
    await shop.has(user, cash=7_000)
    sent = await shop.withdraw(user, 1_000)
    await shop.withdrawal_is(user, sent.withdrawal_id, "paid")
    await waits_like(shop, sent.withdrawal_id, key)
    dispute = {
        "id": f"dp_{new_id()}", "status": "needs_response", "amount": 2_000, "reason": "general",
        "payment_intent": await shop.provider_id(paid.deposit_id), **IN_YEN[flag],
    }  # fmt: skip
    for _ in range(2):
        await shop.webhook("charge.dispute.created", dispute)
    row = await shop.row("deposits", "deposit_id", paid.deposit_id)
    assert row["flag"] == f"{flag}; disputed: general"
    assert (await shop.row("withdrawals", "idempotency_key", key))["reason"] == "disputed"
    with pytest.raises(AccountBlocked):
        await shop.withdraw(user, 100)
    refund = RefundDeposit(deposit_id=paid.deposit_id, idempotency_key=new_id())
    with pytest.raises(Conflict):
        await shop.operator.call(REFUND_DEPOSIT, refund)
    await shop.webhook("charge.dispute.closed", dispute | {"status": outcome})
    kept = await shop.row("disputes", "provider_id", str(dispute["id"]))
    assert (kept["state"], kept["outcome"], kept["debited"]) == ("noted", outcome, 0)
    await shop.sweep()
    await shop.withdraw(user, 100)
    await shop.has(user, cash=7_000 - 1_000 - 100)


async def test_a_dispute_that_is_told_in_another_currency_later_ends_as_it_is_told(
    shop: Shop,
) -> None:
    user = await shop.rich_player(5_000)
    paid = await shop.deposit(user, 2_000)
    await shop.has(user, cash=7_000)
    dispute = {
        "id": f"dp_{new_id()}", "status": "needs_response", "amount": 2_000, "reason": "general",
        "payment_intent": await shop.provider_id(paid.deposit_id), "currency": "eur",
    }  # fmt: skip
    await shop.webhook("charge.dispute.created", dispute)
    await shop.has(user, cash=5_000)
    await shop.webhook("charge.dispute.closed", dispute | {"currency": "jpy", "status": "won"})
    closed = await shop.operator.heard(DISPUTE_CLOSED, lambda data: data.user_id == user)
    assert (closed.data.won, closed.data.returned) == (True, 0)
    await shop.withdraw(user, 100)
    await shop.has(user, cash=4_900)
