"""What others see: events with their odds, cached and pushed, and bets with their legs."""

import asyncio
from weakref import WeakValueDictionary

from svc.mesh.context import Context
from svc.mesh.errors import NotFound
from svc.sportsbook import feed_descriptions, rules, store_events
from svc.sportsbook.contract import ODDS, Bet, EventDetail, Leg, Market, Outcome
from svc.sportsbook.names import Names, event_name
from svc.sportsbook.store_bets import BetRow, LegRow

SHOWN_LOCALE = "en"
CACHED_S = 30
"""How long an event stays cached when no message about it comes; each message renews it."""

_locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
_next: dict[tuple[int, str], asyncio.Task[None]] = {}
"""The next showing of an event, while it waits for the one that runs; by instance and event."""


def cache_key(event_id: str) -> str:
    """Return an event's key in the KV bucket, where `:` is not allowed and `.` not in ids."""
    return "event." + event_id.replace(":", ".")


async def detail(event_id: str, context: Context) -> EventDetail:
    """Read an event with its markets, by name; raises NotFound."""
    async with context.transaction() as tx:
        event = await store_events.event(tx, event_id)
        rows = await store_events.markets(tx, event_id)
    if event is None:
        raise NotFound(f"there is no event {event_id}")
    known = feed_descriptions.of(context, SHOWN_LOCALE)
    names = Names(context.localizer, SHOWN_LOCALE, event.home, event.away, known)
    markets: dict[tuple[int, str], Market] = {}
    for row in rows:
        key: tuple[int, str] = (row["market_id"], row["specifiers"])
        if key not in markets:
            markets[key] = Market(
                market_id=key[0],
                specifiers=key[1],
                name=await names.market(*key),
                status=row["status"],
                outcomes=[],
            )
        if row["outcome_id"] is not None:
            markets[key].outcomes.append(
                Outcome(
                    outcome_id=row["outcome_id"],
                    name=await names.outcome(*key, row["outcome_id"]),
                    odds=None if row["odds"] is None else rules.odds_text(row["odds"]),
                    active=row["active"],
                )
            )
    return EventDetail(
        event_id=event_id,
        sport=event.sport,
        name=event_name(event.home, event.away, event.name),
        starts_at=event.starts_at,
        status=event.status,
        score=event.score,
        markets=list(markets.values()),
        version=event.version,
    )


async def show(event_id: str, context: Context) -> None:
    """Renew an event in the cache and push it to those who watch its odds; never raises.

    One at a time per event, and read only then: what is shown last is never older than before.
    Whoever asks while another one still waits for its turn is served by that one.
    """
    key = id(context.runtime), event_id
    if key not in _next:
        _next[key] = asyncio.create_task(_show_next(key, context.spawn()))
    await asyncio.shield(_next[key])


async def _show_next(key: tuple[int, str], context: Context) -> None:
    event_id = key[1]
    lock = _locks.setdefault(event_id, asyncio.Lock())
    async with lock:
        # Who asks from here on may have written what is not read any more.
        del _next[key]
        try:
            shown = await detail(event_id, context)
            await context.cache.put(cache_key(event_id), shown, ttl_s=CACHED_S)
            await context.push(ODDS, event_id, shown)
        except Exception as failure:  # noqa: BLE001 - the odds are committed; the next message shows them
            context.log.warning("odds not shown", event_id=event_id, cause=repr(failure))


async def bets(
    rows: list[BetRow], legs: dict[str, list[LegRow]], locale: str, context: Context
) -> list[Bet]:
    """Return bets as their player sees them, in the player's language."""
    return [
        Bet(
            bet_id=row.bet_id,
            kind=row.kind,
            status=row.status,
            stake=row.stake,
            currency=row.currency,
            odds=rules.odds_text(row.odds),
            potential_payout=row.potential_payout,
            payout=row.payout,
            result=row.result,
            legs=[await _leg(leg, locale, context) for leg in _whole(legs[row.bet_id])],
            placed_at=row.placed_at,
            settled_at=row.settled_at,
            lines=row.lines,
            system_sizes=row.system_sizes,
            each_way=row.each_way,
            free_bet_id=row.free_bet_id,
            cashed_out=row.cashed_out,
        )
        for row in rows
    ]


def _whole(legs: list[LegRow]) -> list[tuple[LegRow, LegRow | None]]:
    """Return the legs as they were on the slip, each way with their place halves."""
    places = {leg.event_id: leg for leg in legs if leg.part == "place"}
    return [(leg, places.get(leg.event_id)) for leg in legs if leg.part == "win"]


async def _leg(whole: tuple[LegRow, LegRow | None], locale: str, context: Context) -> Leg:
    leg, place = whole
    known = feed_descriptions.of(context, locale)
    names = Names(context.localizer, locale, leg.home, leg.away, known)
    parts = (
        event_name(leg.home, leg.away, ""),
        await names.market(leg.market_id, leg.specifiers),
        await names.outcome(leg.market_id, leg.specifiers, leg.outcome_id),
    )
    return Leg(
        event_id=leg.event_id,
        market_id=leg.market_id,
        specifiers=leg.specifiers,
        outcome_id=leg.outcome_id,
        odds=rules.odds_text(leg.odds),
        result=leg.word,
        name=" · ".join(part for part in parts if part),
        place=None if place is None else place.word,
    )
