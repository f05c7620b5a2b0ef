"""Rollbacks and holds through the broker: what is undone, once, and what no longer can be."""

import asyncio

import pytest

from svc.mesh.clock import new_id
from svc.mesh.errors import NotFound
from svc.wallet import contract as wallet
from svc.wallet.contract import (
    AlreadySettled,
    HoldExceeded,
    InsufficientFunds,
    RolledBack,
    TransferConflict,
)
from tests.wallet.player import Player


async def test_a_rollback_restores_the_recorded_split_once(ann: Player) -> None:
    await ann.give(60, "bonus")
    stake = ann.transfer(120, "bet")
    await ann.deduct(stake)
    await ann.take(40, "bonus_expiry")
    rollback_id = new_id()
    first = await ann.rollback(stake.transfer_id, rollback_id)
    assert (first.cash, first.bonus) == (100, 20)
    await ann.take(1)
    assert await ann.rollback(stake.transfer_id, rollback_id) == first
    assert (await ann.rollback(stake.transfer_id)).cash == 99
    assert await ann.money() == (99, 20, 0)


async def test_ten_rollbacks_at_once_give_back_once(ann: Player) -> None:
    stake = ann.transfer(30, "bet")
    await ann.deduct(stake)
    receipts = await asyncio.gather(*(ann.rollback(stake.transfer_id) for _ in range(10)))
    assert {receipt.cash for receipt in receipts} == {100}


async def test_a_transfer_that_comes_after_its_rollback_is_refused_for_ever(ann: Player) -> None:
    stake = ann.transfer(30, "bet")
    rollback_id = new_id()
    buried = await ann.rollback(stake.transfer_id, rollback_id)
    assert (buried.transfer_id, buried.cash) == (rollback_id, 0)
    for _ in range(2):
        with pytest.raises(RolledBack):
            await ann.deduct(stake)
    assert await ann.rollback(stake.transfer_id, rollback_id) == buried
    await ann.rollback(stake.transfer_id)
    with pytest.raises(RolledBack):
        await ann.give(9, "bet_payout", stake=stake.transfer_id)
    assert await ann.money() == (100, 0, 0)


async def test_a_stake_and_its_rollback_at_once_end_with_no_money_moved(ann: Player) -> None:
    for _ in range(10):
        stake = ann.transfer(30, "bet")
        answers = await asyncio.gather(
            ann.deduct(stake), ann.rollback(stake.transfer_id), return_exceptions=True
        )
        assert isinstance(answers[0], wallet.Receipt | RolledBack)
        assert isinstance(answers[1], wallet.Receipt)
        assert await ann.money() == (100, 0, 0)


async def test_a_rollback_of_a_refused_transfer_is_a_success_that_moves_nothing(
    ann: Player,
) -> None:
    stake = ann.transfer(101, "bet")
    with pytest.raises(InsufficientFunds):
        await ann.deduct(stake)
    assert (await ann.rollback(stake.transfer_id)).cash == 100
    with pytest.raises(InsufficientFunds):
        await ann.deduct(stake)


async def test_a_settled_stake_is_not_rolled_back_before_its_win_is(ann: Player) -> None:
    stake = ann.transfer(30, "bet")
    await ann.deduct(stake)
    win = ann.transfer(60, "bet_payout", stake=stake.transfer_id)
    await ann.credit(win)
    with pytest.raises(AlreadySettled):
        await ann.rollback(stake.transfer_id)
    assert (await ann.rollback(win.transfer_id)).cash == 70
    assert (await ann.rollback(stake.transfer_id)).cash == 100
    with pytest.raises(RolledBack):
        await ann.give(60, "bet_payout", stake=stake.transfer_id)


async def test_a_win_that_was_spent_is_not_taken_back(ann: Player) -> None:
    win = ann.transfer(60, "prize")
    await ann.credit(win)
    await ann.take(120)
    with pytest.raises(InsufficientFunds):
        await ann.rollback(win.transfer_id)
    assert await ann.money() == (40, 0, 0)


async def test_what_is_held_is_still_the_players_but_not_free(ann: Player) -> None:
    hold_id = new_id()
    receipt = await ann.hold(60, hold_id)
    assert (receipt.cash, receipt.held, receipt.available) == (100, 60, 40)
    with pytest.raises(InsufficientFunds):
        await ann.take(41)
    with pytest.raises(InsufficientFunds):
        await ann.hold(41, new_id())
    with pytest.raises(TransferConflict):
        await ann.hold(1, hold_id)
    await ann.take(40)
    assert await ann.money() == (60, 0, 60)


async def test_a_hold_is_captured_in_part_and_the_rest_released(ann: Player) -> None:
    hold_id = new_id()
    await ann.hold(60, hold_id)
    with pytest.raises(HoldExceeded):
        await ann.capture(hold_id, 61)
    transfer_id = new_id()
    receipt = await ann.capture(hold_id, 25, transfer_id)
    assert (receipt.cash, receipt.held, receipt.available) == (75, 0, 75)
    assert await ann.capture(hold_id, 25, transfer_id) == receipt
    with pytest.raises(AlreadySettled):
        await ann.capture(hold_id, 1)
    with pytest.raises(AlreadySettled):
        await ann.release(hold_id)


async def test_a_hold_is_released_whole_and_can_be_rolled_back_only_while_open(
    ann: Player,
) -> None:
    first, second, transfer_id = new_id(), new_id(), new_id()
    await ann.hold(60, first)
    assert (await ann.release(first)).available == 100
    await ann.hold(60, second, transfer_id)
    assert (await ann.rollback(transfer_id)).available == 100
    with pytest.raises(AlreadySettled):
        await ann.capture(second)
    with pytest.raises(NotFound):
        await ann.capture(new_id())


async def test_capture_and_release_at_once_close_a_hold_once(ann: Player) -> None:
    hold_id = new_id()
    await ann.hold(60, hold_id)
    answers = await asyncio.gather(
        ann.capture(hold_id), ann.release(hold_id), return_exceptions=True
    )
    assert sorted(type(answer).__name__ for answer in answers) == ["AlreadySettled", "Receipt"]
    assert (await ann.money())[2] == 0
