"""Every fault of the provider, under every kind of payment: after the dust settles all agree."""

import asyncio
import contextlib
from typing import Any

import httpx
import pytest

from svc.mesh.clock import new_id
from svc.payment.contract import REFUND_DEPOSIT, RefundDeposit
from svc.payment.contract_reports import RECONCILE, Reconciliation, ReconciliationOf
from tests.payment.support import PATIENCE_S, Shop

FAULTS: dict[str, dict[str, object]] = {
    "duplicate": {"duplicate": True},
    "reorder": {"reorder": True},
    "delay": {"delay_ms": 400},
    "drop": {"drop": True},
    "bad signature": {"bad_signature": True},
    "time-out after success": {"timeout_after_success": True},
    "5xx": {"error_5xx": True},
    "dispute": {"dispute": True},
}
CHARGEBACK_FEE = 1_500
RICH = 10_000


async def reconciled(shop: Shop) -> Reconciliation:
    return await shop.operator.call(RECONCILE, ReconciliationOf(), wait_s=20)


async def at_provider(shop: Shop) -> dict[str, int]:
    """Sum what the provider itself says it moved, by payment, payout or dispute."""
    sums: dict[str, int] = {}
    after: dict[str, str] = {}
    while True:
        answer = await shop.provider.get(
            "/v1/balance_transactions", params={"limit": 100, "expand[]": "data.source", **after}
        )
        page: dict[str, Any] = answer.json()
        for each in page["data"]:
            source = each["source"]
            of = source["id"] if source["object"] == "payout" else source["payment_intent"]
            sums[of] = sums.get(of, 0) + each["net"]
        if not page["has_more"]:
            return sums
        after = {"starting_after": page["data"][-1]["id"]}


async def payments_of(shop: Shop, user: str) -> tuple[set[str], int]:
    """Return the provider's ids of a player's payments, and how many are not at rest."""
    async with shop.platform.database("payment") as database:
        rows = await database.fetch(
            """
            SELECT provider_id, status <> 'pending' AS at_rest FROM deposits WHERE user_id = $1
            UNION ALL
            SELECT provider_id, state IN ('paid', 'failed') FROM withdrawals WHERE user_id = $1
            UNION ALL
            SELECT NULL, refunds.state = 'done' FROM refunds JOIN deposits USING (deposit_id)
            WHERE user_id = $1
            UNION ALL
            SELECT NULL, state IN ('debited', 'credited') FROM disputes WHERE user_id = $1
            """,
            user,
        )
    return {row["provider_id"] for row in rows if row["provider_id"]}, sum(
        not row["at_rest"] for row in rows
    )


async def settled(shop: Shop, expected: dict[str, int]) -> None:
    """Let the jobs work until wallet, payment service and provider say the same of each player."""
    said: object = None
    async with asyncio.timeout(PATIENCE_S):
        while True:
            await shop.sweep()
            report = await reconciled(shop)
            differing = {item.provider_id for item in report.items}
            provider, waiting = await at_provider(shop), 0
            ledger: dict[str, int] = {}
            told: dict[str, int] = {}
            for user in expected:
                payments, open_now = await payments_of(shop, user)
                ledger[user] = (await shop.balance(user)).available
                told[user] = sum(provider.get(payment, 0) for payment in payments)
                waiting += open_now + len(payments & differing)
            if ledger == told == expected and not waiting:
                return
            if (ledger, told, waiting) == said:
                await asyncio.sleep(0.1)
            said = (ledger, told, waiting)


@pytest.mark.parametrize("fault", FAULTS)
async def test_after_the_dust_settles_provider_payments_and_ledger_agree(
    shop: Shop, fault: str
) -> None:
    depositing, *rich = await asyncio.gather(*(shop.player() for _ in range(5)))
    paid = await asyncio.gather(*(shop.deposit(user, RICH) for user in rich))
    for user in rich:
        await shop.has(user, cash=RICH)
    withdrawing, refunded, refunded_there, disputing = rich
    there = await shop.provider_id(paid[2].deposit_id)

    await shop.faults(**FAULTS[fault])
    key = new_id()

    async def refund() -> None:
        request = RefundDeposit(deposit_id=paid[1].deposit_id, idempotency_key=key)
        await shop.operator.call(REFUND_DEPOSIT, request)

    async def refund_there() -> None:
        for part in (400, 500):
            body = {"payment_intent": there, "amount": part}
            with contextlib.suppress(httpx.ReadTimeout):  # the faults hit this caller too
                await shop.provider.post("/v1/refunds", json=body, timeout=0.2)

    async def dispute() -> None:
        await shop.decide(await shop.charge_back(paid[3].deposit_id), "lost")

    results = await asyncio.gather(
        shop.deposit(depositing, 4_000), shop.withdraw(withdrawing, 1_500), refund(),
        refund_there(), dispute(), return_exceptions=True,
    )  # fmt: skip
    assert all(result is None or not isinstance(result, Exception) for result in results), results
    await shop.faults()

    gone = 0 if fault == "5xx" else 900
    charged_back = 4_000 + CHARGEBACK_FEE if fault == "dispute" else 0
    await settled(
        shop,
        {
            depositing: 4_000 - charged_back,
            withdrawing: RICH - 1_500,
            refunded: 0,
            refunded_there: RICH - gone,
            disputing: -CHARGEBACK_FEE,
        },
    )
