"""What game providers, bookmakers and banks try on a wallet: steps, and the answer to each.

Every row is asked twice, call by call and as one batch: the answers must not differ.
"""

import asyncio
import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from svc.mesh.clock import new_id
from svc.mesh.errors import Invalid, NotFound, Refused, problem
from svc.mesh.types import AMOUNT_MAX
from svc.wallet import contract as wallet
from svc.wallet.contract import (
    REFUSALS,
    AccountClosed,
    AlreadySettled,
    BalanceTooLarge,
    BatchItem,
    BatchResult,
    CurrencyMismatch,
    HoldExceeded,
    InDebt,
    InsufficientFunds,
    RolledBack,
    SelfExcluded,
    TransferConflict,
)
from svc.wallet.operations import OPERATIONS
from tests.support.mesh import Operator, Services
from tests.wallet.steps import (
    Names,
    Op,
    Step,
    capture,
    give,
    hold,
    release,
    take,
    told,
    undo,
    wanted,
)

PAID_IN = give((100, 0, 0), "paid in", 100)
NOTHING = (0, 0, 0)
ROWS: dict[str, list[Step]] = {
    "a stake again": [take((70, 0, 0), "a", 30), take((70, 0, 0), "a", 30)],
    "a stake again after others: the answer of then": [
        take((70, 0, 0), "a", 30), take((60, 0, 0), "b", 10), take((70, 0, 0), "a", 30)],
    "an id with another amount": [take((70, 0, 0), "a", 30), take(TransferConflict, "a", 31)],
    "an id with another kind": [
        take((70, 0, 0), "a", 30), take(TransferConflict, "a", 30, "casino_bet")],
    "an id with another currency": [
        take((70, 0, 0), "a", 30), take(TransferConflict, "a", 30)._replace(currency="USD")],
    "an id with another round": [
        take((70, 0, 0), "a", 30), take(TransferConflict, "a", 30)._replace(reference="other")],
    "an id of another player": [
        take((70, 0, 0), "a", 30), take(TransferConflict, "a", 30)._replace(who="bob")],
    "an id with another verb": [take((70, 0, 0), "a", 30), give(TransferConflict, "a", 30, "bet")],
    "an id now forced": [
        take((70, 0, 0), "a", 30, "refund"),
        take(TransferConflict, "a", 30, "refund", forced=True)],
    "the id of a refused stake with another amount": [
        take(InsufficientFunds, "a", 101), take(TransferConflict, "a", 100)],
    "two players with the same round": [
        give((100, 0, 0), "bob's", 100)._replace(who="bob"), take((70, 0, 0), "a", 30),
        take((70, 0, 0), "b", 30)._replace(who="bob")],
    "two stakes that together exceed the balance": [
        take((20, 0, 0), "a", 80), take(InsufficientFunds, "b", 80), take((0, 0, 0), "c", 20)],
    "a win staked at once": [
        take(NOTHING, "a", 100), take(InsufficientFunds, "b", 1), give((9, 0, 0), "c", 9, "prize"),
        take((0, 0, 0), "d", 9)],
    "a rollback before its stake": [
        undo(NOTHING, "undo", "a"), take(RolledBack, "a", 30), take(RolledBack, "a", 30),
        undo(NOTHING, "undo again", "a"), undo(NOTHING, "undo", "a")],
    "a win on a stake that was rolled back before it came": [
        undo(NOTHING, "undo", "a"), give(RolledBack, "win", 9, "bet_payout", "a")],
    "a stake and its rollback": [
        take((70, 0, 0), "a", 30), undo((100, 0, 0), "undo", "a"), take((70, 0, 0), "a", 30)],
    "a rollback twice, under its id and another": [
        take((70, 0, 0), "a", 30), undo((100, 0, 0), "undo", "a"), undo((100, 0, 0), "undo", "a"),
        undo((100, 0, 0), "undo again", "a")],
    "a rollback of a refused stake": [
        take(InsufficientFunds, "a", 101), undo((100, 0, 0), "undo", "a")],
    "a rollback of a rollback": [
        take((70, 0, 0), "a", 30), undo((100, 0, 0), "undo", "a"),
        undo(AlreadySettled, "undo undo", "undo")],
    "a rollback that names itself": [undo(TransferConflict, "undo", "undo")],
    "a rollback after its win": [
        take((70, 0, 0), "a", 30), give((130, 0, 0), "win", 60, "bet_payout", "a"),
        undo(AlreadySettled, "undo", "a"), undo((70, 0, 0), "undo win", "win"),
        undo((100, 0, 0), "undo stake", "a")],
    "a rollback after a lost round": [
        take((70, 0, 0), "a", 30, "casino_bet"), give((70, 0, 0), "win", 0, "casino_payout", "a"),
        undo(AlreadySettled, "undo", "a")],
    "a rollback after a win whose stake never came": [
        give((109, 0, 0), "win", 9, "bet_payout", "a"), undo(AlreadySettled, "undo", "a"),
        take((79, 0, 0), "a", 30), undo(AlreadySettled, "undo", "a"),
        undo((70, 0, 0), "undo win", "win"), undo((100, 0, 0), "undo stake", "a")],
    "a rollback after the win of a stake that never came was taken back": [
        give((109, 0, 0), "win", 9, "bet_payout", "a"), undo((100, 0, 0), "undo win", "win"),
        undo(NOTHING, "undo", "a"), take(RolledBack, "a", 30)],
    "a win after its stake was rolled back": [
        take((70, 0, 0), "a", 30), undo((100, 0, 0), "undo", "a"),
        give(RolledBack, "win", 60, "bet_payout", "a")],
    "a win on a stake that never came": [give((109, 0, 0), "win", 9, "bet_payout", "nothing")],
    "a win on another player's stake": [
        take((70, 0, 0), "a", 30),
        give(NotFound, "win", 9, "bet_payout", "a")._replace(who="bob")],
    "a win on a win": [give((109, 0, 0), "win", 9), give(NotFound, "b", 9, "bet_payout", "win")],
    "two wins on one stake": [
        take((70, 0, 0), "a", 30), give((80, 0, 0), "win", 10, "bet_payout", "a"),
        give((85, 0, 0), "more", 5, "bet_payout", "a")],
    "a win that was spent, taken back": [
        give((160, 0, 0), "win", 60, "prize"), take((40, 0, 0), "a", 120),
        undo(InsufficientFunds, "undo", "win"), undo((-20, 0, 0), "by force", "win", forced=True),
        take(InDebt, "b", 1), give((5, 0, 0), "c", 25), take((4, 0, 0), "d", 1)],
    "settled again, lower, when the player is short": [
        take(NOTHING, "a", 100), give((250, 0, 0), "win", 250, "bet_payout", "a"),
        take(NOTHING, "out", 250, "withdrawal"),
        undo((-250, 0, 0), "undo", "win", forced=True),
        give((-50, 0, 0), "lower", 200, "bet_payout", "a"), take(InDebt, "b", 1)],
    "a stake of cash and bonus, taken back after the bonus expired": [
        give((100, 60, 0), "bonus", 60, "bonus"), take((0, 40, 0), "a", 120),
        take((0, 0, 0), "expiry", 60, "bonus_expiry"), undo((100, 20, 0), "undo", "a")],
    "another currency": [
        take(CurrencyMismatch, "a", 1)._replace(currency="USD"),
        give(CurrencyMismatch, "b", 1)._replace(currency="USD"),
        hold(CurrencyMismatch, "c", 1)._replace(currency="USD"), take((99, 0, 0), "d", 1)],
    "nothing staked and nothing won": [
        take((100, 0, 0), "a", 0, "casino_bet"), give((100, 0, 0), "b", 0, "casino_payout", "a")],
    "a hold of nothing, and a capture of nothing": [
        hold(Invalid, "a", 0), hold((100, 0, 9), "b", 9), capture(Invalid, "c", 0)],
    "all to the last unit, and one more": [
        take(InsufficientFunds, "a", 101), take((0, 0, 0), "b", 100)],
    "a refusal stays one when the money comes, another id does not": [
        take(InsufficientFunds, "a", 101), give((200, 0, 0), "more", 100),
        take(InsufficientFunds, "a", 101), take((99, 0, 0), "b", 101)],
    "money that is held is not staked": [
        hold((100, 0, 60), "a", 60), take(InsufficientFunds, "b", 41), take((60, 0, 60), "c", 40)],
    "holds count together": [
        hold((100, 0, 60), "a", 60), hold(InsufficientFunds, "b", 60, "second"),
        hold((100, 0, 100), "c", 40, "third")],
    "a hold that was refused cannot be captured": [
        hold(InsufficientFunds, "a", 101), capture(NotFound, "b")],
    "a hold id used again": [hold((100, 0, 60), "a", 60), hold(TransferConflict, "b", 1)],
    "more captured than held": [
        hold((100, 0, 60), "a", 60), capture(HoldExceeded, "b", 61), capture((40, 0, 0), "c", 60)],
    "a part captured, then the rest": [
        hold((100, 0, 60), "a", 60), capture((75, 0, 0), "b", 25),
        capture(AlreadySettled, "c", 35)],
    "captured twice under one id": [
        hold((100, 0, 60), "a", 60), capture((40, 0, 0), "b"), capture((40, 0, 0), "b")],
    "released, then captured": [
        hold((100, 0, 60), "a", 60), release((100, 0, 0), "b"), capture(AlreadySettled, "c")],
    "captured, then released": [
        hold((100, 0, 60), "a", 60), capture((40, 0, 0), "b"), release(AlreadySettled, "c")],
    "a hold rolled back, then captured": [
        hold((100, 0, 60), "a", 60), undo((100, 0, 0), "b", "a"), capture(AlreadySettled, "c")],
    "a capture rolled back": [
        hold((100, 0, 60), "a", 60), capture((40, 0, 0), "b"), undo(AlreadySettled, "c", "b")],
    "an unknown user": [
        take(NotFound, "a", 1)._replace(who="nobody"),
        hold(NotFound, "b", 1)._replace(who="nobody"), release(NotFound, "c")],
    "the largest amount": [
        give(BalanceTooLarge, "a", AMOUNT_MAX),
        give((AMOUNT_MAX, 0, 0), "b", AMOUNT_MAX - 100),
        give(BalanceTooLarge, "c", 1), take((0, 0, 0), "d", AMOUNT_MAX)],
    "the largest debt": [
        take((100 - AMOUNT_MAX, 0, 0), "a", AMOUNT_MAX, "chargeback", forced=True),
        take(BalanceTooLarge, "b", AMOUNT_MAX, "chargeback", forced=True)],
    "a rollback that a balance has no room for": [
        take(NOTHING, "a", 100), give((AMOUNT_MAX, 0, 0), "b", AMOUNT_MAX),
        undo(BalanceTooLarge, "c", "a")],
    "a chargeback of spent money": [
        take((10, 0, 0), "a", 90), take((-90, 0, 0), "b", 100, "chargeback", forced=True),
        take(InDebt, "c", 1), hold(InDebt, "d", 1), give((10, 0, 0), "won", 100, "chargeback")],
}  # fmt: skip

ALSO = {
    "fifty equal stakes at once":
        "test_service.py: test_fifty_equal_requests_at_once_move_money_once",
    "ten stakes and wins at once, some twice":
        "test_edge_cases.py: test_ten_stakes_and_wins_at_once_some_twice_end_exactly",
    "a stake and its rollback at once":
        "test_undoing.py: test_a_stake_and_its_rollback_at_once_end_with_no_money_moved",
    "ten rollbacks at once": "test_undoing.py: test_ten_rollbacks_at_once_give_back_once",
    "capture and release at once":
        "test_undoing.py: test_capture_and_release_at_once_close_a_hold_once",
    "negative amounts, fractions, numbers as text, more than 2^53":
        "test_service.py: test_bad_amounts_ids_and_texts_are_refused_as_invalid",
    "fields that an operation has not":
        "test_edge_cases.py: test_an_operation_takes_no_field_of_another",
    "ids of all times": "test_edge_cases.py: test_ids_of_other_years_are_as_good_and_told_again",
    "an answer lost after the commit": "test_group.py: "
        "test_who_lost_the_database_before_the_commit_asks_again_and_moves_money_once",
    "a payment told again under another event id":
        "test_events.py: test_a_deposit_is_credited_once_however_often_it_is_told",
    "a closed account": "test_events.py: "
        "test_who_left_stakes_and_withdraws_no_more_and_what_is_open_comes_to_its_end",
    "an excluded player": "test_exclusion.py: "
        "test_an_excluded_player_stakes_no_more_and_gets_and_takes_out_what_is_theirs",
    "free spins": "test_events.py: "
        "test_a_round_is_paid_a_lost_one_recorded_and_a_free_spin_wins_bonus_money",
}  # fmt: skip
"""Cases that are more than a list of steps: where their tests are."""


@pytest.fixture(scope="module")
async def wallets(services: Services, operator: Operator) -> Operator:
    """The wallet runs; many wallets are used, so the ledger is audited by a test of its own."""
    await services("wallet")
    return operator


@pytest.mark.parametrize("row", ROWS)
async def test_an_edge_case_is_answered_alike_call_by_call_and_as_a_batch(
    wallets: Operator, row: str
) -> None:
    steps = [PAID_IN, *ROWS[row]]
    batch = wallet.Batch(transfers=[*map(Names().item, steps)])
    together = await wallets.call(wallet.APPLY_BATCH, batch)
    assert [*map(told, together.results)] == wanted(steps)

    names, alone = Names(), list[BatchResult]()
    for step in steps:
        one = wallet.Batch(transfers=[names.item(step)])
        alone += (await wallets.call(wallet.APPLY_BATCH, one)).results
    assert [*map(told, alone)] == wanted(steps)


BEFORE: dict[tuple[type[Refused], type[Refused]], list[Step]] = {
    (TransferConflict, NotFound): [
        hold((100, 0, 9), "a", 9), hold(TransferConflict, "b", 1)._replace(who="nobody")],
    (RolledBack, NotFound): [
        undo(NOTHING, "undo", "a"), take(RolledBack, "a", 1)._replace(who="nobody")],
    (RolledBack, CurrencyMismatch): [
        undo(NOTHING, "undo", "a"),
        give(RolledBack, "win", 1, "bet_payout", "a")._replace(currency="USD")],
    (NotFound, CurrencyMismatch): [
        take((99, 0, 0), "a", 1), give((9, 0, 0), "b", 9)._replace(who="bob"),
        give(NotFound, "win", 1, "bet_payout", "a")._replace(who="bob", currency="USD")],
    (CurrencyMismatch, InDebt): [
        take((-1, 0, 0), "a", 101, "chargeback", forced=True),
        take(CurrencyMismatch, "b", 1)._replace(currency="USD")],
    (CurrencyMismatch, InsufficientFunds): [
        take(CurrencyMismatch, "b", 101)._replace(currency="USD")],
    (AlreadySettled, HoldExceeded): [
        hold((100, 0, 9), "a", 9), release((100, 0, 0), "b"), capture(AlreadySettled, "c", 10)],
    (AlreadySettled, BalanceTooLarge): [
        take(NOTHING, "a", 100), give((AMOUNT_MAX, 0, 0), "b", AMOUNT_MAX, "bet_payout", "a"),
        undo(AlreadySettled, "c", "a")],
    (InDebt, InsufficientFunds): [
        take((-1, 0, 0), "a", 101, "chargeback", forced=True), take(InDebt, "b", 101)],
}  # fmt: skip
"""What two refusals are true of: the one that is looked for first is the answer."""


@pytest.mark.parametrize("pair", BEFORE, ids=lambda pair: f"{pair[0].name}-{pair[1].name}")
async def test_of_two_refusals_the_earlier_in_the_list_is_the_answer(
    wallets: Operator, pair: tuple[type[Refused], type[Refused]]
) -> None:
    assert REFUSALS.index(pair[0]) < REFUSALS.index(pair[1])
    steps = [PAID_IN, *BEFORE[pair]]
    batch = wallet.Batch(transfers=[*map(Names().item, steps)])
    answers = (await wallets.call(wallet.APPLY_BATCH, batch)).results
    assert [*map(told, answers)] == wanted(steps)


@pytest.mark.parametrize(
    "refusal",
    [refusal for refusal in REFUSALS if refusal not in (AccountClosed, SelfExcluded)],
    ids=lambda refusal: refusal.name,
)
async def test_every_refusal_has_a_row_and_is_answered_with_its_name_status_and_balances(
    wallets: Operator, refusal: type[Refused]
) -> None:
    row, steps = next(
        (row, steps)
        for row, steps in ROWS.items()
        if any(step.told is refusal and step.op == "deduct_balance" for step in steps)
        or (refusal in ELSEWHERE and row == ELSEWHERE[refusal])
    )
    steps = [PAID_IN, *steps]
    batch = wallet.Batch(transfers=[*map(Names().item, steps)])
    results = (await wallets.call(wallet.APPLY_BATCH, batch)).results
    document = results[next(n for n, step in enumerate(steps) if step.told is refusal)].problem
    assert document, row
    assert document["type"] == problem(refusal("x"))["type"]
    assert document["status"] == refusal.status
    assert document["detail"]
    if refusal in (InsufficientFunds, InDebt):
        assert isinstance(document["available"], int)


ELSEWHERE: dict[type[Refused], str] = {
    AlreadySettled: "captured, then released",
    HoldExceeded: "more captured than held",
    BalanceTooLarge: "the largest amount",
}
"""Refusals of other operations than a deduction: the row that shows them."""


async def test_an_operation_takes_no_field_of_another(wallets: Operator) -> None:
    names = Names()
    good: dict[str, BatchItem] = {
        "deduct_balance": names.item(take(NOTHING, "a", 1)),
        "credit_balance": names.item(give(NOTHING, "b", 1)),
        "hold": names.item(hold(NOTHING, "c", 1)),
        "capture": names.item(capture(NOTHING, "d", 1)),
        "release": names.item(release(NOTHING, "e")),
        "rollback": names.item(undo(NOTHING, "f", "a")),
    }
    assert set(good) == set(OPERATIONS) == set(get_args(Op))
    strange = {"amount": 1, "user_id": new_id(), "hold_id": new_id(), "currency": "EUR"}
    for op, names_of in (("rollback", strange), ("release", ("amount", "user_id"))):
        for name in names_of:
            item = msgspec.structs.replace(good[op], **{name: strange[name]})
            answer = await wallets.call(wallet.APPLY_BATCH, wallet.Batch(transfers=[item]))
            assert told(answer.results[0]) == "validation", (op, name)


async def test_ids_of_other_years_are_as_good_and_told_again(wallets: Operator) -> None:
    names = Names()
    await wallets.call(wallet.APPLY_BATCH, wallet.Batch(transfers=[names.item(PAID_IN)]))
    for age in ("017f22e2-79b0", "01a90a5d-ac96", "ffffffff-ffff"):
        names.ids["a"] = age + new_id()[13:]
        batch = wallet.Batch(transfers=[names.item(take(NOTHING, "a", 1))])
        first = await wallets.call(wallet.APPLY_BATCH, batch)
        assert first.results[0].receipt
        assert await wallets.call(wallet.APPLY_BATCH, batch) == first


async def test_ten_stakes_and_wins_at_once_some_twice_end_exactly(wallets: Operator) -> None:
    names = Names()
    await wallets.call(wallet.APPLY_BATCH, wallet.Batch(transfers=[names.item(PAID_IN)]))
    steps = [
        one
        for turn in range(5)
        for one in (take(NOTHING, f"stake {turn}", 7), give(NOTHING, f"win {turn}", 11, "prize"))
    ]
    items = [names.item(one) for one in (*steps, *steps[::3])]
    answers = await asyncio.gather(
        *(wallets.call(wallet.APPLY_BATCH, wallet.Batch(transfers=[item])) for item in items)
    )
    assert all(answer.results[0].receipt for answer in answers)
    balance = await wallets.call(wallet.BALANCE, wallet.BalanceOf(user_id=names.ids["ann"]))
    assert balance.cash == 100 + 5 * (11 - 7)


def test_the_cases_that_are_more_than_steps_have_their_tests() -> None:
    for place in ALSO.values():
        file, test = place.split(": ")
        assert re.search(rf"def {test}\(", (Path(__file__).parent / file).read_text()), place


async def test_after_all_that_the_ledger_is_sound(wallets: Operator) -> None:
    report = await wallets.call(wallet.AUDIT, wallet.Audit())
    assert report.violations == dict.fromkeys(report.violations, 0)
