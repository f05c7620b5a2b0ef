"""All SQL of notification's recipients, preferences and inbox; of sending: messages_store.py."""

from datetime import datetime
from typing import cast

from msgspec import Struct

from svc.mesh.database import Tx
from svc.notification.contract import Category, Channel, DeliveryCount, Message


class Recipient(Struct, frozen=True, kw_only=True):
    """A user as notification knows them: `locale` and contact are None until they are read."""

    user_id: str
    locale: str | None
    marketing_opt_in: bool
    excluded_until: datetime | None
    email: str | None
    phone: str | None
    contact_at: datetime | None
    profile_version: int


async def ensure_recipient(tx: Tx, user_id: str) -> Recipient:
    """Return a user, made if unknown."""
    await tx.execute(
        "INSERT INTO recipients (user_id) VALUES ($1) ON CONFLICT (user_id) DO NOTHING", user_id
    )
    row = await tx.fetchrow(
        "SELECT locale, marketing_opt_in, excluded_until, email, phone, contact_at,"
        " profile_version FROM recipients WHERE user_id = $1",
        user_id,
    )
    assert row is not None
    return Recipient(
        user_id=user_id,
        locale=row["locale"],
        marketing_opt_in=row["marketing_opt_in"],
        excluded_until=row["excluded_until"],
        email=row["email"],
        phone=row["phone"],
        contact_at=row["contact_at"],
        profile_version=row["profile_version"],
    )


async def set_profile(tx: Tx, user_id: str, locale: str, marketing_opt_in: bool) -> None:
    """Keep a user's language and consent; contact data read before is asked for again."""
    await tx.execute(
        "UPDATE recipients SET locale = $2, marketing_opt_in = $3, contact_at = NULL,"
        " profile_version = profile_version + 1 WHERE user_id = $1",
        user_id,
        locale,
        marketing_opt_in,
    )


async def forget_contact(tx: Tx, user_id: str) -> None:
    """Forget addresses and consent; what is on its way finds none any more."""
    await tx.execute(
        "UPDATE recipients SET email = NULL, phone = NULL, contact_at = NULL,"
        " marketing_opt_in = false, profile_version = profile_version + 1 WHERE user_id = $1",
        user_id,
    )


async def set_excluded(tx: Tx, user_id: str, until: datetime) -> None:
    """Keep the later of two exclusions."""
    await tx.execute(
        "UPDATE recipients SET excluded_until = greatest(excluded_until, $2) WHERE user_id = $1",
        user_id,
        until,
    )


async def set_contact(tx: Tx, recipient: Recipient, now: datetime) -> None:
    """Keep contact data that was read from identity, unless the profile changed meanwhile."""
    await tx.execute(
        "UPDATE recipients SET locale = $2, email = $3, phone = $4, contact_at = $5"
        " WHERE user_id = $1 AND profile_version = $6",
        recipient.user_id,
        recipient.locale,
        recipient.email,
        recipient.phone,
        now,
        recipient.profile_version,
    )


async def chosen_preferences(tx: Tx, user_id: str) -> dict[tuple[str, str], bool]:
    """Return what a user chose, by category and channel."""
    rows = await tx.fetch(
        "SELECT category, channel, enabled FROM preferences WHERE user_id = $1", user_id
    )
    return {(row["category"], row["channel"]): row["enabled"] for row in rows}


async def set_preference(
    tx: Tx, user_id: str, category: Category, channel: Channel, enabled: bool
) -> None:
    """Keep one choice."""
    await tx.execute(
        "INSERT INTO preferences (user_id, category, channel, enabled) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (user_id, category, channel) DO UPDATE SET enabled = excluded.enabled",
        user_id,
        category,
        channel,
        enabled,
    )


async def inbox(tx: Tx, user_id: str, before: str | None, limit: int) -> list[Message]:
    """Return a user's in-app messages below a message id, newest first."""
    rows = await tx.fetch(
        "SELECT message_id, template, category, title, body, at FROM messages"
        " WHERE user_id = $1 AND channel = 'in_app' AND status IN ('sent', 'delivered')"
        " AND ($2::uuid IS NULL OR message_id < $2) ORDER BY message_id DESC LIMIT $3",
        user_id,
        before,
        limit,
    )
    return [
        Message(
            message_id=str(row["message_id"]),
            template=row["template"],
            category=row["category"],
            title=row["title"],
            text=row["body"],
            at=row["at"],
        )
        for row in rows
    ]


async def counts(tx: Tx) -> list[DeliveryCount]:
    """Count messages by channel and state."""
    rows = await tx.fetch(
        "SELECT channel, status, count(*) AS messages FROM messages"
        " GROUP BY channel, status ORDER BY channel, status"
    )
    return [
        DeliveryCount(
            channel=cast("Channel", row["channel"]), status=row["status"], messages=row["messages"]
        )
        for row in rows
    ]
