"""Sends what is queued: right after commit, and again with growing pauses until it has left.

One loop per channel, so that a slow provider holds up nobody's in-app messages. A message that is
claimed by an instance that dies is taken up by another when its lease is over.
"""

import asyncio
import contextlib
from datetime import timedelta

from svc.identity import contract as identity
from svc.mesh.context import Context
from svc.mesh.errors import NotFound, Unavailable
from svc.notification import messages_store, receipts, rules, store
from svc.notification.contract import (
    NOTIFICATION_SENT,
    UPDATES,
    Channel,
    Inbox,
    Message,
    NotificationSent,
)
from svc.notification.messages_store import Outgoing
from svc.notification.provider import Provider, Rejected
from svc.notification.store import Recipient

AT_ONCE = 16
LEASE = timedelta(seconds=15)
"""Longer than one attempt can take (ATTEMPT_S), so that nobody sends the same message twice."""
ATTEMPT_S = 12.0
IDLE_S = 60.0
NAMESPACE = "notification"
CODE_OF = "code_of"
"""The argument that refers to a one-time code."""
HIDDEN = "••••••••"


class Sender:
    """The sending side of one running instance."""

    def __init__(self, context: Context, provider: Provider) -> None:
        """Prepare; `start` begins to send."""
        self.context = context
        self.provider = provider
        self.wakes = {channel: asyncio.Event() for channel in rules.CHANNELS}
        self.tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin with what an earlier run left."""
        self.tasks = [asyncio.create_task(self._run(channel)) for channel in rules.CHANNELS]

    async def stop(self) -> None:
        """Stop; what was not finished is sent after the next start."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.provider.close()

    async def wake(self) -> None:
        """Look at once whether there is something to send."""
        for event in self.wakes.values():
            event.set()

    async def _run(self, channel: Channel) -> None:
        while True:
            self.wakes[channel].clear()
            try:
                idle = await self._sweep(channel)
            except Exception as failure:  # noqa: BLE001 -- the loop must outlive whatever happens
                self.context.log.warning("sweep failed", channel=channel, cause=repr(failure))
                idle = 1.0
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(idle):
                    await self.wakes[channel].wait()

    async def _sweep(self, channel: Channel) -> float:
        """Send what is due; return for how many seconds there is nothing more to do."""
        while True:
            async with self.context.transaction() as tx:
                batch = await messages_store.claim(tx, channel, self.context.now(), LEASE, AT_ONCE)
                due = None if batch else await messages_store.next_due(tx, channel)
            if not batch:
                left = (due - self.context.now()).total_seconds() if due else IDLE_S
                return min(max(left, 0.05), IDLE_S)
            await asyncio.gather(*(self._attempt(message) for message in batch))

    async def _attempt(self, message: Outgoing) -> None:
        # Its events belong to the request that caused it, not to this loop.
        context = Context(
            self.context.runtime,
            correlation_id=message.correlation_id,
            causation_id=message.event_id,
        )
        try:
            async with asyncio.timeout(ATTEMPT_S):
                await self._send(context, message)
        except (Unavailable, TimeoutError) as failure:
            await self._later(context, message, str(failure) or "it took too long")
        except (Rejected, NotFound) as failure:
            await _failed(context, message, str(failure))
        except Exception:
            context.log.exception("sending failed", message_id=message.message_id)
            await self._later(context, message, "internal")

    async def _send(self, context: Context, message: Outgoing) -> None:
        recipient = await _recipient(context, message)
        locale = recipient.locale or "en"
        bundle = await context.localizer.bundle(locale, NAMESPACE)
        if f"{message.template}.text" not in bundle.messages:
            raise Rejected(f"there is no text for the template {message.template}")
        arguments = {name: argument.value() for name, argument in message.arguments.items()}
        title, body = await _words(context, message, locale, arguments)
        said = body
        if CODE_OF in arguments:
            # The code is made now, and said in the SMS alone: what is kept does not show it.
            code = await _code(context, message, str(arguments[CODE_OF]))
            _, said = await _words(context, message, locale, {**arguments, "code": code})
            _, body = await _words(context, message, locale, {**arguments, "code": HIDDEN})
        provider_id = await self._hand_over(message, recipient, title, said)
        async with context.transaction() as tx:
            if provider_id is not None:
                await messages_store.lock_provider_id(tx, provider_id)
            if not await messages_store.set_sent(tx, message.message_id, title, body, provider_id):
                return
            await tx.publish(
                NOTIFICATION_SENT,
                NotificationSent(
                    message_id=message.message_id,
                    user_id=message.user_id,
                    template=message.template,
                    channel=message.channel,
                    cause=message.cause,
                ),
                subject=message.user_id,
            )
            if provider_id is not None:
                await receipts.apply(tx, provider_id)
            else:
                tx.after_commit(lambda: _push(context, message, title, body))

    async def _hand_over(
        self, message: Outgoing, recipient: Recipient, title: str, body: str
    ) -> str | None:
        if message.channel == "sms" and recipient.phone:
            return await self.provider.send_sms(recipient.phone, body)
        if message.channel == "email" and recipient.email:
            return await self.provider.send_email(recipient.email, title, body)
        if message.channel != "in_app":
            raise Rejected("the user has no address for this channel")
        return None

    async def _later(self, context: Context, message: Outgoing, reason: str) -> None:
        now = context.now()
        if message.channel != "in_app" and now - message.created_at > rules.GIVE_UP_AFTER:
            await _failed(context, message, f"given up: {reason}")
            return
        context.log.info("message waits", message_id=message.message_id, cause=reason)
        async with context.transaction() as tx:
            at = now + rules.pause(message.attempts)
            await messages_store.set_later(tx, message.message_id, at, reason)


async def _words(
    context: Context, message: Outgoing, locale: str, arguments: dict[str, object]
) -> tuple[str, str]:
    """Return title and text of a message in a language."""
    title, text = [
        await context.localizer.text(locale, NAMESPACE, f"{message.template}.{part}", **arguments)
        for part in ("title", "text")
    ]
    return title, text


async def _code(context: Context, message: Outgoing, code_id: str) -> str:
    """Return the code that a message is to say; raises NotFound once it is too old."""
    wanted = identity.IssueCode(user_id=message.user_id, code_id=code_id)
    return (await context.call(identity.ISSUE_CODE, wanted)).code


async def _recipient(context: Context, message: Outgoing) -> Recipient:
    """Return whom a message is for, asking identity where what we know does not do.

    Old contact data serves while identity is down. Raises NotFound and Unavailable.
    """
    now = context.now()
    async with context.transaction() as tx:
        known = await store.ensure_recipient(tx, message.user_id)
    if message.channel == "in_app" and known.locale:
        return known
    if known.contact_at and now - known.contact_at < rules.CONTACT_KEPT:
        return known
    try:
        contact = await context.call(identity.CONTACT, identity.OfUser(user_id=message.user_id))
    except Unavailable:
        if known.contact_at:
            return known
        raise
    recipient = Recipient(
        user_id=known.user_id,
        locale=contact.locale,
        marketing_opt_in=known.marketing_opt_in,
        excluded_until=known.excluded_until,
        email=contact.email,
        phone=contact.phone,
        contact_at=now,
        profile_version=known.profile_version,
    )
    async with context.transaction() as tx:
        await store.set_contact(tx, recipient, now)
    return recipient


async def _failed(context: Context, message: Outgoing, reason: str) -> None:
    async with context.transaction() as tx:
        if await messages_store.set_final(tx, message.message_id, "failed", reason):
            await receipts.tell_failed(tx, message, reason)


async def _push(context: Context, message: Outgoing, title: str, body: str) -> None:
    shown = Message(
        message_id=message.message_id,
        template=message.template,
        category=message.category,
        title=title,
        text=body,
        at=message.at,
    )
    await context.push(UPDATES, message.user_id, Inbox(items=[shown], next_cursor=None))
