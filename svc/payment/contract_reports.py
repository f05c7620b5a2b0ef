"""What payment offers to operators: what waits, and how provider, books and ledger agree."""

from datetime import datetime
from typing import Literal

from msgspec import Struct

from svc.mesh.contract import Call, Route
from svc.mesh.errors import Forbidden, NotFound
from svc.mesh.types import Currency, Id, Reply, Request, SignedAmount

PaymentKind = Literal["deposit", "refund", "withdrawal", "chargeback"]


class PendingPayments(Request, frozen=True, kw_only=True):
    """What waits for the provider."""

    actor_id: Id | None = None


class PendingReport(Reply, frozen=True, kw_only=True):
    """How many payments wait, and since when the oldest does.

    `flagged` are payments that somebody must look at, `parked` webhooks whose payment is unknown,
    `disputes` those that are not decided.
    """

    deposits: int
    withdrawals: int
    oldest: datetime | None
    refunds: int = 0
    flagged: int = 0
    parked: int = 0
    disputes: int = 0


class ReconciliationOf(Request, frozen=True, kw_only=True):
    """The newest comparison of the provider with our books and the ledger."""

    actor_id: Id | None = None


class ReconciledTotal(Struct, frozen=True, kw_only=True):
    """All that one kind of payment moved, in minor units, signed from the players' side."""

    kind: PaymentKind
    currency: Currency
    provider: int
    booked: int
    ledger: int


class PaymentDifference(Struct, frozen=True, kw_only=True):
    """One payment, payout or dispute that the provider tells otherwise than our books."""

    kind: PaymentKind
    provider_id: str
    currency: Currency
    provider: SignedAmount
    booked: SignedAmount


class Reconciliation(Reply, frozen=True, kw_only=True):
    """What the comparison found; all is well when `differences` is 0.

    `differences` counts payments and totals that differ, what is still on its way included;
    `items` lists up to 100 payments. `learnt` are events of the provider whose webhooks never came.
    """

    until: datetime
    differences: int
    learnt: int
    totals: list[ReconciledTotal]
    items: list[PaymentDifference]


PENDING = Call(
    "rpc.payment.v1.pending", PendingPayments, PendingReport, "Count what waits.",
    refuses=(Forbidden,), idempotent=True,
    route=Route(
        method="GET", path="/v1/admin/payment/pending", role="operator", tag="admin",
        from_token=("actor_id",),
    ),
)  # fmt: skip
RECONCILIATION = Call(
    "rpc.payment.v1.reconciliation", ReconciliationOf, Reconciliation,
    "Read how provider, books and ledger agreed last.",
    refuses=(Forbidden, NotFound), idempotent=True,
    route=Route(
        method="GET", path="/v1/admin/payment/reconciliation", role="operator", tag="admin",
        from_token=("actor_id",),
    ),
)  # fmt: skip
RECONCILE = Call(
    "rpc.payment.v1.reconcile", ReconciliationOf, Reconciliation,
    "Compare provider, books and ledger now.",
    refuses=(Forbidden,), idempotent=True, deadline_ms=20_000,
    route=Route(
        method="POST", path="/v1/admin/payment/reconciliation", role="operator", tag="admin",
        from_token=("actor_id",),
    ),
)  # fmt: skip
