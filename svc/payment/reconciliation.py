"""The comparison of provider, books and ledger, and the events whose webhooks never came."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import cast

import msgspec
from msgspec import Struct

from svc.mesh.context import Context
from svc.mesh.errors import Refused
from svc.payment import provider, store_statement, webhooks
from svc.payment.contract_reports import PaymentKind, ReconciledTotal, Reconciliation
from svc.payment.store_statement import BookTotal, Line
from svc.wallet import contract as wallet

BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)
OVERLAP = timedelta(hours=1)
"""So much of the last comparison's time is looked at again: clocks differ, lists lag behind."""
EVENTS_KEPT = timedelta(days=30)
"""So long the provider lists events (Stripe)."""
ITEMS_MAX = 100


class Source(Struct, frozen=True, kw_only=True):
    """What a movement belongs to: a charge or refund names its payment."""

    id: str = ""
    payment_intent: str | None = None


KIND_OF: dict[str, PaymentKind] = {
    "charge": "deposit",
    "payment": "deposit",
    "refund": "refund",
    "payment_refund": "refund",
    "refund_failure": "refund",
    "payment_failure_refund": "refund",
    "payout": "withdrawal",
    "payout_failure": "withdrawal",
    "adjustment": "chargeback",
}
"""Stripe's types of balance transactions that move players' money; others are our own costs."""


def line_of(movement: provider.Movement) -> Line | None:
    """Return a line of the statement; None for what moves no player's money.

    A dispute's fee is the player's, as the dispute is; the fees of all others are our costs.
    """
    kind = KIND_OF.get(movement.type)
    amount = movement.net if kind == "chargeback" else movement.amount
    if kind is None or not amount:
        return None
    source = msgspec.json.decode(movement.source, type=Source)
    named = source.payment_intent if kind in {"deposit", "refund"} else source.id
    return Line(
        movement_id=movement.id,
        kind=kind,
        provider_id=named or source.id,
        amount=amount,
        currency=movement.currency.upper(),
        moved_at=datetime.fromtimestamp(movement.created, UTC),
    )


async def learn(context: Context, since: datetime) -> int:
    """Apply what the provider told nobody; returns how many events that were."""
    learnt = 0
    async for event in provider.of(context).events(since):
        try:
            learnt += await webhooks.learn(context, event)
        except Refused as refusal:
            context.log.warning("an event of the provider is not understood", cause=str(refusal))
    return learnt


async def run(context: Context) -> Reconciliation:
    """Learn what was missed, take the statement in and compare; keeps what it found.

    Raises Unavailable when the provider or the wallet does not answer.
    """
    now = context.now()
    async with context.transaction() as tx:
        last = await store_statement.looked_until(tx)
    since = last - OVERLAP if last else BEGINNING
    learnt = await learn(context, max(since, now - EVENTS_KEPT))
    lines = [line_of(each) async for each in provider.of(context).movements(since)]
    async with context.transaction() as tx:
        await store_statement.keep(tx, [line for line in lines if line])
    ledger = await context.call(wallet.TOTALS, wallet.TotalsOf(since=BEGINNING, until=now))
    async with context.transaction() as tx:
        totals = compared(await store_statement.totals(tx), ledger.totals)
        items = await store_statement.differences(tx)
        unequal = [each for each in totals if len({each.provider, each.booked, each.ledger}) > 1]
        found = Reconciliation(
            until=now,
            differences=len(items) + len(unequal),
            learnt=learnt,
            totals=totals,
            items=items[:ITEMS_MAX],
        )
        await store_statement.record(tx, context.new_id(), found)
    tell: Callable[..., None] = context.log.error if found.differences else context.log.info
    tell("payments reconciled", differences=found.differences, learnt=learnt)
    return found


def compared(
    books: list[BookTotal], ledger: list[wallet.KindTotal]
) -> list[ReconciledTotal]:  # fmt: skip
    """Put the ledger's totals beside the provider's and ours."""
    sides: dict[tuple[PaymentKind, str], tuple[int, int]] = {
        (each.kind, each.currency): (each.provider, each.booked) for each in books
    }
    kept: dict[tuple[PaymentKind, str], int] = {
        (cast("PaymentKind", each.kind), each.currency): each.amount
        for each in ledger
        if each.kind in KIND_OF.values()
    }
    return [
        ReconciledTotal(
            kind=kind,
            currency=currency,
            provider=sides.get((kind, currency), (0, 0))[0],
            booked=sides.get((kind, currency), (0, 0))[1],
            ledger=kept.get((kind, currency), 0),
        )
        for kind, currency in sorted({*sides, *kept})
    ]
