"""Writes what was decided: the transfers, their entries, and the balances that follow from them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from svc.mesh.database import Tx
from svc.wallet import store
from svc.wallet.book import Record
from svc.wallet.rules import Leg

Accounts = dict[tuple[str, str], store.Account]
"""Players' accounts, locked, by user id and name."""
Decided = tuple[Record, list[Leg]]


@dataclass(slots=True)
class Posting:
    """Entries being written, and the balances after them."""

    accounts: Accounts
    house: dict[tuple[str, str], int]
    lines: list[store.Line] = field(default_factory=list[store.Line])
    touched: dict[int, store.Account] = field(default_factory=dict[int, store.Account])
    house_change: dict[int, int] = field(default_factory=lambda: defaultdict[int, int](int))

    def add(self, record: Record, leg: Leg) -> None:
        """Enter one movement; both of its accounts change by the same amount."""
        currency, user = record.currency or "", record.user_id or ""
        contra = self.house[currency, leg.contra]
        self.house_change[contra] -= leg.amount
        if leg.account == "revenue":
            own = self.house[currency, leg.account]
            self.house_change[own] += leg.amount
            self.lines.append(store.Line(record.transfer_id, own, contra, currency, leg.amount))
            return
        account = self.accounts[user, leg.account]
        account.balance += leg.amount
        account.seq += 1
        self.touched[account.account_id] = account
        self.lines.append(
            store.Line(
                record.transfer_id, account.account_id, contra, currency, leg.amount,
                user, account.seq, account.balance,
            )
        )  # fmt: skip
        if leg.account == "held":
            cash = self.accounts[user, "cash"]
            cash.floor = account.balance
            self.touched[cash.account_id] = cash


async def post(tx: Tx, decided: Sequence[Decided], accounts: Accounts) -> dict[int, int]:
    """Write transfers and entries and set players' balances.

    Returns the change of each house account by id, for `post_to_house`. Raises
    UniqueViolationError when one of the transfers was decided meanwhile.
    """
    if not decided:
        return {}
    await store.insert_transfers(tx, [record for record, _ in decided], tx.context.now())
    currencies = {record.currency for record, legs in decided if legs and record.currency}
    if not currencies:
        return {}
    posting = Posting(accounts, await store.house_accounts(tx, currencies))
    for record, legs in decided:
        for leg in legs:
            posting.add(record, leg)
    await store.insert_lines(tx, posting.lines)
    await store.update_player_accounts(tx, list(posting.touched.values()))
    return posting.house_change


async def post_to_house(tx: Tx, change_of: dict[int, int]) -> None:
    """Add to the house's balances: the last thing before the commit, for everybody needs them."""
    if change_of:
        await store.lock_house_accounts(tx, change_of)
        await store.update_house_accounts(tx, change_of)
