"""The audit log: what happened to an account's safety, written with the change and never rewritten.

Notices to the user about it go out by the same transaction; their texts are fetched before it.
"""

from svc.identity import security_store
from svc.identity.contract_security import SecurityEvent, SecurityEvents
from svc.mesh.context import Context
from svc.mesh.database import Tx
from svc.notification import contract as notification


async def note(
    tx: Tx, user_id: str | None, kind: str, *, actor_id: str | None = None, ip: str = "",
    device: str = "", detail: str = "",
) -> None:  # fmt: skip
    """Write one entry; `actor_id` only where somebody else than the user did it.

    Without a user (somebody guesses at an address that nobody has) nothing is kept, but it takes
    as long.
    """
    event = SecurityEvent(
        event_id=tx.context.new_id(),
        kind=kind,
        at=tx.context.now(),
        actor_id=actor_id if actor_id != user_id else None,
        ip=storable(ip),
        device=storable(device),
        detail=detail,
    )
    await security_store.add_event(tx, user_id, event)


async def page(tx: Tx, user_id: str, limit: int, cursor: str | None) -> SecurityEvents:
    """Return a page of the log, newest first; the cursor is the id of the last one seen."""
    rows = await security_store.events(tx, user_id, cursor, limit + 1)
    more = len(rows) > limit
    return SecurityEvents(
        items=rows[:limit], next_cursor=rows[limit - 1].event_id if more else None
    )


async def alert_text(context: Context, locale: str, what: str) -> str:
    """Return the text of a security notice; asked for before a transaction is open."""
    return await context.localizer.text(locale, "identity", f"security.{what}")


async def alert(tx: Tx, user_id: str, text: str) -> None:
    """Have the user told, through every channel: it may not have been them."""
    notice = notification.NotificationRequested(
        user_id=user_id, template="security_alert", category="security", arguments={"reason": text}
    )
    await tx.publish(notification.NOTIFICATION_REQUESTED, notice, subject=user_id)


TOLD_LENGTH_MAX = 200


def storable(told: str) -> str:
    """Return what a client told about itself, cut, in printable characters that Postgres keeps."""
    return "".join(letter for letter in told[:TOLD_LENGTH_MAX] if letter.isprintable())
