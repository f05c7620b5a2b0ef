"""reporting: what happened, in numbers, reconciled with the ledger.

The one module of this service that others may import.
"""

from datetime import date

from msgspec import Struct

from svc.mesh.contract import Call, Contract, Route
from svc.mesh.errors import Forbidden
from svc.mesh.types import Currency, Id, LocaleTag, Reply, Request


class DailyOf(Request, frozen=True, kw_only=True):
    """Which days, both included; without them the last seven."""

    since: date | None = None
    until: date | None = None
    actor_id: Id | None = None


class Day(Struct, frozen=True, kw_only=True):
    """One day, product and currency: money in minor units; GGR = turnover - payouts.

    Stakes that were given back are no turnover.
    """

    day: date
    product: str
    currency: Currency
    bets: int
    turnover: int
    payouts: int
    ggr: int


class CashDay(Struct, frozen=True, kw_only=True):
    """One day and currency of the cashier: money in minor units."""

    day: date
    currency: Currency
    deposits: int
    withdrawals: int
    refunds: int
    bonus_cost: int
    prizes: int


class DailyReport(Reply, frozen=True, kw_only=True):
    """The days asked for."""

    registrations: dict[str, int]
    logins: dict[str, int]
    products: list[Day]
    cashier: list[CashDay]


class ReconcileOf(Request, frozen=True, kw_only=True):
    """Which days, both included; without them today. Days are UTC days."""

    since: date | None = None
    until: date | None = None
    locale: LocaleTag = "en"
    actor_id: Id | None = None


class Difference(Struct, frozen=True, kw_only=True):
    """One kind of money: what the events say, what the ledger says, in minor units.

    Signed from the player's side: what they got is above zero. `title` says the kind in the
    language asked for.
    """

    kind: str
    title: str
    currency: Currency
    events: int
    ledger: int
    difference: int


class Reconciliation(Reply, frozen=True, kw_only=True):
    """The comparison; `agrees` when every difference is zero."""

    agrees: bool
    items: list[Difference]


class CountsOf(Request, frozen=True, kw_only=True):
    """How many events of each type were heard."""

    actor_id: Id | None = None


class Counts(Reply, frozen=True, kw_only=True):
    """The counts by event type."""

    events: dict[str, int]


DAILY = Call(
    "rpc.reporting.v1.daily", DailyOf, DailyReport, "Turnover, GGR, cashier and users by day.",
    refuses=(Forbidden,), idempotent=True,
    route=Route(
        method="GET", path="/v1/reports/daily", role="operator", tag="reports",
        from_token=("actor_id",),
    ),
)  # fmt: skip
RECONCILE = Call(
    "rpc.reporting.v1.reconcile", ReconcileOf, Reconciliation, "Compare events with the ledger.",
    refuses=(Forbidden,), idempotent=True, deadline_ms=10_000,
    route=Route(
        method="GET", path="/v1/reports/reconciliation", role="operator", tag="reports",
        from_token=("actor_id",),
    ),
)  # fmt: skip
COUNTS = Call(
    "rpc.reporting.v1.counts", CountsOf, Counts, "Count the events heard, by type.",
    refuses=(Forbidden,), idempotent=True,
    route=Route(
        method="GET", path="/v1/reports/events", role="operator", tag="reports",
        from_token=("actor_id",),
    ),
)  # fmt: skip

REPORTING = Contract(
    name="reporting",
    version="1.0.0",
    purpose="Analytics, GGR and the reconciliation with the ledger.",
    answers=(DAILY, RECONCILE, COUNTS),
)
