"""Prices in memory: what stands behind the selections that were asked for, as it was seen last.

The rows are read once; from then on the watched bucket tells what changes. A bet that the book
allows is written only if the rows still say the same (`store_rush`), so a book that is late costs
time and never money.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import msgspec
from msgspec import Struct

from svc.mesh.context import Context
from svc.sportsbook import view
from svc.sportsbook.contract import EventDetail
from svc.sportsbook.rules import Key, Offer

if TYPE_CHECKING:
    from svc.mesh.cache import Mirror
    from svc.mesh.runtime import Runtime

SELECTIONS_MAX = 200_000
"""Selections that are kept; all are forgotten at once when there are more."""
decode = msgspec.json.Decoder(EventDetail).decode


class Seen(Struct):
    """What stood behind a selection, and the event in the bucket that says so."""

    offer: Offer
    shown: bytes | None


class Book:
    """The offers that one running sportsbook knows."""

    def __init__(self) -> None:
        """Know nothing."""
        self.seen: dict[Key, Seen] = {}
        self.mirror: Mirror | None = None

    async def open(self, context: Context) -> None:
        """Begin to watch the bucket."""
        self.mirror = await context.cache.mirror(view.cache_key(">"))

    async def close(self) -> None:
        """Stop watching."""
        if self.mirror is not None:
            await self.mirror.stop()

    def learn(self, offers: Mapping[Key, Offer]) -> None:
        """Keep what the rows say now."""
        if self.mirror is None:
            return
        if len(self.seen) > SELECTIONS_MAX:
            self.seen.clear()
        for key, offer in offers.items():
            self.seen[key] = Seen(offer, self.mirror.get(view.cache_key(key[0])))

    def forget(self, keys: Iterable[Key]) -> None:
        """Forget selections whose rows say something else."""
        for key in keys:
            self.seen.pop(key, None)

    def offer(self, key: Key) -> Offer | None:
        """Return what stands behind a selection as far as is known, or None."""
        seen = self.seen.get(key)
        if seen is None or self.mirror is None:
            return None
        shown = self.mirror.get(view.cache_key(key[0]))
        if shown is not None and shown is not seen.shown:
            found = changed(seen.offer, key, decode(shown))
            if found is None:
                del self.seen[key]
                return None
            seen.offer, seen.shown = found, shown
        return seen.offer


def changed(offer: Offer, key: Key, detail: EventDetail) -> Offer | None:
    """Return an offer as its event is shown now; None when the rows have to be read for it.

    So it is where the selection is not shown, and where the event began: how long the odds of one
    that is being played hold is not shown. They never hold for less long than is remembered.
    """
    _, market_id, specifiers, outcome_id = key
    if detail.status == "live" != offer.event_status:
        return None
    for market in detail.markets:
        if (market.market_id, market.specifiers) != (market_id, specifiers):
            continue
        for outcome in market.outcomes:
            if outcome.outcome_id == outcome_id:
                return msgspec.structs.replace(
                    offer,
                    odds=None if outcome.odds is None else Decimal(outcome.odds),
                    active=outcome.active,
                    market_status=market.status,
                    event_status=detail.status,
                    starts_at=detail.starts_at,
                    producer_up=True,  # markets of one that is down are shown as suspended
                )
    return None


_books: "WeakKeyDictionary[Runtime, Book]" = WeakKeyDictionary()


def book_of(context: Context) -> Book:
    """Return the book of the running service."""
    found = _books.get(context.runtime)
    if found is None:
        found = _books[context.runtime] = Book()
    return found
