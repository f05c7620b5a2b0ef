"""Random operations on two players: every answer and balance is compared with a plain model."""

import random
from typing import Any

import pytest
from msgspec import convert, structs

from svc.mesh.clock import new_id
from svc.mesh.contract import Call
from svc.mesh.errors import Refused
from svc.wallet import contract as wallet
from svc.wallet.contract import BatchItem, BatchResult
from tests.support.mesh import Operator, Services
from tests.wallet.player import Player

Told = tuple[int, int, int] | str
"""Cash, bonus and held right after it, or the name of the refusal."""
VERBS = {"deduct_balance", "credit_balance", "hold", "capture", "release", "rollback"}
CALLS: dict[str, Call[Any, Any]] = {
    call.verb: call for call in wallet.WALLET.answers if call.verb in VERBS
}
STEPS = (
    "deposit", "bonus", "bet", "bet", "bet", "payout", "payout", "withdrawal", "withdrawal",
    "bonus_expiry", "hold", "hold", "capture", "capture all", "release", "rollback",
    "rollback stake", "rollback win", "rollback hold", "late", "again", "mutated",
)  # fmt: skip
ABOUT = {
    "payout": "deduct_balance", "capture": "hold", "capture all": "hold", "release": "hold",
    "rollback stake": "deduct_balance", "rollback win": "credit_balance",
    "rollback hold": "hold",
}  # fmt: skip
"""The operations that steps refer to, when they refer to something sensible."""


class Model:
    """The wallet as a player would explain it: plain numbers, and a note of every transfer.

    A hold has the id of its transfer here. `moved` has what took effect, with what it moved.
    """

    def __init__(self) -> None:
        self.money: dict[str, list[int]] = {}
        self.asked: dict[str, BatchItem] = {}
        self.told: dict[str, Told] = {}
        self.owner: dict[str, str] = {}
        self.moved: dict[str, list[int]] = {}
        self.undone: set[str] = set()
        self.closed: set[str] = set()

    def apply(self, item: BatchItem) -> Told:
        known = self.asked.get(item.transfer_id)
        if known is not None:
            return self.told[item.transfer_id] if known == item else "conflict"
        if item.transfer_id in self.undone:
            return "rolled-back"
        if item.user_id:
            self.owner[item.transfer_id] = item.user_id
        told = getattr(self, item.op)(item)
        self.asked[item.transfer_id] = item
        self.told[item.transfer_id] = told
        return told

    def move(self, item: BatchItem, user: str, cash: int, bonus: int, held: int) -> Told:
        self.moved[item.transfer_id] = [cash, bonus, held]
        now = self.money.get(user, [0, 0, 0])
        self.money[user] = [now[0] + cash, now[1] + bonus, now[2] + held]
        return now[0] + cash, now[1] + bonus, now[2] + held

    def deduct_balance(self, item: BatchItem) -> Told:
        user, amount = item.user_id or "", item.amount or 0
        if user not in self.money:
            return "not-found"
        cash, bonus, held = self.money[user]
        if item.kind == "bonus_expiry":
            return self.move(item, user, 0, -min(amount, bonus), 0)
        from_cash = min(amount, cash - held)
        if amount - from_cash > (bonus if item.kind == "bet" else 0):
            return "insufficient-funds"
        return self.move(item, user, -from_cash, from_cash - amount, 0)

    def credit_balance(self, item: BatchItem) -> Told:
        user, amount, stake = item.user_id or "", item.amount or 0, item.stake_transfer_id or ""
        # Who is given money has a wallet from then on, even if the money is refused.
        self.money.setdefault(user, [0, 0, 0])
        if stake in self.undone:
            return "rolled-back"
        if stake not in self.asked:
            bonus = amount if item.kind == "bonus" else 0
            return self.move(item, user, amount - bonus, bonus, 0)
        taken = self.asked[stake].op == "deduct_balance" and stake in self.moved
        if not taken or self.owner[stake] != user:
            return "not-found"
        cash, bonus, _ = self.moved[stake]
        bonus = amount * bonus // (cash + bonus) if bonus else 0
        return self.move(item, user, amount - bonus, bonus, 0)

    def hold(self, item: BatchItem) -> Told:
        user, amount = item.user_id or "", item.amount or 0
        if user not in self.money:
            return "not-found"
        if amount > self.money[user][0] - self.money[user][2]:
            return "insufficient-funds"
        return self.move(item, user, 0, 0, amount)

    def capture(self, item: BatchItem) -> Told:
        hold = item.hold_id or ""
        if hold not in self.moved or self.asked[hold].op != "hold":
            return "not-found"
        user = self.owner[item.transfer_id] = self.owner[hold]
        if hold in self.closed:
            return "already-settled"
        held = self.moved[hold][2]
        amount = 0 if item.op == "release" else held if item.amount is None else item.amount
        if amount > held:
            return "hold-exceeded"
        self.closed.add(hold)
        return self.move(item, user, -amount, 0, -held)

    release = capture

    def rollback(self, item: BatchItem) -> Told:
        undo = item.original_transfer_id or ""
        user = self.owner[item.transfer_id] = self.owner.get(undo, "")
        cash, bonus, held = self.money.get(user, (0, 0, 0))
        if undo not in self.asked and undo not in self.undone:
            self.undone.add(undo)
            self.moved[item.transfer_id] = [0, 0, 0]
        if undo not in self.moved or undo in self.undone:
            return cash, bonus, held
        credits_left = any(
            other.stake_transfer_id == undo and other.op == "credit_balance"
            for transfer_id, other in self.asked.items()
            if transfer_id in self.moved and transfer_id not in self.undone
        )
        final = self.asked[undo].op in ("capture", "release", "rollback")
        if final or undo in self.closed or credits_left:
            return "already-settled"
        back = [-change for change in self.moved[undo]]
        if cash + back[0] < held + back[2] or bonus + back[1] < 0:
            return "insufficient-funds"
        self.undone.add(undo)
        self.closed.add(undo)
        return self.move(item, user, *back)


def items_of(chance: random.Random, users: list[str], count: int) -> list[BatchItem]:
    """Make up operations, each mostly about an earlier one that fits."""
    items: list[BatchItem] = []
    strangers = [new_id()]
    while len(items) < count:
        what, amount = chance.choice(STEPS), chance.choice((0, 1, 30, 50, 99, 100))
        if what in ("again", "mutated"):
            items += repeated(items, chance, 1 if what == "mutated" else 0)
            continue
        fitting = [item.transfer_id for item in items if item.op == ABOUT.get(what, item.op)]
        if what == "late" or not fitting or chance.random() < 0.1:
            # Just any, or one that nobody has seen yet.
            strangers.append(new_id())
            fitting = [item.transfer_id for item in items] + strangers
        earlier = chance.choice(fitting[-6:])
        transfer_id = earlier if what == "late" else new_id()
        items.append(item_of(what, transfer_id, earlier, chance.choice(users), amount))
    return items


def repeated(items: list[BatchItem], chance: random.Random, more: int) -> list[BatchItem]:
    """Return an earlier operation once more, its amount larger by `more`; none if there is none."""
    if not items:
        return []
    item = chance.choice(items)
    return [item if item.amount is None else structs.replace(item, amount=item.amount + more)]


def item_of(what: str, transfer_id: str, earlier: str, user: str, amount: int) -> BatchItem:
    """Return the operation of a step; `earlier` is the transfer that it is about, if it is."""
    money = {"user_id": user, "amount": amount, "currency": "EUR", "reference": "model"}
    positive = {**money, "amount": amount + 1}
    payout = {"kind": "bet_payout", "stake_transfer_id": earlier}
    fields: dict[str, Any] = {
        "deposit": {"op": "credit_balance", "kind": "deposit", **money},
        "bonus": {"op": "credit_balance", "kind": "bonus", **money},
        "bet": {"op": "deduct_balance", "kind": "bet", **money},
        "late": {"op": "deduct_balance", "kind": "bet", **money},
        "payout": {"op": "credit_balance", **payout, **money},
        "withdrawal": {"op": "deduct_balance", "kind": "withdrawal", **money},
        "bonus_expiry": {"op": "deduct_balance", "kind": "bonus_expiry", **money},
        "hold": {"op": "hold", "kind": "withdrawal", "hold_id": transfer_id, **positive},
        "capture": {"op": "capture", "hold_id": earlier, "amount": amount + 1},
        "capture all": {"op": "capture", "hold_id": earlier},
        "release": {"op": "release", "hold_id": earlier},
        "rollback": {"op": "rollback", "original_transfer_id": earlier},
    }["rollback" if what.startswith("rollback") else what]
    return BatchItem(transfer_id=transfer_id, **fields)


async def answers_of(operator: Operator, items: list[BatchItem], cut: int) -> list[Told]:
    """Send operations in batches of `cut`, or with 1 each by its own call."""
    told: list[Told] = []
    for start in range(0, len(items), cut):
        batch = items[start : start + cut]
        if cut > 1:
            reply = await operator.call(wallet.APPLY_BATCH, wallet.Batch(transfers=batch))
            told += [told_by(result) for result in reply.results]
            continue
        fields = {
            key: value for key, value in structs.asdict(batch[0]).items() if value is not None
        }
        call = CALLS[fields.pop("op")]
        try:
            told.append(
                told_by(
                    BatchResult(receipt=await operator.call(call, convert(fields, call.request)))
                )
            )
        except Refused as refusal:
            told.append(refusal.name)
    return told


def told_by(result: BatchResult) -> Told:
    if result.receipt:
        return result.receipt.cash, result.receipt.bonus, result.receipt.held
    return str((result.problem or {})["type"]).removeprefix("urn:betmesh:problem:")


@pytest.mark.parametrize("cut", [1, 7, 64, 1000])
@pytest.mark.parametrize("seed", range(5))
async def test_every_answer_and_balance_is_the_models_however_the_requests_are_cut(
    services: Services, operator: Operator, seed: int, cut: int
) -> None:
    await services("wallet")
    players = [Player(operator), Player(operator)]
    items = items_of(random.Random(seed), [player.user_id for player in players], 150)
    model = Model()
    expected = [model.apply(item) for item in items]
    assert await answers_of(operator, items, cut) == expected
    for player in players:
        assert await player.money() == tuple(model.money[player.user_id])
    report = await operator.call(wallet.AUDIT, wallet.Audit())
    assert report.violations == dict.fromkeys(report.violations, 0)


def test_the_random_operations_meet_every_refusal_and_every_success() -> None:
    met: set[tuple[str, str]] = set()
    for seed in range(5):
        model = Model()
        for item in items_of(random.Random(seed), [new_id(), new_id()], 150):
            told = model.apply(item)
            met.add((item.op, told if isinstance(told, str) else "done"))
    assert {what for what, told in met if told == "done"} == VERBS
    assert {told for _, told in met} == {
        "done", "not-found", "conflict", "rolled-back", "already-settled", "hold-exceeded",
        "insufficient-funds",
    }  # fmt: skip
    assert ("rollback", "already-settled") in met
    assert ("rollback", "insufficient-funds") in met
