"""The ledger: applies a list of operations in one transaction, in order, each on its own.

Deadlock-free with any number of processes, because everybody locks in one order: new wallets,
players' accounts by id, transfer ids, the house's accounts by id. `apply` is therefore called once
per transaction.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import get_args

import asyncpg

from svc.mesh.database import Tx
from svc.mesh.errors import Refused, Unavailable
from svc.wallet import rules, store
from svc.wallet.announcements import announce
from svc.wallet.book import NOTHING, Book, Money, Record, Wallet
from svc.wallet.contract import Capture, Hold, Receipt, Release, Rollback
from svc.wallet.operations import VERBS, Credit, Deduct, Operation, fingerprint
from svc.wallet.postings import Accounts, Decided, post, post_to_house

ATTEMPTS_MAX = 5
"""How often operations are decided anew because others decided the same ids meanwhile."""

Answer = Receipt | Refused


class Overtaken(Exception):
    """Another transaction decided something that these operations refer to; it is visible now."""


class WalletsMissing(Exception):
    """Credits open the wallets of users that have none: user id to currency."""

    def __init__(self, currency_of: dict[str, str]) -> None:
        """Keep whose wallets to open."""
        super().__init__()
        self.currency_of = currency_of


async def apply(tx: Tx, operations: Sequence[Operation]) -> list[Answer]:
    """Apply operations in order, each applied or refused on its own; one answer for each.

    The answer of an id is stored with its first decision and is the same for ever, refusals
    included. Events of applied operations leave after the commit. Raises Unavailable when others
    kept deciding the same ids; nothing was done then.
    """
    opened: dict[str, str] = {}
    for _ in range(ATTEMPTS_MAX):
        try:
            # A savepoint: what an attempt wrote and locked goes when it must be made anew.
            async with tx.connection.transaction():
                book, accounts = await _read(tx, operations, opened)
                answers, decided = _decide(operations, book)
                house_change = await post(tx, decided, accounts)
        except WalletsMissing as missing:
            opened |= missing.currency_of
            await open_wallets(tx, opened)
        except (Overtaken, asyncpg.UniqueViolationError):
            continue
        else:
            await announce(tx, [record for record, _ in decided])
            await post_to_house(tx, house_change)
            return answers
    raise Unavailable("others are using the same transfer ids")


async def open_wallets(tx: Tx, currency_of: dict[str, str]) -> None:
    """Open the wallets of users (id to currency) that have none; others stay as they are."""
    await store.open_wallets(tx, currency_of, tx.context.now())
    await store.open_player_accounts(tx, currency_of)
    await store.open_house_accounts(tx, currency_of.values(), get_args(rules.House))


@dataclass(slots=True)
class Concerned:
    """Which users, transfers and holds a list of operations is about."""

    users: set[str] = field(default_factory=set[str])
    ids: set[str] = field(default_factory=set[str])
    holds: set[str] = field(default_factory=set[str])
    originals: set[str] = field(default_factory=set[str])

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
                        concerned.ids.add(operation.stake_transfer_id)
                case Hold():
                    concerned.users.add(operation.user_id)
                    concerned.holds.add(operation.hold_id)
                case Capture() | Release():
                    concerned.holds.add(operation.hold_id)
                case Rollback():
                    concerned.ids.add(operation.original_transfer_id)
                    concerned.originals.add(operation.original_transfer_id)
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
                self.ids.update(_given(record.stake_id))
                self.holds.update(_given(record.hold_id))
        return len(self.users) + len(self.ids) + len(self.holds) > before


def _given(value: str | None) -> list[str]:
    return [value] if value else []


async def _read(
    tx: Tx, operations: Sequence[Operation], opened: Collection[str]
) -> tuple[Book, Accounts]:
    """Lock the players concerned and read what the rules need to know.

    Wallets that were `opened` for these operations are seen from the first credit on.
    """
    concerned = Concerned.by(operations)
    if concerned.refers:
        concerned.follow(await store.transfers(tx, concerned.ids, concerned.holds))
    accounts = await store.lock_player_accounts(tx, concerned.users)
    records = await store.transfers(tx, concerned.ids, concerned.holds)
    if concerned.refers and concerned.follow(records):
        raise Overtaken
    wallets = {user: _wallet(accounts, user) for user, name in accounts if name == "cash"}
    missing: dict[str, str] = {}
    for operation in operations:
        if isinstance(operation, Credit) and operation.user_id not in wallets:
            missing.setdefault(operation.user_id, operation.currency)
    if missing:
        raise WalletsMissing(missing)
    unopened = {user: wallets.pop(user) for user in opened}
    book = Book(wallets, unopened)
    book.add(records)
    return book, accounts


def _wallet(accounts: Accounts, user: str) -> Wallet:
    cash, bonus, held = (accounts[user, name] for name in ("cash", "bonus", "held"))
    return Wallet(user, cash.currency, Money(cash.balance, bonus.balance, held.balance))


def _decide(operations: Sequence[Operation], book: Book) -> tuple[list[Answer], list[Decided]]:
    """Return the answers in order, and what was newly decided."""
    answers: list[Answer] = []
    decided: list[Decided] = []
    for operation in operations:
        mark = fingerprint(operation)
        try:
            record = rules.replay(operation, mark, book)
        except Refused as refusal:
            answers.append(refusal)
            continue
        if isinstance(operation, Credit):
            book.open_wallet(operation.user_id)
        if record is None:
            new = _decide_new(operation, mark, book)
            record = new[0][0]
            decided += new
        answers.append(rules.answer(record))
    return answers, decided


def _decide_new(operation: Operation, mark: bytes, book: Book) -> list[Decided]:
    """Decide an operation and enter it into the book: its record, then the tombstone it leaves."""
    wallet = rules.wallet_concerned(operation, book)
    asked = _asked(operation, mark, wallet)
    try:
        plan = rules.decide(operation, book)
    except Refused as refusal:
        record = replace(asked, refusal=refusal.name, detail=refusal.detail)
        book.add([record])
        return [(record, [])]
    if wallet:
        wallet.money += plan.change
    record = replace(
        asked,
        outcome=plan.outcome,
        kind=plan.kind,
        reference=plan.reference,
        change=plan.change,
        after=wallet.money if wallet else NOTHING,
        hold_id=plan.hold_id,
        stake_id=plan.stake_id,
    )
    decided = [(record, plan.legs())]
    if plan.buries:
        decided.append((Record(transfer_id=plan.buries, verb="rollback", outcome="tombstone"), []))
    book.add(record for record, _ in decided)
    return decided


def _asked(operation: Operation, mark: bytes, wallet: Wallet | None) -> Record:
    """Return the record of an operation as it was asked for, as if refused."""
    return Record(
        transfer_id=operation.transfer_id,
        verb=VERBS[type(operation)],
        outcome="refused",
        fingerprint=mark,
        user_id=wallet.user_id if wallet else getattr(operation, "user_id", None),
        currency=wallet.currency if wallet else None,
        kind=getattr(operation, "kind", None),
        reference=getattr(operation, "reference", None),
        after=wallet.money if wallet else NOTHING,
        hold_id=getattr(operation, "hold_id", None),
        stake_id=getattr(operation, "stake_transfer_id", None),
        original_id=getattr(operation, "original_transfer_id", None),
    )
