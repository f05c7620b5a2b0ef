"""wallet's messages about statements: part of the contract, which imports them all."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

from svc.mesh.types import Id, Instant, Limit, LocaleTag, Reply, Request, SignedAmount

Account = Literal["cash", "bonus", "held"]


class EntriesOf(Request, frozen=True, kw_only=True):
    """A page of a player's entries, newest first."""

    user_id: Id
    limit: Limit = 50
    cursor: Annotated[str, Meta(max_length=64)] | None = None
    locale: LocaleTag = "en"


class StatementOf(Request, frozen=True, kw_only=True):
    """A page of a player's entries in [since, until), oldest first, as CSV."""

    user_id: Id
    since: Instant | None = None
    until: Instant | None = None
    limit: Annotated[int, Meta(ge=1, le=1_000, description="How many entries at most")] = 1_000
    cursor: Annotated[str, Meta(max_length=64)] | None = None
    locale: LocaleTag = "en"


class Entry(Struct, frozen=True, kw_only=True):
    """One line of a player's statement; `title` says its kind in the locale asked for."""

    entry_id: Id
    transfer_id: Id
    account: Account
    amount: SignedAmount
    balance_after: SignedAmount
    kind: str
    title: str
    reference: str
    at: datetime


class Entries(Reply, frozen=True, kw_only=True):
    """A page of entries; `next_cursor` is None at the end."""

    items: list[Entry]
    next_cursor: str | None


class Statement(Reply, frozen=True, kw_only=True):
    """A page of a statement as CSV (RFC 4180), amounts in minor units; the first has the header.

    Pages put one after the other are the whole statement; `next_cursor` is None at the end.
    """

    text: str
    next_cursor: str | None
