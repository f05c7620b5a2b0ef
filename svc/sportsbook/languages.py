"""An event in another language than it is kept in: its markets and outcomes named anew."""

from msgspec import structs

from svc.mesh.context import Context
from svc.sportsbook import feed_descriptions, store_events
from svc.sportsbook.contract import EventDetail, Market, Outcome
from svc.sportsbook.names import Names


async def told(shown: EventDetail, locale: str, context: Context) -> EventDetail:
    """Return an event with its names in a language, or in English where there is none."""
    async with context.transaction() as tx:
        event = await store_events.event(tx, shown.event_id)
    home, away = ("", "") if event is None else (event.home, event.away)
    known = feed_descriptions.of(context, locale)
    names = Names(context.localizer, locale, home, away, known)
    return structs.replace(shown, markets=[await _market(each, names) for each in shown.markets])


async def _market(market: Market, names: Names) -> Market:
    key = market.market_id, market.specifiers
    outcomes: list[Outcome] = []
    for each in market.outcomes:
        name = await names.outcome(*key, each.outcome_id)
        outcomes.append(structs.replace(each, name=name))
    return structs.replace(market, name=await names.market(*key), outcomes=outcomes)
