"""An event's messages asked for again: its odds of now, and what settled or cancelled on it.

What comes is what always comes: odds count by their timestamps, and what is known already does
nothing. The producer stays as it is, up or down.
"""

from svc.mesh.context import Context
from svc.mesh.database import Tx
from svc.mesh.errors import Conflict, NotFound, Unavailable
from svc.sportsbook import (
    feed_api,
    feed_rules,
    rules,
    store_events,
    store_producers,
    store_recoveries as store,
)
from svc.sportsbook.contract_feed import (
    EventRecovery,
    FeedRefused,
    RecoverEvent,
    RecoveryLimited,
    What,
)
from svc.sportsbook.feed_rules import PRODUCERS

EACH: tuple[What, ...] = ("odds", "stateful")


async def recover(request: RecoverEvent, context: Context) -> EventRecovery:
    """Ask for an event's messages; what runs already is not asked for twice.

    Raises NotFound, RecoveryLimited, FeedRefused, Conflict for an event that is too old, and
    Unavailable when the API does not answer: then the same request may be sent again.
    """
    if request.producer not in PRODUCERS or not rules.is_event_id(request.event_id):
        raise NotFound(f"there is no producer {request.producer} or no event {request.event_id}")
    wanted = EACH if request.what is None else (request.what,)
    async with context.transaction() as tx:
        running, fresh = await _asked(request, wanted, tx)
    for what, recovery_id in fresh.items():
        await _ask(request, what, recovery_id, context)
    asked = running | fresh
    return EventRecovery(
        event_id=request.event_id,
        producer=request.producer,
        odds_request=asked.get("odds"),
        stateful_request=asked.get("stateful"),
    )


async def _asked(
    request: RecoverEvent, wanted: tuple[What, ...], tx: Tx
) -> tuple[dict[What, int], dict[What, int]]:
    """Record what is to be asked for; return the numbers of what runs already, and the new ones."""
    now = tx.context.now()
    await store.lock(tx)
    event = await store_events.event(tx, request.event_id)
    if "stateful" in wanted and event and not feed_rules.is_kept(event.starts_at, now):
        raise Conflict("the feed keeps what settled and cancelled for 30 days only")
    since = now - feed_rules.RECOVERY_PATIENCE
    running = await store.running(tx, request.event_id, request.producer, since)
    missing: list[What] = [what for what in wanted if what not in running]
    before = await store.asked_since(tx, now - feed_rules.EVENT_LIMITS_LOOK_BACK)
    wait = feed_rules.wait_for_event(before, len(missing), now)
    if wait:
        seconds = int(wait.total_seconds()) + 1
        raise RecoveryLimited(
            f"the provider's limit for single events is used up: ask again in {seconds} s",
            retry_after=seconds,
        )
    fresh: dict[What, int] = {}
    for what in missing:
        fresh[what] = await store.ask(tx, request.event_id, request.producer, what, now)
    return running, fresh


async def _ask(request: RecoverEvent, what: What, recovery_id: int, context: Context) -> None:
    path = PRODUCERS[request.producer].path
    why = "unreachable"
    try:
        await feed_api.of(context).recover_event(path, what, request.event_id, recovery_id)
    except feed_api.ApiRefused as refused:
        why = refused.detail
        raise FeedRefused(why) from refused
    except Unavailable:
        raise
    else:
        why = ""
        context.log.info("event recovery asked", event_id=request.event_id, request=recovery_id)
    finally:
        if why:
            async with context.transaction() as tx:
                await store_producers.refuse(tx, recovery_id, why)
