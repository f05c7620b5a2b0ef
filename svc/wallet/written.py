"""What follows from decided transfers: the wallets, the house's balances and the links."""

from collections.abc import Sequence
from typing import Any

from svc.wallet.book import Record, Wallet
from svc.wallet.ledger import Decided
from svc.wallet.rules import HOUSE_OF
from svc.wallet.store import SEQ, USER_ID, Written

House = dict[tuple[str, str], int]


def written(
    *,
    rows: list[tuple[object, ...]],
    wallets: dict[str, Wallet],
    before: dict[str, int],
    decided: list[Decided],
    **rest: Any,
) -> Written:
    """Return a batch with all that follows from its transfers.

    `before` has the seq of each wallet as it was before they were decided.
    """
    house: House = {}
    links: list[tuple[str, str, str]] = []
    for record, _ in decided:
        if record.outcome == "applied":
            _add_to_house(house, record)
            if record.hold_id or record.stake_id or record.original_id:
                links += links_of(record)
    last = last_rows(rows, wallets)
    users = sorted(last)
    links.sort()
    return Written(
        rows=rows, moved=[last[user] for user in users], before=[before[user] for user in users],
        house=house, links=links, **rest,
    )  # fmt: skip


def last_rows(rows: Sequence[tuple[object, ...]], wallets: dict[str, Wallet]) -> dict[Any, int]:
    """Return for each user whose wallet moves the place, from 1 on, of the row it stands after."""
    return {
        row[USER_ID]: place
        for place, row in enumerate(rows, 1)
        if row[SEQ] is not None and row[SEQ] == wallets[str(row[USER_ID])].seq
    }


def links_of(record: Record) -> list[tuple[str, str, str]]:
    """Return what an applied transfer is done on top of, as (id, what, transfer id)."""
    own = record.transfer_id
    links: list[tuple[str, str, str]] = []
    if record.original_id:
        links.append((record.original_id, "rollback", own))
    if record.hold_id:
        links.append((record.hold_id, "hold" if record.verb == "hold" else "close", own))
    if record.stake_id:
        links.append((record.stake_id, "credit", own))
    return links


def _add_to_house(house: House, record: Record) -> None:
    """Change the other side of each movement by the same amount."""
    currency, change = record.currency or "", record.change
    if record.kind and (moved := change.cash + change.bonus):
        key = currency, HOUSE_OF[record.kind]
        house[key] = house.get(key, 0) - moved
    if change.held:
        key = currency, "holds"
        house[key] = house.get(key, 0) - change.held
    if record.won_from_play:
        for name, amount in (("bets_in_play", -1), ("revenue", 1)):
            key = currency, name
            house[key] = house.get(key, 0) + amount * record.won_from_play
