"""The scheduled comparison of provider, books and ledger, and what it finds."""

from svc.mesh.errors import NotFound
from svc.payment.contract_reports import (
    RECONCILE,
    RECONCILIATION,
    ReconciledTotal,
    Reconciliation,
    ReconciliationOf,
)
from tests.payment.support import Shop
from tests.support.waiting import until

CURRENCY = "DKK"
"""No other test uses it."""


def total(report: Reconciliation, kind: str) -> tuple[int, int, int]:
    found: list[ReconciledTotal] = [
        each for each in report.totals if (each.kind, each.currency) == (kind, CURRENCY)
    ]
    return (found[0].provider, found[0].booked, found[0].ledger) if found else (0, 0, 0)


async def test_provider_books_and_ledger_are_compared_by_schedule_and_unknown_payments_named(
    shop: Shop,
) -> None:
    user = await shop.player(currency=CURRENCY)
    kept = await shop.deposit(user, 10_000, currency=CURRENCY)
    await shop.has(user, cash=10_000)
    lost = await shop.deposit(user, 3_000, currency=CURRENCY)
    await shop.has(user, cash=13_000)
    asked = await shop.withdraw(user, 2_000, currency=CURRENCY)
    await shop.withdrawal_is(user, asked.withdrawal_id, "paid")
    await shop.faults(drop=True, processing_ms=0)
    payment = await shop.provider_id(kept.deposit_id)
    await shop.provider.post("/v1/refunds", json={"payment_intent": payment, "amount": 700})
    await shop.charge_back(lost.deposit_id)
    # Somebody takes money at the provider's own desk, in our name.
    body = {"amount": 5, "currency": CURRENCY.lower(), "payment_method": "card_ok"}
    foreign = (await shop.provider.post("/v1/payment_intents", json=body)).json()["id"]

    async def newest() -> Reconciliation | None:
        try:
            found = await shop.operator.call(RECONCILIATION, ReconciliationOf())
        except NotFound:
            return None
        return found if total(found, "chargeback")[0] else None

    await shop.sweep("reconcile-payments")
    report = await until(newest)
    assert report is not None
    assert report.learnt >= 2
    await shop.sweep()
    await shop.has(user, cash=13_000 - 2_000 - 700 - 4_500)

    async def agreed() -> Reconciliation | None:
        found = await shop.operator.call(RECONCILE, ReconciliationOf(), wait_s=20)
        return found if total(found, "refund")[1] else None

    report = await until(agreed)
    assert report is not None
    assert total(report, "deposit") == (13_005, 13_000, 13_000)
    assert total(report, "refund") == (-700, -700, -700)
    assert total(report, "withdrawal") == (-2_000, -2_000, -2_000)
    assert total(report, "chargeback") == (-4_500, -4_500, -4_500)
    items = {item.provider_id: (item.provider, item.booked) for item in report.items}
    assert items[foreign] == (5, 0)
    assert report.differences >= 2
    assert payment not in items
