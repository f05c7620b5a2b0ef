"""What each message of the feed does: stored first as it came, then worked on, exactly once.

The feed has no sequence numbers: per producer, event and market an older odds_change or bet_stop
is dropped; results and cancellations count by what they say, not by when they come. Messages
about one event are worked on one after the other.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import singledispatch
from typing import Literal

from msgspec import Struct

from svc.mesh.context import Context
from svc.mesh.database import Tx
from svc.mesh.errors import Refused, Unavailable
from svc.sportsbook import settling, store_bets, store_events, store_messages, uof, view
from svc.sportsbook.contract import EventStatus
from svc.sportsbook.names import event_name, in_groups
from svc.sportsbook.store_events import ClockRow, EventRow, MarketKey
from svc.sportsbook.uof_messages import (
    CANCELLED_CHANGE,
    Alive,
    BetCancel,
    BetSettlement,
    BetStop,
    FixtureChange,
    FixtureDocument,
    MarketOdds,
    MarketResult,
    Message,
    OddsChange,
    SportEventStatus,
)

SWEEP_BATCH = 100
SWEEP_AFTER = timedelta(seconds=5)


class Effect(Struct, frozen=True):
    """What became of a message: `kept` means that a part of it waits for later versions of us."""

    status: Literal["applied", "ignored", "kept"]
    note: str = ""


APPLIED = Effect("applied")
STALE = Effect("ignored", "older than what was applied")


async def take_in(body: bytes, context: Context) -> None:
    """Store a message durably and work on it; one that is known already does nothing.

    Raises Invalid when it is no message of the feed. Once stored it counts as taken in: should
    the work fail, `sweep` does it later.
    """
    document = uof.read(body)
    if isinstance(document.message, Alive):  # a heartbeat says nothing worth keeping as it came
        async with context.transaction() as tx:
            await store_events.put_alive(tx, document.message, context.now())
        return
    message_id = context.new_id()
    event_id: str | None = getattr(document.message, "event_id", None)
    async with context.transaction() as tx:
        fresh = await store_messages.insert(
            tx, message_id, document, event_id=event_id, body=body, now=context.now()
        )
    if fresh:
        await work_on(message_id, document.message, context)


async def work_on(message_id: str, message: Message, context: Context) -> None:
    """Bring a stored message to its effect, in one transaction; failures wait for the sweep."""
    try:
        async with context.transaction() as tx:
            if not await store_messages.lock_waiting(tx, message_id):
                return
            effect = await apply(message, tx)
            await store_messages.finish(tx, message_id, effect.status, effect.note, context.now())
            event_id: str | None = getattr(message, "event_id", None)
            if event_id is not None and effect is not STALE:
                tx.after_commit(lambda: view.show(event_id, context))
    except Unavailable as failure:
        context.log.warning("feed message waits", message_id=message_id, cause=failure.detail)
    except Exception as failure:  # the message is stored: it must not be refused now
        context.log.exception("feed message failed", message_id=message_id)
        async with context.transaction() as tx:
            await store_messages.fail(tx, message_id, f"{type(failure).__name__}: {failure}")


async def sweep(context: Context) -> None:
    """Work on messages that were stored but not finished, oldest first."""
    async with context.transaction() as tx:
        waiting = await store_messages.waiting(tx, context.now() - SWEEP_AFTER, SWEEP_BATCH)
    for each in waiting:
        try:
            document = uof.read(each.body)
        except Refused as failure:
            async with context.transaction() as tx:
                await store_messages.fail(tx, each.message_id, failure.detail)
            continue
        await work_on(each.message_id, document.message, context)


@singledispatch
async def apply(message: object, tx: Tx) -> Effect:
    """Bring one message to its effect; kinds without a duty yet are kept for part of the future.

    Rollbacks and the end of a snapshot are stored and wait: undoing needs resettlement.
    """
    _ = tx
    return Effect("kept", f"{type(message).__name__} is stored and waits")


@apply.register
async def _(message: OddsChange, tx: Tx) -> Effect:
    event = await store_events.lock_event(tx, message.event_id)
    moved = await _event_status(message.sport_event_status, message.timestamp, event, tx)
    clocks = await store_events.clocks(tx, message.event_id, message.product)
    listed = {(market.id, market.specifiers): market for market in message.markets}
    fresh = {
        key: market
        for key, market in listed.items()
        if key not in clocks or clocks[key].applied_ms <= message.timestamp
    }
    if not fresh and not moved:
        return STALE if listed else APPLIED
    theirs = [
        market
        for key, market in fresh.items()
        if not _handed_over_already(market, clocks.get(key), message.product)
    ]
    await store_events.put_markets(
        tx,
        message.event_id,
        message.product,
        [(market.id, market.specifiers, market.status) for market in theirs],
    )
    await store_events.put_clocks(
        tx,
        message.event_id,
        message.product,
        message.timestamp,
        [(*key, market.status == "handed_over") for key, market in fresh.items()],
    )
    await store_events.put_outcomes(tx, message.event_id, theirs)
    # All current outcomes are sent; a market without any only changes its status.
    await store_events.drop_outcomes(
        tx, message.event_id, [market for market in theirs if market.outcomes]
    )
    return APPLIED


def _handed_over_already(market: MarketOdds, clock: ClockRow | None, product: int) -> bool:
    """Tell whether a producer hands over a market that another one has taken over already."""
    return market.status == "handed_over" and clock is not None and clock.producer != product


async def _event_status(told: SportEventStatus | None, at_ms: int, event: EventRow, tx: Tx) -> bool:
    """Record status and score unless a newer message told them; tell whether it did."""
    if told is None or at_ms < event.status_ms:
        return False
    score = None
    if told.home_score is not None and told.away_score is not None:
        score = f"{told.home_score}:{told.away_score}"[:32]
    await store_events.set_event_status(tx, event.event_id, told.status, score, at_ms)
    return True


@apply.register
async def _(message: BetStop, tx: Tx) -> Effect:
    await store_events.lock_event(tx, message.event_id)
    clocks = await store_events.clocks(tx, message.event_id, message.product)
    stopped: list[MarketKey] = [
        key
        for key, clock in clocks.items()
        if clock.applied_ms <= message.timestamp
        and not clock.handed_over
        and in_groups(clock.market_id, message.groups)
    ]
    if clocks and not stopped:
        return STALE
    await store_events.stop_markets(tx, message.event_id, message.market_status, stopped)
    await store_events.put_clocks(
        tx,
        message.event_id,
        message.product,
        message.timestamp,
        [(*key, False) for key in stopped],
    )
    return APPLIED


@apply.register
async def _(message: BetSettlement, tx: Tx) -> Effect:
    await store_events.lock_event(tx, message.event_id)
    markets = list(_with_results(message.markets))
    await store_events.close_markets(tx, message, markets)
    await store_events.put_results(tx, message, markets)
    bet_ids = await store_bets.settle_legs(tx, message, markets)
    await settling.decide(tx, bet_ids)
    differing = await store_bets.differing_legs(tx, message, markets)
    if differing:
        return Effect("kept", f"{differing} legs of decided bets came in otherwise")
    return APPLIED


def _with_results(markets: list[MarketResult]) -> Iterable[MarketResult]:
    """Yield markets with their decided outcomes; -1 is undecided and says nothing yet."""
    for market in markets:
        known = [outcome for outcome in market.outcomes if outcome.result >= 0]
        if known:
            yield MarketResult(id=market.id, specifiers=market.specifiers, outcomes=known)


@apply.register
async def _(message: BetCancel, tx: Tx) -> Effect:
    await store_events.lock_event(tx, message.event_id)
    decided = await store_bets.decided_legs(tx, message)
    await settling.decide(tx, await store_bets.cancel_legs(tx, message))
    if decided:
        return Effect("kept", f"{decided} legs of bets that were decided before stay as they are")
    return APPLIED


@apply.register
async def _(message: FixtureChange, tx: Tx) -> Effect:
    event = await store_events.lock_event(tx, message.event_id)
    if message.timestamp < event.fixture_changed_ms:
        return STALE
    starts_at = None
    if message.start_time is not None:
        starts_at = datetime.fromtimestamp(message.start_time / 1000, UTC)
    status: EventStatus | None = "cancelled" if message.change_type == CANCELLED_CHANGE else None
    await store_events.change_fixture(tx, message.event_id, starts_at, status, message.timestamp)
    return APPLIED


@apply.register
async def _(message: FixtureDocument, tx: Tx) -> Effect:
    event = await store_events.lock_event(tx, message.event_id)
    known = event.fixture_generated_at
    if known and message.generated_at and message.generated_at < known:
        return STALE
    await store_events.set_fixture(
        tx, message, event_name(message.home, message.away, message.name)
    )
    return APPLIED
