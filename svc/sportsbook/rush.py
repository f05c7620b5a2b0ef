"""Plain bets are struck from memory: checked against the book, written in one statement.

What the book does not allow, or the rows do not say any more, is looked at in full (`striking`):
only there anything is refused.
"""

from collections.abc import Sequence
from datetime import datetime

from asyncpg import UniqueViolationError
from msgspec import Struct

from svc.mesh.context import Context
from svc.mesh.database import Tx
from svc.mesh.errors import NotFound, Refused
from svc.sportsbook import house, rules, store_players, store_rush, striking
from svc.sportsbook.book import Book, book_of
from svc.sportsbook.rules import Key, Limits, Offer
from svc.sportsbook.store_bets import BetRow, LegRow
from svc.sportsbook.store_rush import Rush
from svc.sportsbook.striking import Asked, Round

Answer = BetRow | Refused


class Drafted(Struct, frozen=True):
    """A bet as the book allows it, with its legs; `asked` is its place in the batch."""

    place: int
    asked: Asked
    bet: BetRow
    legs: list[LegRow]
    offers: dict[Key, Offer]

    @property
    def profit(self) -> int:
        """Return what the house loses beyond the stake when the bet wins."""
        return self.bet.potential_payout - self.bet.stake


async def strike_all(asked: Sequence[Asked]) -> list[Answer]:
    """Write slips as pending bets at the current prices, or say why not; one of each player."""
    context = asked[0].context.spawn()
    struck = await _from_memory(asked, context)
    rest = [place for place in range(len(asked)) if place not in struck]
    if rest:
        async with context.transaction() as tx:
            answers = await striking.strike_all([asked[place] for place in rest], tx)
        struck |= dict(zip(rest, answers, strict=True))
    return [struck[place] for place in range(len(asked))]


async def _from_memory(asked: Sequence[Asked], context: Context) -> dict[int, Answer]:
    """Return, by place, the bets that were written from memory: all that may be, or none."""
    book, now, limits = book_of(context), context.now(), house.limits(context)
    drafts = [
        drafted
        for place, each in enumerate(asked)
        if (drafted := _draft(place, each, book, limits, now)) is not None
    ]
    if not drafts:
        return {}
    try:
        async with context.transaction() as tx:
            return await _write(drafts, book, limits, tx)
    except UniqueViolationError:  # a key was used before: its bet is the answer
        return {}


def _draft(place: int, asked: Asked, book: Book, limits: Limits, now: datetime) -> Drafted | None:
    """Return the bet that a plain slip is at the prices of the book; None when it is not plain."""
    slip, checked = asked.slip, asked.checked
    if slip.free_bet_id is not None or slip.each_way:
        return None
    offers: dict[Key, Offer] = {}
    for key in checked.keys:
        offer = book.offer(key)
        if offer is None:
            return None
        offers[key] = offer
    this = Round(now=now, limits=limits, players={}, own_limits={}, offers=offers, held={})
    try:
        prices = striking.plain_prices(slip, checked, this)
        rules.check_stake(checked.stake, limits, watched=False)
    except (Refused, NotFound):
        return None
    bet, legs = striking.drafted(asked, prices, this)
    return Drafted(place, asked, bet, legs, offers)


async def _write(drafts: list[Drafted], book: Book, limits: Limits, tx: Tx) -> dict[int, Answer]:
    users = sorted({each.bet.user_id for each in drafts})
    players = await store_players.lock_all(tx, users)
    drafts = [
        each
        for each in drafts
        if striking.is_plain(players.get(each.bet.user_id), tx.context.now(), tx.context)
    ]
    if not drafts:
        return {}
    profits: dict[Key, int] = {}
    for each in drafts:
        for key in each.asked.checked.keys:
            profits[key] = profits.get(key, 0) + each.profit
    rush = Rush(
        bets=[(each.bet, each.asked.slip.idempotency_key, each.legs) for each in drafts],
        offers={key: offer for each in drafts for key, offer in each.offers.items()},
        profits=profits,
        exposure_max=limits.exposure_max,
    )
    if not await store_rush.write(tx, rush):
        book.forget(profits)
        return {}
    return {each.place: each.bet for each in drafts}
