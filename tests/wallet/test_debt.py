"""Debt through the broker: what makes a player owe, what it blocks, and what clears it."""

from typing import Any

import pytest

from svc.casino import rounds
from svc.mesh.clock import new_id
from svc.wallet import contract as wallet
from svc.wallet.contract import InDebt, InsufficientFunds
from tests.support.mesh import Operator
from tests.support.platform import Platform
from tests.wallet.player import Player


async def debts(connection: Any, ann: Player) -> list[tuple[str, str, int, int | None]]:
    """Return Ann's entries with the house's account of debts."""
    rows = await connection.fetch(
        "SELECT account, kind, amount, balance_after FROM entry"
        " WHERE user_id = $1 AND contra = 'debt' ORDER BY seq",
        ann.user_id,
    )
    return [tuple(row) for row in rows]


async def test_a_chargeback_of_spent_money_is_owed_until_deposits_cleared_it(
    ann: Player, operator: Operator, platform: Platform
) -> None:
    before = (await operator.call(wallet.AUDIT, wallet.Audit())).totals.get("debt:EUR", 0)
    await ann.give(20, "bonus")
    await ann.take(70, "withdrawal")
    charged_back = ann.transfer(100, "chargeback", forced=True)
    receipt = await ann.deduct(charged_back)
    assert (receipt.cash, receipt.bonus, receipt.available) == (-70, 20, -70)
    assert await ann.deduct(charged_back) == receipt
    balance = await ann.balance()
    assert (balance.cash, balance.available, balance.debt) == (-70, -70, 70)
    report = await operator.call(wallet.AUDIT, wallet.Audit())
    assert report.healthy
    assert report.totals["debt:EUR"] == before - 70

    for kind in ("bet", "casino_bet", "withdrawal", "refund"):
        with pytest.raises(InDebt) as refused:
            await ann.take(1, kind)
        assert refused.value.members["available"] == -70
    with pytest.raises(InDebt):
        await ann.hold(1, new_id())

    assert (await ann.give(50)).available == -20
    with pytest.raises(InDebt):
        await ann.take(1)
    assert (await ann.give(50)).available == 30
    assert (await ann.take(50)).cash == 0
    assert (await ann.balance()).debt == 0
    async with platform.database("wallet") as connection:
        assert await debts(connection, ann) == [
            ("cash", "chargeback", 70, 0), ("cash", "deposit", -50, 0), ("cash", "deposit", -20, 30)
        ]  # fmt: skip


async def test_a_win_that_was_withdrawn_is_taken_back_by_force_and_cleared_by_the_next_deposit(
    ann: Player,
) -> None:
    """Row R7: a bet is won, all is withdrawn, and the settlement is rolled back."""
    stake = ann.transfer(10, "bet")
    await ann.deduct(stake)
    win = ann.transfer(20, "bet_payout", stake=stake.transfer_id)
    await ann.credit(win)
    hold_id = new_id()
    await ann.hold(110, hold_id)
    await ann.capture(hold_id)
    with pytest.raises(InsufficientFunds):
        await ann.rollback(win.transfer_id)
    undone = new_id()
    assert (await ann.rollback(win.transfer_id, undone, forced=True)).available == -20
    with pytest.raises(wallet.TransferConflict):
        await ann.rollback(win.transfer_id, undone)
    with pytest.raises(InDebt):
        await ann.take(1)
    lost = ann.transfer(0, "bet_payout", stake=stake.transfer_id)
    assert (await ann.credit(lost)).available == -20
    assert (await ann.give(20)).available == 0


async def test_what_is_held_stays_held_in_debt_and_clears_it_when_released(ann: Player) -> None:
    paid_out, given_back = new_id(), new_id()
    await ann.hold(60, paid_out)
    await ann.hold(30, given_back)
    await ann.deduct(ann.transfer(50, "chargeback", forced=True))
    balance = await ann.balance()
    assert (balance.cash, balance.held, balance.available, balance.debt) == (50, 90, -40, 40)
    assert (await ann.capture(paid_out)).available == -40
    assert (await ann.release(given_back)).available == -10
    assert (await ann.balance()).debt == 10


async def test_a_batch_forces_what_is_to_be_forced_and_nothing_else(ann: Player) -> None:
    item = wallet.BatchItem(
        op="deduct_balance", transfer_id=new_id(), user_id=ann.user_id, amount=150,
        currency="EUR", kind="bet", reference="test", forced=True,
    )  # fmt: skip
    forced = wallet.BatchItem(
        op="deduct_balance", transfer_id=new_id(), user_id=ann.user_id, amount=150,
        currency="EUR", kind="chargeback", reference="test", forced=True,
    )  # fmt: skip
    capture = wallet.BatchItem(op="capture", transfer_id=new_id(), hold_id=new_id(), forced=True)
    stake, charged, meaningless = await ann.batch(item, forced, capture)
    assert stake.problem
    assert stake.problem["type"] == "urn:betmesh:problem:insufficient-funds"
    assert charged.receipt
    assert charged.receipt.available == -50
    assert meaningless.problem
    assert meaningless.problem["type"] == "urn:betmesh:problem:validation"


def test_services_that_know_no_debt_tell_the_player_of_a_lack_of_money() -> None:
    owed = InDebt("70 owed", available=-70)
    ours = rounds.in_our_words(owed)
    assert (ours.name, ours.status, ours.members) == ("insufficient-funds", 422, owed.members)
