"""Reports made of sums: days by product, the cashier, and the comparison with the ledger."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import date

from svc.identity import contract as identity
from svc.mesh.context import Context
from svc.mesh.database import Tx
from svc.reporting import rules, store
from svc.reporting.contract import CashDay, DailyReport, Day, Difference, Reconciliation
from svc.reporting.store import Sum
from svc.wallet import contract as wallet

Sums = dict[tuple[date, str], dict[str, Sum]]


async def daily(tx: Tx, since: date, until: date) -> DailyReport:
    """Report the days, both included; money in minor units."""
    by_day: Sums = defaultdict(dict)
    for each in await store.sums(tx, since, until):
        by_day[each.day, each.currency][each.kind] = each
    logins = identity.USER_LOGGED_IN.type
    return DailyReport(
        registrations=await store.counts_by_day(tx, identity.USER_REGISTERED.type, since, until),
        logins=await store.counts_by_day(tx, logins, since, until),
        products=_products(by_day),
        cashier=_cashier(by_day),
    )


def _products(by_day: Sums) -> list[Day]:
    """A stake that was given back is no turnover; GGR = turnover - payouts."""
    found: list[Day] = []
    for (day, currency), kinds in sorted(by_day.items()):
        for name, product in rules.PRODUCTS.items():
            if not kinds.keys() & {product.stake, product.payout, product.refund}:
                continue
            turnover = -_amount(kinds, product.stake) - _amount(kinds, product.refund)
            payouts = _amount(kinds, product.payout)
            bets = kinds.get(product.stake)
            found.append(
                Day(
                    day=day,
                    product=name,
                    currency=currency,
                    bets=bets.movements if bets else 0,
                    turnover=turnover,
                    payouts=payouts,
                    ggr=turnover - payouts,
                )
            )
    return found


def _cashier(by_day: Sums) -> list[CashDay]:
    cashier = {"deposit", "withdrawal", "refund", "bonus", "prize"}
    return [
        CashDay(
            day=day,
            currency=currency,
            deposits=_amount(kinds, "deposit"),
            withdrawals=-_amount(kinds, "withdrawal"),
            refunds=-_amount(kinds, "refund"),
            bonus_cost=_amount(kinds, "bonus"),
            prizes=_amount(kinds, "prize"),
        )
        for (day, currency), kinds in sorted(by_day.items())
        if kinds.keys() & cashier
    ]


def _amount(kinds: dict[str, Sum], kind: str | None) -> int:
    found = kinds.get(kind) if kind else None
    return found.amount if found else 0


async def compare(
    context: Context, told: Iterable[Sum], booked: Iterable[wallet.KindTotal], locale: str
) -> Reconciliation:
    """Compare the events' sums with the ledger's, each signed from the player's side."""
    events: dict[tuple[str, str], int] = defaultdict(int)
    ledger: dict[tuple[str, str], int] = defaultdict(int)
    for each in told:
        events[each.kind, each.currency] += each.amount
    for total in booked:
        if total.kind in rules.KINDS:
            ledger[total.kind, total.currency] += total.amount
    items = [
        Difference(
            kind=kind,
            title=await context.localizer.text(locale, "reporting", f"kind.{kind}"),
            currency=currency,
            events=events[kind, currency],
            ledger=ledger[kind, currency],
            difference=events[kind, currency] - ledger[kind, currency],
        )
        for kind, currency in sorted(events.keys() | ledger.keys())
    ]
    return Reconciliation(agrees=not any(item.difference for item in items), items=items)
