"""The checker of acknowledgements finds what a ledger lost, doubled or changed, no more."""

from pathlib import Path

import pytest

from svc.mesh.clock import new_id
from svc.mesh.errors import Refused
from svc.wallet.contract import CREDIT_BALANCE, DEDUCT_BALANCE, Receipt, Transfer
from tests.bench.acknowledged import Acknowledged, Log, Outcome, compared, violations
from tests.bench.load_wallet import Decided
from tests.support.mesh import Operator, Services
from tests.support.platform import Platform

ID = "0199b2a4-5e7c-7000-8000-000000000001"
ANN = "0199b2a4-5e7c-7000-8000-0000000000aa"
GONE = "0199b2a4-5e7c-7000-8000-000000000404"


def told(outcome: Outcome = "applied", change: int = -5, cash: int = 95) -> Acknowledged:
    refusal = "insufficient-funds" if outcome == "refused" else ""
    return Acknowledged(
        ID, ANN, change, outcome, cash if outcome == "applied" else 0, refusal=refusal
    )


def kept(
    outcome: str = "applied", change: int = -5, moved: int | None = None, cash: int = 95
) -> Decided:
    applied = outcome == "applied"
    return Decided(
        transfer_id=ID,
        outcome="applied" if applied else "refused",
        change=change if applied else 0,
        moved=(change if moved is None else moved) if applied else 0,
        cash=cash,
        bonus=0,
        held=0,
        refusal="" if applied else outcome,
    )


REFUSAL = kept("insufficient-funds")


@pytest.mark.parametrize(
    ("answers", "ledger", "broken"),
    [
        pytest.param([told()], [kept()], 0, id="a promise kept"),
        pytest.param([told(), told()], [kept()], 0, id="the same answer twice"),
        pytest.param([told("refused")], [REFUSAL], 0, id="a refusal kept"),
        pytest.param([told("unknown")], [], 0, id="no answer and nothing done"),
        pytest.param([told("unknown")], [kept()], 0, id="no answer, but done"),
        pytest.param([told("unknown"), told()], [kept()], 0, id="asked again until answered"),
        pytest.param([told()], [], 1, id="lost"),
        pytest.param([told()], [REFUSAL], 1, id="acknowledged, kept as a refusal"),
        pytest.param([told()], [kept(), kept()], 1, id="doubled"),
        pytest.param([told()], [kept(change=-6)], 1, id="another amount"),
        pytest.param([told()], [kept(moved=0)], 1, id="no entries"),
        pytest.param([told()], [kept(moved=-10)], 1, id="its entries doubled"),
        pytest.param([told()], [kept(cash=90)], 1, id="another balance"),
        pytest.param([told("refused")], [kept()], 1, id="refused, but applied"),
        pytest.param([told("refused")], [], 1, id="a refusal forgotten"),
        pytest.param([told(), told(cash=90)], [kept()], 2, id="two answers"),
        pytest.param([told("unknown")], [kept(change=-6)], 1, id="no answer, another amount"),
        pytest.param([told("unknown")], [kept(), kept()], 1, id="no answer, doubled"),
    ],
)
def test_every_broken_promise_is_found_and_no_other(
    answers: list[Acknowledged], ledger: list[Decided], broken: int
) -> None:
    found = violations(answers, {ID: ledger})

    assert len(found) == broken, found


async def test_what_the_real_wallet_acknowledged_is_what_it_keeps(
    platform: Platform, services: Services, operator: Operator, tmp_path: Path
) -> None:
    await services("wallet")
    log = Log(tmp_path / "acknowledged.jsonl")
    ann = new_id()
    deposit = _transfer(ann, 100)
    for _ in range(2):
        log.applied(ann, 100, await operator.call(CREDIT_BALANCE, deposit))
    stake = _transfer(ann, 60)
    log.applied(ann, -60, await operator.call(DEDUCT_BALANCE, stake))
    too_much = _transfer(ann, 41)
    with pytest.raises(Refused) as refused:
        await operator.call(DEDUCT_BALANCE, too_much)
    log.refused(too_much.transfer_id, ann, -41, refused.value)
    with pytest.raises(Refused) as conflict:
        await operator.call(DEDUCT_BALANCE, _transfer(ann, 61, stake.transfer_id))
    log.refused(stake.transfer_id, ann, -61, conflict.value)
    log.unknown(new_id(), ann, -1)
    log.write()

    async with platform.database("wallet") as connection:
        assert await compared(connection, log.path) == (6, [])


async def test_a_receipt_that_the_real_wallet_never_gave_is_found(
    platform: Platform, tmp_path: Path
) -> None:
    log = Log(tmp_path / "acknowledged.jsonl")
    forged = Receipt(transfer_id=GONE, cash=95, bonus=0, held=0, available=95)
    log.applied(ANN, -5, forged)
    log.write()

    async with platform.database("wallet") as connection:
        count, broken = await compared(connection, log.path)

    assert (count, broken) == (1, [f"{GONE}: acknowledged, but not applied"])


def _transfer(user_id: str, amount: int, transfer_id: str | None = None) -> Transfer:
    return Transfer(
        transfer_id=transfer_id or new_id(),
        user_id=user_id,
        amount=amount,
        currency="EUR",
        kind="adjustment",
        reference="test",
    )
