"""Reporting alone, against a ledger that says what a right one never would."""

from datetime import UTC, datetime

import pytest

from svc.mesh.errors import Unavailable
from svc.reporting.contract import RECONCILE, ReconcileOf
from svc.wallet import contract as wallet
from tests.support.doubles import Stage
from tests.support.mesh import Operator


async def test_money_that_only_the_ledger_knows_is_shown_as_a_difference(
    stage: Stage, operator: Operator
) -> None:
    await stage.run("reporting")
    ledger = await stage.play(wallet.WALLET)
    lost = wallet.KindTotal(kind="deposit", currency="XXX", amount=700, transfers=1)
    ledger.answers(wallet.TOTALS, wallet.Totals(totals=[lost]))

    told = await operator.call(RECONCILE, ReconcileOf())

    assert not told.agrees
    [item] = [item for item in told.items if item.currency == "XXX"]
    assert (item.events, item.ledger, item.difference) == (0, 700, -700)
    [asked] = ledger.asked(wallet.TOTALS)
    assert asked.since <= datetime.now(UTC) < asked.until


async def test_a_ledger_that_is_away_makes_no_report_rather_than_a_wrong_one(
    stage: Stage, operator: Operator
) -> None:
    await stage.run("reporting")
    ledger = await stage.play(wallet.WALLET)
    ledger.answers(wallet.TOTALS, Unavailable("the ledger is away"))

    with pytest.raises(Unavailable):
        await operator.call(RECONCILE, ReconcileOf())
