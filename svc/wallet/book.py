"""What is known while operations are decided: players' money, and the transfers they refer to."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from msgspec import Struct

from svc.wallet.contract import Kind
from svc.wallet.operations import Verb

Outcome = Literal["applied", "no_effect", "refused", "tombstone"]


class Money(Struct, frozen=True, gc=False):
    """A player's balances, or a change of them, in minor units; what is held is part of cash.

    Cash is net of what the player owes, so a debt is cleared by whatever comes first.
    """

    cash: int = 0
    bonus: int = 0
    held: int = 0

    @property
    def available(self) -> int:
        """Return the cash that is not held."""
        return self.cash - self.held

    @property
    def debt(self) -> int:
        """Return what the player owes: the cash that is not there, below what is held."""
        return max(0, self.held - self.cash)

    def __add__(self, change: "Money") -> "Money":
        """Return the balances after a change."""
        return Money(self.cash + change.cash, self.bonus + change.bonus, self.held + change.held)

    def __neg__(self) -> "Money":
        """Return the change that undoes this one."""
        return Money(-self.cash, -self.bonus, -self.held)

    def __bool__(self) -> bool:
        """Return whether this changes anything."""
        return bool(self.cash or self.bonus or self.held)


NOTHING = Money()
BEFORE_ALL = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class Wallet:
    """A player's money as it stands, in the wallet's one currency.

    `seq` counts the applied transfers of the player, of which `last_id` is the last. From a
    closed one nothing is staked or withdrawn any more; until an exclusion ends nothing is staked.
    """

    user_id: str
    currency: str
    money: Money
    seq: int = 0
    last_id: str | None = None
    closed: bool = False
    excluded_until: datetime | None = None

    def exclude(self, until: datetime) -> None:
        """Let no stake be taken until an instant; never sooner than was said before."""
        if self.excluded_until is None or until > self.excluded_until:
            self.excluded_until = until


class Record(Struct, frozen=True, kw_only=True, gc=False):
    """A transfer that was decided, as it is stored for ever: the answer follows from it alone.

    `currency` is the wallet's, None where there is no wallet. A rollback carries the hold and the
    stake of what it undoes. `seq` is its place among the player's applied transfers.
    """

    transfer_id: str
    verb: Verb
    outcome: Outcome
    fingerprint: bytes = b""
    user_id: str | None = None
    currency: str | None = None
    kind: Kind | None = None
    reference: str | None = None
    change: Money = NOTHING
    after: Money = NOTHING
    seq: int | None = None
    won_from_play: int = 0
    refusal: str | None = None
    detail: str | None = None
    hold_id: str | None = None
    stake_id: str | None = None
    original_id: str | None = None


@dataclass(slots=True)
class Book:
    """The wallets and transfers that some operations concern, indexed for the rules.

    `now` is looked at only where a player is excluded; as long as nobody says it, all of them are.
    """

    wallets: dict[str, Wallet]
    unopened: dict[str, Wallet] = field(default_factory=dict[str, Wallet])
    records: dict[str, Record] = field(default_factory=dict[str, Record])
    holds: dict[str, Record] = field(default_factory=dict[str, Record])
    closed_holds: set[str] = field(default_factory=set[str])
    undone: set[str] = field(default_factory=set[str])
    credits_of: dict[str, set[str]] = field(default_factory=lambda: defaultdict[str, set[str]](set))
    now: datetime = BEFORE_ALL

    def open_wallet(self, user_id: str) -> None:
        """Let a wallet be seen from now on: operations before the first credit found none."""
        if user_id in self.unopened:
            self.wallets[user_id] = self.unopened.pop(user_id)

    def all_wallets(self) -> Iterable[tuple[str, Wallet]]:
        """Return every wallet by user id, seen or not yet."""
        return (*self.wallets.items(), *self.unopened.items())

    def add(self, records: Iterable[Record]) -> None:
        """Take in transfers, read from the ledger; twice is as good as once."""
        for record in records:
            self.enter(record)

    def enter(self, record: Record) -> None:
        """Take in a transfer, read or just decided."""
        self.records[record.transfer_id] = record
        if record.outcome != "applied":
            return
        if record.original_id:
            self.undone.add(record.original_id)
        if record.hold_id:
            if record.verb == "hold":
                self.holds[record.hold_id] = record
            else:
                self.closed_holds.add(record.hold_id)
        if record.stake_id and record.verb == "credit_balance":
            self.credits_of[record.stake_id].add(record.transfer_id)

    def credits_left(self, stake_id: str) -> int:
        """Return how many credits of a stake stand, not rolled back."""
        credits_of = self.credits_of.get(stake_id)
        return len(credits_of - self.undone) if credits_of else 0
