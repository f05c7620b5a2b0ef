"""Whatever happened to payments, what was told of them agrees with the ledger."""

from svc.mesh.clock import new_id
from svc.payment.contract import REFUND_DEPOSIT, RefundDeposit
from svc.reporting.contract import DAILY, RECONCILE, DailyOf, ReconcileOf
from tests.payment.support import Shop
from tests.support.waiting import until

CURRENCY = "CHF"
"""No other test uses it."""
CHARGEBACK_FEE = 1_500


async def test_the_cashier_agrees_with_the_ledger(shop: Shop) -> None:
    await shop.services("reporting")
    user = await shop.player(currency=CURRENCY)
    await shop.deposit(user, 10_000, currency=CURRENCY)
    await shop.deposit(user, 9_999, "card_declined", currency=CURRENCY)
    back = await shop.deposit(user, 2_000, currency=CURRENCY)
    await shop.has(user, cash=12_000)
    await shop.operator.call(
        REFUND_DEPOSIT, RefundDeposit(deposit_id=back.deposit_id, idempotency_key=new_id())
    )
    ends = {"bank_ok": "paid", "bank_fail": "failed", "bank_return": "failed"}
    for method, status in ends.items():
        asked = await shop.withdraw(user, 1_000, method, currency=CURRENCY)
        await shop.withdrawal_is(user, asked.withdrawal_id, status)
    await shop.has(user, cash=9_000)
    for status in ("lost", "won"):
        paid = await shop.deposit(user, 500, currency=CURRENCY)
        await shop.deposit_is(user, paid.deposit_id, "succeeded")
        await shop.decide(await shop.charge_back(paid.deposit_id), status)
    await shop.has(user, cash=9_000 + 500 - 2 * CHARGEBACK_FEE)

    async def agrees() -> bool:
        answer = await shop.operator.call(RECONCILE, ReconcileOf())
        found = [item for item in answer.items if item.currency == CURRENCY]
        return {item.kind: (item.events, item.ledger) for item in found} == {
            "deposit": (13_000, 13_000),
            "chargeback": (-500 - 2 * CHARGEBACK_FEE, -500 - 2 * CHARGEBACK_FEE),
            "refund": (-2_000, -2_000),
            "withdrawal": (-1_000, -1_000),
        }

    await until(agrees)
    report = await shop.operator.call(DAILY, DailyOf())
    cashier = [day for day in report.cashier if day.currency == CURRENCY]
    assert sum(day.deposits for day in cashier) == 13_000
