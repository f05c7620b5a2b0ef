"""Operations as tests make them up, each mostly about an earlier one, and what the wallet says."""

import random
from typing import Any

from msgspec import structs

from svc.mesh.clock import new_id
from svc.mesh.contract import Call
from svc.mesh.errors import PROBLEM_PREFIX, Refused
from svc.wallet import contract as wallet
from svc.wallet.contract import BatchItem, BatchResult
from tests.support.mesh import Operator
from tests.wallet_faults.model import Told

VERBS = {"deduct_balance", "credit_balance", "hold", "capture", "release", "rollback"}
CALLS: dict[str, Call[Any, Any]] = {
    call.verb: call for call in wallet.WALLET.answers if call.verb in VERBS
}
ABOUT = {
    "payout": "deduct_balance", "capture": "hold", "capture all": "hold", "release": "hold",
    "hold again": "hold", "rollback stake": "deduct_balance", "rollback win": "credit_balance",
    "rollback hold": "hold",
}  # fmt: skip
"""The operations that steps refer to, when they refer to something sensible."""
STEPS = (
    "deposit", "bonus", "bet", "bet", "bet", "payout", "payout", "withdrawal", "withdrawal",
    "bonus_expiry", "hold", "hold", "hold again", "capture", "capture all", "release", "rollback",
    "rollback stake", "rollback win", "rollback hold", "late",
)  # fmt: skip

STRANGER = BatchItem(op="hold", transfer_id=new_id())
"""What nobody has asked for."""


def item_of(
    what: str, earlier: BatchItem, user: str, amount: int, currency: str = "EUR"
) -> BatchItem:
    """Return the operation of a step, about an earlier one if it is about one."""
    transfer_id = earlier.transfer_id if what == "late" else new_id()
    money = {"user_id": user, "amount": amount, "currency": currency, "reference": "model"}
    hold = {"op": "hold", "kind": "withdrawal", **money}
    payout = {"kind": "bet_payout", "stake_transfer_id": earlier.transfer_id}
    held = earlier.hold_id or earlier.transfer_id
    fields: dict[str, Any] = {
        "deposit": {"op": "credit_balance", "kind": "deposit", **money},
        "bonus": {"op": "credit_balance", "kind": "bonus", **money},
        "bet": {"op": "deduct_balance", "kind": "bet", **money},
        "late": {"op": "deduct_balance", "kind": "bet", **money},
        "payout": {"op": "credit_balance", **payout, **money},
        "withdrawal": {"op": "deduct_balance", "kind": "withdrawal", **money},
        "bonus_expiry": {"op": "deduct_balance", "kind": "bonus_expiry", **money},
        "hold": {**hold, "hold_id": new_id()},
        "hold again": {**hold, "hold_id": held},
        "capture": {"op": "capture", "hold_id": held, "amount": amount},
        "capture all": {"op": "capture", "hold_id": held},
        "release": {"op": "release", "hold_id": held},
        "rollback": {"op": "rollback", "original_transfer_id": earlier.transfer_id},
    }["rollback" if what.startswith("rollback") else what]
    return BatchItem(transfer_id=transfer_id, **fields)


async def asked(operator: Operator, item: BatchItem) -> Told:
    """Ask for an operation by its own call."""
    # Made without a check, as a caller in another language could.
    fields = {key: value for key, value in structs.asdict(item).items() if value is not None}
    call = CALLS[fields.pop("op")]
    try:
        return told_by(BatchResult(receipt=await operator.call(call, call.request(**fields))))
    except Refused as refusal:
        return refusal.name


async def asked_together(operator: Operator, items: list[BatchItem]) -> list[Told]:
    """Ask for operations in one batch."""
    reply = await operator.call(wallet.APPLY_BATCH, wallet.Batch(transfers=items))
    return [told_by(result) for result in reply.results]


def told_by(result: BatchResult) -> Told:
    """Return what an answer says."""
    if result.receipt:
        return result.receipt.cash, result.receipt.bonus, result.receipt.held
    return str((result.problem or {})["type"]).removeprefix(PROBLEM_PREFIX)


def items_of(chance: random.Random, count: int, players: int = 2) -> list[BatchItem]:
    """Make up operations at random; some come again, some with another body."""
    users = [new_id() for _ in range(players)]
    items = [item_of("bonus", STRANGER, users[0], 99), item_of("deposit", STRANGER, users[0], 100)]
    # All that is there and one odd unit: where rules are wrong by one.
    items.append(item_of("bet", STRANGER, users[0], 199))
    items.append(item_of("payout", items[-1], users[0], 100))
    while len(items) < count:
        what, amount = chance.choice(STEPS), chance.choice((0, 1, 30, 50, 99, 100, 101))
        fitting = [item for item in items if item.op == ABOUT.get(what, item.op)]
        earlier = chance.choice(fitting[-6:] or [STRANGER])
        if chance.random() < 0.1:
            more = chance.choice((0, 1)) if earlier.amount is not None else 0
            items.append(structs.replace(earlier, amount=earlier.amount and earlier.amount + more))
        elif earlier is not STRANGER or what != "late":
            items.append(item_of(what, earlier, chance.choice(users), amount))
    return items
