"""Random histories at the provider, told in random order, again and again: always the same end."""

import os
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings, strategies as st

from svc.payment.contract import DISPUTE_CLOSED
from tests.payment.support import Shop
from tests.support.waiting import until

AMOUNT = 6_000
SAVED = 5_000
PAYOUT = 2_000
FEE = 1_500
EXAMPLES = int(os.environ.get("BETMESH_PAYMENT_EXAMPLES", "6"))


@dataclass(frozen=True)
class History:
    """What happened at the provider to a payment and a payout."""

    declined: bool
    captured: int
    refunds: tuple[int, ...]
    dispute: str
    payout: tuple[str, ...]
    returned: bool = False

    @property
    def came_back(self) -> int:
        """What the bank sent back of the last refund."""
        return self.refunds[-1] if self.returned else 0

    @property
    def cash(self) -> int:
        """What the player has in the end."""
        charged_back = {"": 0, "lost": self.disputed + FEE, "won": FEE}[self.dispute]
        paid_out = PAYOUT if self.payout == ("paid",) else 0
        kept = self.captured - sum(self.refunds) + self.came_back
        return SAVED - paid_out + kept - charged_back

    @property
    def disputed(self) -> int:
        return self.captured - sum(self.refunds)

    def told(self, payment: str, payout: str) -> list[tuple[str, dict[str, Any]]]:
        """Every webhook that Stripe would send of this, once."""
        intent: dict[str, Any] = {"id": payment, "amount": AMOUNT, "currency": "eur"}
        found = [("payment_intent.processing", intent | {"status": "processing"})]
        if self.declined:
            failed = intent | {"status": "requires_payment_method"}
            found.append(("payment_intent.payment_failed", failed))
        if self.captured:
            paid = intent | {"status": "succeeded", "amount_received": self.captured}
            found.append(("payment_intent.succeeded", paid))
        charge = {"id": f"ch_{payment}", "payment_intent": payment}
        made = [
            {"id": f"re_{part}_{payment}", "amount": amount, "currency": "eur",
             "payment_intent": payment, "status": "succeeded"}
            for part, amount in enumerate(self.refunds)
        ]  # fmt: skip
        found += [
            (
                "charge.refunded",
                charge
                | {
                    "amount_refunded": sum(self.refunds[: part + 1]),
                    "refunds": {"data": made[: part + 1]},
                },
            )
            for part in range(len(self.refunds))
        ]
        if self.returned:
            found.append(("refund.failed", made[-1] | {"status": "failed"}))
        if self.dispute:
            found += self._dispute(payment)
        body = {"id": payout, "amount": PAYOUT, "currency": "eur", "failure_code": None}
        found += [(f"payout.{status}", body | {"status": status}) for status in self.payout]
        return found

    def _dispute(self, payment: str) -> list[tuple[str, dict[str, Any]]]:
        lines = [
            {"id": f"txn_{number}", "type": "adjustment", "currency": "eur", "created": 1, "net": n}
            for number, n in enumerate((-self.disputed - FEE, self.disputed))
        ]
        dispute = {
            "id": f"dp_{payment}", "amount": self.disputed, "currency": "eur",
            "payment_intent": payment, "reason": "general", "status": "needs_response",
        }  # fmt: skip
        closed = lines if self.dispute == "won" else lines[:1]
        return [
            ("charge.dispute.created", dispute | {"balance_transactions": []}),
            ("charge.dispute.funds_withdrawn", dispute | {"balance_transactions": lines[:1]}),
            (
                "charge.dispute.closed",
                dispute | {"status": self.dispute, "balance_transactions": closed},
            ),
        ]


@st.composite
def tellings(draw: st.DrawFn) -> tuple[History, list[int]]:
    """A history, and the order in which its webhooks come: each at least once."""
    captured = draw(st.sampled_from([0, AMOUNT, AMOUNT, 3_333, 1]))
    first = draw(st.integers(0, max(captured - 1, 0)))
    second = draw(st.integers(0, max(captured - first - 1, 0)))
    refunds = tuple(part for part in (first, second) if part)
    returned = bool(refunds) and draw(st.booleans())
    history = History(
        declined=draw(st.booleans()) or not captured,
        captured=captured,
        refunds=refunds,
        returned=returned,
        dispute=draw(st.sampled_from(["", "lost", "won"])) if captured and not returned else "",
        payout=draw(st.sampled_from([("paid",), ("failed",), ("paid", "failed")])),
    )
    each = range(len(history.told("", "")))
    again = draw(st.lists(st.sampled_from(each), max_size=6))
    return history, draw(st.permutations([*each, *again]))


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    # Each example is a second's work: one that fails is shown as it is, not made smaller.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(telling=tellings())
async def test_webhooks_in_any_order_and_any_number_end_the_same(
    shop: Shop, telling: tuple[History, list[int]]
) -> None:
    history, order = telling
    await shop.faults()
    user = await shop.rich_player(SAVED)
    await shop.faults(drop=True)
    asked = await shop.deposit(user, AMOUNT, method="card_3ds")
    withdrawal = await shop.withdraw(user, PAYOUT)
    row = await shop.row("withdrawals", "withdrawal_id", withdrawal.withdrawal_id)
    payment = await shop.provider_id(asked.deposit_id)
    told = history.told(payment, row["provider_id"])
    for number in order:
        kind, thing = told[number]
        await shop.webhook(kind, thing, event=f"evt_{number}_{payment}")
    for _ in range(2):  # what the first lets go on, the second finds
        await shop.sweep()
    await shop.has(user, cash=history.cash)

    async def at_rest() -> bool:
        async with shop.platform.database("payment") as database:
            return not await database.fetchval(
                """
                SELECT (SELECT count(*) FROM refunds JOIN deposits USING (deposit_id)
                        WHERE user_id = $1 AND state <> 'done')
                    + (SELECT count(*) FROM refund_returns JOIN deposits USING (deposit_id)
                        WHERE user_id = $1 AND state <> 'credited')
                    + (SELECT count(*) FROM disputes WHERE user_id = $1
                        AND state NOT IN ('debited', 'credited'))
                    + (SELECT count(*) FROM withdrawals WHERE user_id = $1
                        AND state NOT IN ('paid', 'failed'))
                """,
                user,
            )

    await until(at_rest)
    deposit = await shop.row("deposits", "deposit_id", asked.deposit_id)
    assert deposit["status"] == ("succeeded" if history.captured else "failed")
    assert (await shop.balance(user)).available == history.cash
    closed = await shop.operator.all_heard(DISPUTE_CLOSED, lambda data: data.user_id == user)
    assert len(closed) == bool(history.dispute)
