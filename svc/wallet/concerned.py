"""Which users, transfers and holds some operations are about: what must be read to decide them."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from svc.wallet.book import Record
from svc.wallet.contract import Capture, Hold, Release, Rollback
from svc.wallet.operations import Close, Credit, Deduct, EndBonus, Exclude, Operation


@dataclass(slots=True)
class Concerned:
    """Users, transfers and holds by id, the originals of rollbacks, and who is restricted."""

    users: set[str] = field(default_factory=set[str])
    ids: set[str] = field(default_factory=set[str])
    holds: set[str] = field(default_factory=set[str])
    originals: set[str] = field(default_factory=set[str])
    stakes: set[str] = field(default_factory=set[str])
    restricted: set[str] = field(default_factory=set[str])

    @classmethod
    def by(cls, operations: Iterable[Operation]) -> "Concerned":
        """Collect what the operations name themselves."""
        concerned = cls()
        for operation in operations:
            concerned.ids.add(operation.transfer_id)
            match operation:
                case Deduct() | Credit():
                    concerned.users.add(operation.user_id)
                    if operation.stake_transfer_id:
                        concerned.stakes.add(operation.stake_transfer_id)
                case Hold():
                    concerned.users.add(operation.user_id)
                    concerned.holds.add(operation.hold_id)
                case Capture() | Release():
                    concerned.holds.add(operation.hold_id)
                case Close() | Exclude():
                    concerned.users.add(operation.user_id)
                    concerned.restricted.add(operation.user_id)
                case EndBonus():
                    concerned.users.add(operation.user_id)
                case Rollback():
                    concerned.originals.add(operation.original_transfer_id)
        concerned.ids |= concerned.stakes | concerned.originals
        return concerned

    @property
    def refers(self) -> bool:
        """Return whether an operation's player is known only from an earlier transfer."""
        return bool(self.originals or self.holds)

    def follow(self, records: Iterable[Record]) -> bool:
        """Add the players, stakes and holds of what is referred to; say whether any is new."""
        before = len(self.users) + len(self.ids) + len(self.holds)
        for record in records:
            if record.transfer_id in self.originals or record.hold_id in self.holds:
                self.users.update(_given(record.user_id))
                # What was refused may name another player's hold: nothing hangs on it.
                if record.outcome == "applied":
                    self.ids.update(_given(record.stake_id))
                    self.holds.update(_given(record.hold_id))
        return len(self.users) + len(self.ids) + len(self.holds) > before


def _given(value: str | None) -> list[str]:
    return [value] if value else []
