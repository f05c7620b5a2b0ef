"""What each message of the feed does: stored as it came and worked on, exactly once.

The feed has no sequence numbers: per producer, event and market an older odds_change or bet_stop
is dropped, and a stop holds for older odds of markets that were not known when it came; results
and cancellations count by what they say, not by when they come. Messages about one event are
worked on one after the other.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import singledispatch
from typing import Literal

import msgspec
from msgspec import Struct

from svc.mesh.context import Context
from svc.mesh.database import Tx
from svc.mesh.errors import Refused, Unavailable
from svc.sportsbook import (
    feed_api,
    feed_descriptions,
    feed_recovery,
    feed_results,
    settling,
    store_events,
    store_messages,
    store_producers,
    store_stops,
    uof,
    view,
)
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
    Message,
    OddsChange,
    RollbackBetCancel,
    RollbackBetSettlement,
    SnapshotComplete,
    SportEventStatus,
)

SWEEP_BATCH = 100
SWEEP_AFTER = timedelta(seconds=5)
FIXTURE_WANTED = timedelta(minutes=5)
"""So long a fixture that changed is asked for again; then what the message said must do."""
FIXTURES_BATCH = 20
MESSAGES_KEPT = timedelta(days=3)
"""As long as any producer sends odds again; older results that come again change nothing."""
FORGET_BATCH = 5_000

_settling: set[str] = set()
"""Messages whose bets are being settled in this process: not the sweep's to do."""


class Effect(Struct, frozen=True):
    """What became of a message, and why when it was ignored; `left` are bets still to settle."""

    status: Literal["applied", "ignored"]
    note: str = ""
    left: Sequence[str] = ()


APPLIED = Effect("applied")
STALE = Effect("ignored", "older than what was applied")


async def take_in(body: bytes, context: Context) -> None:
    """Store a message durably and work on it; one that is known already does nothing.

    Raises Invalid when it is no message of the feed. Both happen in one commit; should the work
    fail, the message is stored by itself and counts as taken in, and `sweep` does the work later.
    """
    document = uof.read(body)
    if isinstance(document.message, Alive):  # a heartbeat says nothing worth keeping as it came
        await feed_recovery.heard(document.message, context)
        return
    message_id = context.new_id()
    left: Sequence[str] = ()
    try:
        async with context.transaction() as tx:
            now = context.now()
            if await store_messages.insert(
                tx, message_id, document, body=body, now=now, applied=True
            ):
                left = await _carry_out(message_id, document.message, tx, stored=APPLIED)
    except Unavailable as failure:
        context.log.info("feed message is stored first", cause=failure.detail)
    except Exception as failure:  # noqa: BLE001 - whatever it was: the message must not be lost
        context.log.warning("feed message is stored first", cause=repr(failure))
    else:
        _go_on(message_id, document.message, left, context)
        return
    async with context.transaction() as tx:
        now = context.now()
        fresh = await store_messages.insert(
            tx, message_id, document, body=body, now=now, applied=False
        )
    if fresh:
        await work_on(message_id, document.message, context)


async def work_on(message_id: str, message: Message, context: Context) -> None:
    """Bring a stored message to its effect; failures wait for the sweep."""
    left: Sequence[str] = ()
    try:
        async with context.transaction() as tx:
            if await store_messages.lock_waiting(tx, message_id):
                left = await _carry_out(message_id, message, tx)
    except Unavailable as failure:
        context.log.warning("feed message waits", message_id=message_id, cause=failure.detail)
    except Exception as failure:  # the message is stored: it must not be refused now
        context.log.exception("feed message failed", message_id=message_id)
        async with context.transaction() as tx:
            await store_messages.fail(tx, message_id, f"{type(failure).__name__}: {failure}")
    else:
        _go_on(message_id, message, left, context)


async def _carry_out(
    message_id: str, message: Message, tx: Tx, stored: Effect | None = None
) -> Sequence[str]:
    """Bring a message to its effect and record what became of it, unless bets are left.

    `stored` is what is recorded already.
    """
    effect = await apply(message, tx)
    if effect.left:
        await store_messages.begin(tx, message_id)
    elif effect != stored:
        await store_messages.finish(tx, message_id, effect.status, effect.note, tx.context.now())
    event_id: str | None = getattr(message, "event_id", None)
    if event_id is not None and effect is not STALE:
        tx.after_commit(lambda: view.show(event_id, tx.context))
    return effect.left


def _go_on(message_id: str, message: Message, left: Sequence[str], context: Context) -> None:
    """Settle the bets that a message left, beside whoever sent it: it is stored durably."""
    event_id: str | None = getattr(message, "event_id", None)
    if left and event_id is not None:
        _settling.add(message_id)
        own = context.spawn()
        feed_recovery.beside(_settle_more(message_id, event_id, left, own), own)


async def _settle_more(
    message_id: str, event_id: str, left: Sequence[str], context: Context
) -> None:
    """Settle the bets that a message left, round by round, and be done with the message.

    Each round is a transaction, so that its payments are made during the next one. What fails is
    done by the sweep: it finds by itself which bets are left.
    """
    try:
        for start in range(0, len(left), settling.AT_ONCE):
            async with context.transaction() as tx:
                some = left[start : start + settling.AT_ONCE]
                await feed_results.settle_more(tx, event_id, some)
                if start + settling.AT_ONCE >= len(left):
                    await store_messages.finish(tx, message_id, "applied", "", context.now())
    except Unavailable as failure:
        context.log.warning("bets wait", message_id=message_id, cause=failure.detail)
    except Exception:  # the message is stored: the sweep goes on
        context.log.exception("bets wait", message_id=message_id)
    finally:
        _settling.discard(message_id)


async def sweep(context: Context) -> None:
    """Work on messages that were stored but not finished, oldest first; and look after producers.

    Producers come first: one whose messages have waited for too long is down.
    """
    await feed_recovery.sweep(context)
    async with context.transaction() as tx:
        waiting = await store_messages.waiting(tx, context.now() - SWEEP_AFTER, SWEEP_BATCH)
    for each in waiting:
        if each.message_id in _settling:
            continue
        try:
            document = uof.read(each.body)
        except Refused as failure:
            async with context.transaction() as tx:
                await store_messages.fail(tx, each.message_id, failure.detail)
            continue
        await work_on(each.message_id, document.message, context)
    await feed_descriptions.sweep(context)
    async with context.transaction() as tx:
        since = context.now() - FIXTURE_WANTED
        wanted = await store_producers.wanted_fixtures(tx, since, FIXTURES_BATCH)
        before = context.now() - MESSAGES_KEPT
        await store_messages.forget(tx, before, FORGET_BATCH)
        await store_stops.forget(tx, int(before.timestamp() * 1000), FORGET_BATCH)
    for event_id in wanted:
        await fetch_fixture(event_id, context)


@singledispatch
async def apply(message: object, tx: Tx) -> Effect:
    """Bring one message to its effect."""
    _ = tx
    raise NotImplementedError(f"{type(message).__name__} has no effect")


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
        for key, market in (await _stopped(fresh, message, event, tx)).items()
        if not _handed_over_already(market, clocks.get(key), message.product)
    ]
    await store_events.put_markets(tx, message.event_id, message.product, theirs)
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


async def _stopped(
    fresh: dict[MarketKey, MarketOdds], message: OddsChange, event: EventRow, tx: Tx
) -> dict[MarketKey, MarketOdds]:
    """Return markets as they are after the bet_stops that are newer than their odds but came first.

    A market that was not known then has no clock that would tell of them.
    """
    if event.stopped_ms <= message.timestamp:
        return fresh
    shown = dict(fresh)
    known = feed_descriptions.of(tx.context, view.SHOWN_LOCALE)
    for stop in await store_stops.after(tx, event.event_id, message.product, message.timestamp):
        for key, market in shown.items():
            if market.status == "active" and in_groups(market.id, stop.groups, known):
                shown[key] = msgspec.structs.replace(market, status=stop.status)
    return shown


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
    known = feed_descriptions.of(tx.context, view.SHOWN_LOCALE)
    stopped: list[MarketKey] = [
        key
        for key, clock in clocks.items()
        if clock.applied_ms <= message.timestamp
        and not clock.handed_over
        and in_groups(clock.market_id, message.groups, known)
    ]
    newest = await store_stops.put(tx, message)
    if not stopped and not newest:
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
    left = await feed_results.settle(message, tx)
    return STALE if left is None else Effect("applied", left=left)


@apply.register
async def _(message: RollbackBetSettlement, tx: Tx) -> Effect:
    await store_events.lock_event(tx, message.event_id)
    return Effect("applied", left=await feed_results.take_back(message, tx))


@apply.register
async def _(message: BetCancel, tx: Tx) -> Effect:
    await store_events.lock_event(tx, message.event_id)
    return APPLIED if await feed_results.cancel(message, tx) else STALE


@apply.register
async def _(message: RollbackBetCancel, tx: Tx) -> Effect:
    await store_events.lock_event(tx, message.event_id)
    return APPLIED if await feed_results.undo_cancel(message, tx) else STALE


@apply.register
async def _(message: SnapshotComplete, tx: Tx) -> Effect:
    why = await feed_recovery.complete(message, tx)
    return Effect("ignored", why) if why else APPLIED


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
    # The message alone is not to be trusted: what holds is in the fixture.
    await store_producers.want_fixture(tx, message.event_id, tx.context.now())
    own = tx.context.spawn()

    async def fetch() -> None:
        feed_recovery.beside(fetch_fixture(message.event_id, own), own)

    tx.after_commit(fetch)
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
    await store_producers.want_fixture(tx, message.event_id, None)
    return APPLIED


async def fetch_fixture(event_id: str, context: Context) -> None:
    """Ask for an event's fixture and act on it; without an answer the sweep asks again.

    It is not held against what came before: the same document as ever may be what holds again.
    """
    try:
        document = uof.read(await feed_api.of(context).fixture(event_id))
        async with context.transaction() as tx:
            await apply(document.message, tx)
            tx.after_commit(lambda: view.show(event_id, context))
    except Unavailable as failure:
        context.log.info("fixture not there yet", event_id=event_id, cause=failure.detail)
    except Refused as refusal:
        context.log.warning("no such fixture", event_id=event_id, cause=refusal.detail)
        async with context.transaction() as tx:
            await store_producers.want_fixture(tx, event_id, None)
