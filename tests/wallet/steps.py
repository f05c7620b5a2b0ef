"""Steps of edge cases: an operation under names instead of ids, and the answer that it gets."""

from collections import defaultdict
from typing import Literal, NamedTuple

from svc.mesh.clock import new_id
from svc.mesh.errors import Refused
from svc.wallet.contract import BatchItem, BatchResult, Kind

Op = Literal["deduct_balance", "credit_balance", "hold", "capture", "release", "rollback"]
Told = tuple[int, int, int] | type[Refused]
"""Cash, bonus and held right after it, or the refusal."""


class Step(NamedTuple):
    """An operation on Ann's money, or another user's, under names instead of ids."""

    told: Told
    op: Op
    name: str
    amount: int | None = None
    kind: Kind | None = None
    of: str | None = None
    who: str = "ann"
    currency: str = "EUR"
    forced: bool | None = None
    reference: str = "test"


def take(
    told: Told, name: str, amount: int, kind: Kind = "bet", *, forced: bool | None = None
) -> Step:
    return Step(told, "deduct_balance", name, amount, kind, forced=forced)


def give(
    told: Told, name: str, amount: int, kind: Kind = "deposit", stake: str | None = None
) -> Step:
    return Step(told, "credit_balance", name, amount, kind, stake)


def hold(told: Told, name: str, amount: int, of: str = "hold") -> Step:
    return Step(told, "hold", name, amount, "withdrawal", of)


def capture(told: Told, name: str, amount: int | None = None, of: str = "hold") -> Step:
    return Step(told, "capture", name, amount, of=of)


def release(told: Told, name: str, of: str = "hold") -> Step:
    return Step(told, "release", name, of=of)


def undo(told: Told, name: str, of: str, *, forced: bool | None = None) -> Step:
    return Step(told, "rollback", name, of=of, forced=forced)


class Names:
    """Ids for names, fresh in every run."""

    def __init__(self) -> None:
        """Nobody has a name."""
        self.ids: defaultdict[str, str] = defaultdict(new_id)

    def item(self, step: Step) -> BatchItem:
        """Return a step with ids, as a batch takes it."""
        of = self.ids[step.of] if step.of else None
        moves = step.op in ("deduct_balance", "credit_balance", "hold")
        return BatchItem(
            op=step.op,
            transfer_id=self.ids[step.name],
            user_id=self.ids[step.who] if moves else None,
            amount=step.amount,
            currency=step.currency if moves else None,
            kind=step.kind,
            reference=step.reference if moves else None,
            hold_id=of if step.op in ("hold", "capture", "release") else None,
            original_transfer_id=of if step.op == "rollback" else None,
            stake_transfer_id=of if step.op == "credit_balance" else None,
            forced=step.forced,
        )


def told(result: BatchResult) -> object:
    """Return an answer in the form of a row: balances, or the name of the refusal."""
    if result.receipt:
        receipt = result.receipt
        return receipt.cash, receipt.bonus, receipt.held
    return str((result.problem or {})["type"]).rpartition(":")[2]


def wanted(steps: list[Step]) -> list[object]:
    """Return the answers of a row."""
    return [one.told if isinstance(one.told, tuple) else one.told.name for one in steps]
