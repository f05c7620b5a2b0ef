"""notification, as the mesh runs it: it hears every topic, and tells users what concerns them."""

import re
from typing import Any

from msgspec import Struct

from svc.casino import contract as casino
from svc.gaming import contract as gaming
from svc.identity import contract as identity
from svc.marketing import contract as marketing
from svc.mesh.context import Context
from svc.mesh.contract import Event, RawMessage
from svc.mesh.database import Tx
from svc.mesh.envelope import CloudEvent
from svc.mesh.errors import Forbidden, Invalid
from svc.mesh.service import EventHandler, Hear, Service
from svc.mesh.types import UUID_PATTERN, Empty
from svc.notification import messages_store, receipts, rules, store
from svc.notification.contract import (
    DELIVERIES,
    LIST_MESSAGES,
    NOTIFICATION,
    RECEIVE_RECEIPT,
    SET_PREFERENCES,
    Deliveries,
    DeliveriesOf,
    Inbox,
    InboxOf,
    Preference,
    Preferences,
    SetPreferences,
)
from svc.notification.messages_store import Outgoing
from svc.notification.notices import NOTICES
from svc.notification.provider import Provider
from svc.notification.sender import Sender
from svc.payment import contract as payment
from svc.scheduler import contract as scheduler
from svc.sportsbook import contract as sportsbook
from svc.wallet import contract as wallet

RETRY_QUEUED = "retry-queued"
DELIVERIES_KEPT_S = 2

TOPICS = (
    identity.IDENTITY, sportsbook.SPORTSBOOK, payment.PAYMENT, marketing.MARKETING, gaming.GAMING,
    casino.CASINO, wallet.WALLET, scheduler.SCHEDULER, NOTIFICATION,
)  # fmt: skip
EVENTS: tuple[Event[Struct], ...] = tuple(
    event for contract in TOPICS for event in contract.events()
)
"""Every event of every topic. Those that nobody is told of are heard and leave no trace: so the
service's own facts cannot start a loop."""


def _hear(event: Event[Struct]) -> Hear[Struct]:
    if event.type in NOTICES:
        return Hear(event, "tell the user")
    if event.type == identity.USER_ERASED.type:
        return Hear(event, "forget how to reach the user")
    if event.type == scheduler.JOB_DUE.type:
        return Hear(event, "send what waits", only=lambda job: job.service == "notification")
    return Hear(event, "nothing to tell", only=lambda _: False)


notification = Service(
    NOTIFICATION,
    hears=tuple(_hear(event) for event in EVENTS),
    calls=(identity.AUTHORIZE, identity.CONTACT, identity.ISSUE_CODE),
    asks=(scheduler.JOB_REQUESTED,),
    database=True,
    cache=True,
    localizes=("notification",),
    outside=("SMSProvider",),
)

senders: dict[str, Sender] = {}
"""The sender of each running instance in this process."""


@notification.answers(LIST_MESSAGES)
async def list_messages(request: InboxOf, context: Context) -> Inbox:
    """Return a page of the inbox; the cursor is the last message's id. Raises Invalid."""
    if request.cursor is not None and not re.fullmatch(UUID_PATTERN, request.cursor):
        raise Invalid("cursor is not one that an earlier page gave")
    async with context.transaction() as tx:
        found = await store.inbox(tx, request.user_id, request.cursor, request.limit + 1)
    items = found[: request.limit]
    more = len(found) > request.limit
    return Inbox(items=items, next_cursor=items[-1].message_id if more else None)


@notification.answers(SET_PREFERENCES)
async def set_preferences(request: SetPreferences, context: Context) -> Preferences:
    """Keep all choices or none; raises Forbidden for turning security messages off."""
    if any(choice.category == "security" and not choice.enabled for choice in request.preferences):
        raise Forbidden("security messages cannot be turned off")
    async with context.transaction() as tx:
        recipient = await store.ensure_recipient(tx, request.user_id)
        for choice in request.preferences:
            await store.set_preference(
                tx, request.user_id, choice.category, choice.channel, choice.enabled
            )
        chosen = await store.chosen_preferences(tx, request.user_id)
    held = rules.preferences_of(chosen, opted_in=recipient.marketing_opt_in)
    return Preferences(
        preferences=[
            Preference(category=category, channel=channel, enabled=enabled)
            for category, channel, enabled in held
        ]
    )


@notification.answers(RECEIVE_RECEIPT)
async def receive_receipt(request: RawMessage, context: Context) -> Empty:
    """Take in a receipt of the provider; one of an unknown message gets the same answer."""
    await receipts.take_in(request, context.runtime.settings, context)
    return Empty()


@notification.answers(DELIVERIES)
async def deliveries(request: DeliveriesOf, context: Context) -> Deliveries:
    """Count messages by channel and state; the counts may be two seconds old."""
    await identity.require_permission(context, request.actor_id, "notification.deliveries")

    async def load() -> Deliveries:
        async with context.transaction() as tx:
            return Deliveries(items=await store.counts(tx))

    return await context.cache.read_through("deliveries", Deliveries, load, ttl_s=DELIVERIES_KEPT_S)


async def tell(event: CloudEvent[Any], tx: Tx, context: Context) -> None:
    """Queue the messages that an event is worth, one per channel; they leave after the commit."""
    notice = NOTICES[event.type](event.data)
    if notice is None:
        return
    recipient = await store.ensure_recipient(tx, notice.user_id)
    chosen = await store.chosen_preferences(tx, notice.user_id)
    now = context.now()
    for channel in notice.channels:
        told = rules.may_tell(
            notice.category,
            chosen.get((notice.category, channel)),
            opted_in=recipient.marketing_opt_in,
            excluded_until=recipient.excluded_until,
            now=now,
        )
        message = Outgoing(
            message_id=context.new_id(),
            event_id=event.id,
            user_id=notice.user_id,
            template=notice.template,
            category=notice.category,
            channel=channel,
            arguments=notice.arguments,
            cause=event.id,
            correlation_id=context.correlation_id,
            at=event.time,
            created_at=now,
            status="queued" if told else "suppressed",
            attempts=0,
        )
        await messages_store.insert_message(tx, message)
    tx.after_commit(lambda: wake(context))


async def tell_registered(
    event: CloudEvent[identity.UserRegistered], tx: Tx, context: Context
) -> None:
    """Keep language and consent of a new user, and greet them."""
    user = event.data
    await store.ensure_recipient(tx, user.user_id)
    await store.set_profile(tx, user.user_id, user.locale, user.marketing_opt_in)
    await tell(event, tx, context)


async def tell_profile(
    event: CloudEvent[identity.ProfileUpdated], tx: Tx, context: Context
) -> None:
    """Keep language and consent, forget the contact data, and warn of a changed phone number."""
    user = event.data
    await store.ensure_recipient(tx, user.user_id)
    await store.set_profile(tx, user.user_id, user.locale, user.marketing_opt_in)
    await tell(event, tx, context)


async def tell_excluded(
    event: CloudEvent[identity.SelfExcludedData], tx: Tx, context: Context
) -> None:
    """Keep the exclusion: no marketing from now on, and confirm it."""
    await store.ensure_recipient(tx, event.data.user_id)
    await store.set_excluded(tx, event.data.user_id, event.data.until)
    await tell(event, tx, context)


async def forget_user(event: CloudEvent[identity.UserErased], tx: Tx, context: Context) -> None:
    """Forget how to reach a user; what was said to them names ids alone."""
    _ = context
    await store.ensure_recipient(tx, event.data.user_id)
    await store.forget_contact(tx, event.data.user_id)


async def run_job(event: CloudEvent[scheduler.JobDue], tx: Tx, context: Context) -> None:
    """Look for messages that wait: what a dead instance left has nobody else to wake it."""
    if event.data.name == RETRY_QUEUED:
        tx.after_commit(lambda: wake(context))


async def wake(context: Context) -> None:
    """Wake the sender of this instance."""
    sender = senders.get(context.runtime.instance)
    if sender is not None:
        await sender.wake()


OWN_HANDLERS: dict[str, EventHandler[Any]] = {
    identity.USER_REGISTERED.type: tell_registered,
    identity.PROFILE_UPDATED.type: tell_profile,
    identity.SELF_EXCLUDED.type: tell_excluded,
    identity.USER_ERASED.type: forget_user,
    scheduler.JOB_DUE.type: run_job,
}
for heard in EVENTS:
    notification.hears(heard)(OWN_HANDLERS.get(heard.type, tell))


@notification.on_start
async def start_sending(context: Context) -> None:
    """Ask for the job, and begin to send what an earlier run left."""
    async with context.transaction() as tx:
        await tx.publish(
            scheduler.JOB_REQUESTED,
            scheduler.JobRequested(service="notification", name=RETRY_QUEUED, cron="30 * * * * *"),
            subject=f"notification.{RETRY_QUEUED}",
        )
    sender = Sender(context, Provider(context.runtime.settings))
    senders[context.runtime.instance] = sender
    sender.start()


@notification.on_stop
async def stop_sending(context: Context) -> None:
    """Stop sending; what is queued waits for the next start."""
    sender = senders.pop(context.runtime.instance, None)
    if sender is not None:
        await sender.stop()
