"""Which producers are up: heartbeats heard, recoveries asked for and ended, silence noticed.

A producer that was silent, lagged or lost our subscription is down: its markets take no bets until
a recovery, asked for at the API, has been sent whole and worked on.
"""

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from functools import partial
from weakref import WeakKeyDictionary

from svc.mesh.context import Context
from svc.mesh.database import Tx
from svc.mesh.errors import Unavailable
from svc.mesh.runtime import Runtime
from svc.sportsbook import feed_api, feed_rules, store_producers, store_recoveries, view
from svc.sportsbook.feed_rules import PRODUCERS, Producer
from svc.sportsbook.uof_messages import Alive, SnapshotComplete

IN_HAND = timedelta(seconds=1)
"""A message that came within this is being worked on; an older one has to wait for the sweep."""

_tasks: WeakKeyDictionary[Runtime, set[asyncio.Task[None]]] = WeakKeyDictionary()


def beside(work: Coroutine[object, object, None], context: Context) -> None:
    """Do something beside the message at hand; it ends with the service at the latest."""
    tasks = _tasks.setdefault(context.runtime, set())
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


async def stop(context: Context) -> None:
    """End what runs beside and hang up."""
    tasks = list(_tasks.pop(context.runtime, set()))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await feed_api.close_for(context)


async def heard(alive: Alive, context: Context) -> None:
    """Take in a heartbeat; one that tells of something missed takes the producer down."""
    now = context.now()
    async with context.transaction() as tx:
        known = await store_producers.lock(tx, alive.product)
        if not feed_rules.counts(alive, known, now):
            context.log.info("alive does not count", producer=alive.product, at=alive.timestamp)
            return
        found = feed_rules.after_alive(alive, known, now)
        await store_producers.put(tx, found)
        if known is not None and known.up and not found.up:
            context.log.warning("producer is down", producer=alive.product)
            tx.after_commit(partial(_show, alive.product, context))
        if known is None or not found.up:
            own = context.spawn()
            tx.after_commit(partial(_beside, recover(alive.product, own), own))


async def _beside(work: Coroutine[object, object, None], context: Context) -> None:
    beside(work, context)


async def recover(producer: int, context: Context) -> None:
    """Ask a producer to send again what was missed, unless that runs already or is too often."""
    async with context.transaction() as tx:
        asked = await _asked(producer, tx)
    if asked is None:
        return
    recovery_id, after_ms = asked
    try:
        await feed_api.of(context).recover(PRODUCERS[producer].path, recovery_id, after_ms)
    except feed_api.ApiRefused as refused:
        await _refused(recovery_id, refused.detail, context)
    except Unavailable:
        await _refused(recovery_id, "unreachable", context)


async def _asked(producer: int, tx: Tx) -> tuple[int, int | None] | None:
    now = tx.context.now()
    known = await store_producers.lock(tx, producer)
    if known is None or producer not in PRODUCERS:
        return None
    patience = feed_rules.RECOVERY_PATIENCE
    if known.recovery_id and await store_producers.pending(tx, known.recovery_id, now, patience):
        return None
    after = None if known.up else feed_rules.recovery_start(known, now)
    before = await store_producers.asked_since(tx, producer, now - feed_rules.LIMITS_LOOK_BACK)
    if not feed_rules.may_recover(before, now, after):
        tx.context.log.warning("no recovery now: the provider's limit", producer=producer)
        return None
    after_ms = None if after is None else known.processed_ms
    recovery_id = await store_producers.ask(tx, producer, after_ms, now)
    tx.context.log.info("recovery asked", producer=producer, request=recovery_id, after=after_ms)
    return recovery_id, after_ms


async def _refused(recovery_id: int, why: str, context: Context) -> None:
    context.log.warning("recovery refused", request=recovery_id, cause=why)
    async with context.transaction() as tx:
        await store_producers.refuse(tx, recovery_id, why)


async def complete(message: SnapshotComplete, tx: Tx) -> str:
    """End a recovery: its producer is up again. Returns why it is ignored, or an empty text.

    The end of an event's recovery says nothing of its producer, which stays as it is.
    Raises Unavailable while messages of the recovery still wait to be worked on.
    """
    now = tx.context.now()
    known = await store_producers.lock(tx, message.product)
    number = message.request_id
    if number is not None and await store_recoveries.complete(tx, number, message.product, now):
        return ""
    if known is None or number is None or known.recovery_id != number:
        return "no recovery of ours has this number"
    if await store_producers.some_wait(tx, message.product, now - IN_HAND):
        raise Unavailable("messages of the recovery still wait")
    if not await store_producers.complete(tx, number, now):
        return "this recovery had ended before"
    await store_producers.put(tx, _up_again(known))
    tx.context.log.info("producer is up", producer=message.product, request=number)
    tx.after_commit(partial(_show, message.product, tx.context))
    return ""


def _up_again(known: Producer) -> Producer:
    """Return a producer after its recovery, which also gives the subscription back."""
    return Producer(
        producer=known.producer,
        alive_ms=known.alive_ms,
        subscribed=True,
        heard_at=known.heard_at,
        up=True,
        processed_ms=known.alive_ms,
        recovery_id=None,
    )


async def sweep(context: Context) -> None:
    """Notice silence, take off what was handed over and never taken up, ask for fixtures again."""
    now = context.now()
    handed_before = int((now - feed_rules.HANDOVER_PATIENCE).timestamp() * 1000)
    async with context.transaction() as tx:
        silent = await store_producers.take_down_silent(tx, now)
        gone = await store_producers.close_handed_over(tx, handed_before)
    for producer in silent:
        context.log.warning("producer is down", producer=producer)
        await _show(producer, context)
    for event_id in gone:
        await view.show(event_id, context)


async def interrupted(context: Context) -> None:
    """Take all producers down, since messages of any of them may have been missed.

    A recovery that runs may have lost some too, so its end says nothing; the next alive of each
    asks for another, from the last alive of the time when nothing was missed.
    """
    async with context.transaction() as tx:
        down = await store_producers.take_down_all(tx)
    for producer in down:
        context.log.warning("producer is down", producer=producer)
        await _show(producer, context)


async def _show(producer: int, context: Context) -> None:
    """Show anew, beside, what a producer has on sale: it is suspended now, or no more."""
    async with context.transaction() as tx:
        events = await store_producers.events_on_sale(tx, producer)
    own = context.spawn()

    async def show_all() -> None:
        for event_id in events:
            await view.show(event_id, own)

    beside(show_all(), own)
