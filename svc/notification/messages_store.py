"""All SQL of messages on their way: queued, claimed, handed over, and what receipts say of them."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec
from asyncpg import Record
from msgspec import Struct

from svc.mesh.database import Tx
from svc.notification.contract import Category, Channel, DeliveryStatus
from svc.notification.rules import Argument


class Outgoing(Struct, frozen=True, kw_only=True):
    """A message that is to leave, with how often that was tried (this time included)."""

    message_id: str
    event_id: str
    user_id: str
    template: str
    category: Category
    channel: Channel
    arguments: dict[str, Argument]
    cause: str
    correlation_id: str
    at: datetime
    created_at: datetime
    status: DeliveryStatus
    attempts: int


COLUMNS = (
    "message_id, event_id, user_id, template, category, channel, arguments, cause,"
    " correlation_id, at, created_at, status, attempts"
)


def _outgoing(row: Record) -> Outgoing:
    return Outgoing(
        message_id=str(row["message_id"]),
        event_id=str(row["event_id"]),
        user_id=str(row["user_id"]),
        template=row["template"],
        category=row["category"],
        channel=row["channel"],
        arguments=msgspec.json.decode(row["arguments"], type=dict[str, Argument]),
        cause=row["cause"],
        correlation_id=row["correlation_id"],
        at=row["at"],
        created_at=row["created_at"],
        status=row["status"],
        attempts=row["attempts"],
    )


async def insert_message(tx: Tx, message: Outgoing) -> None:
    """Record a message, once per event, user, template and channel."""
    arguments: Mapping[str, Argument] = message.arguments
    await tx.execute(
        "INSERT INTO messages (message_id, event_id, user_id, template, category, channel,"
        " arguments, cause, correlation_id, at, status, next_attempt_at, created_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12)"
        " ON CONFLICT (event_id, user_id, template, channel) DO NOTHING",
        message.message_id,
        message.event_id,
        message.user_id,
        message.template,
        message.category,
        message.channel,
        msgspec.json.encode(arguments).decode(),
        message.cause,
        message.correlation_id,
        message.at,
        message.status,
        message.created_at,
    )


async def claim(
    tx: Tx, channel: Channel, now: datetime, lease: timedelta, limit: int
) -> list[Outgoing]:
    """Take queued messages that are due; another instance gets them when the lease is over."""
    rows = await tx.fetch(
        "UPDATE messages SET attempts = attempts + 1, next_attempt_at = $2::timestamptz + $3"  # noqa: S608 -- a constant list of columns
        " WHERE message_id IN (SELECT message_id FROM messages WHERE status = 'queued'"
        " AND channel = $1 AND next_attempt_at <= $2 ORDER BY next_attempt_at, message_id"
        f" LIMIT $4 FOR UPDATE SKIP LOCKED) RETURNING {COLUMNS}",
        channel,
        now,
        lease,
        limit,
    )
    return sorted((_outgoing(row) for row in rows), key=lambda message: message.message_id)


async def next_due(tx: Tx, channel: Channel) -> datetime | None:
    """Return when the next queued message of a channel is due; None when there is none."""
    return await tx.fetchval(
        "SELECT min(next_attempt_at) FROM messages WHERE status = 'queued' AND channel = $1",
        channel,
    )


async def set_sent(tx: Tx, message_id: str, title: str, body: str, provider_id: str | None) -> bool:
    """Note that a message was handed over, with its words; False when that is known already."""
    done = await tx.execute(
        "UPDATE messages SET status = 'sent', title = $2, body = $3, provider_id = $4"
        " WHERE message_id = $1 AND status = 'queued'",
        message_id,
        title,
        body,
        provider_id,
    )
    return done == "UPDATE 1"


async def set_later(tx: Tx, message_id: str, at: datetime, reason: str) -> None:
    """Try a queued message again at an instant."""
    await tx.execute(
        "UPDATE messages SET next_attempt_at = $2, reason = $3"
        " WHERE message_id = $1 AND status = 'queued'",
        message_id,
        at,
        reason,
    )


async def set_final(tx: Tx, message_id: str, status: DeliveryStatus, reason: str | None) -> bool:
    """End a message as delivered or failed; False when it has ended before."""
    done = await tx.execute(
        "UPDATE messages SET status = $2, reason = $3"
        " WHERE message_id = $1 AND status IN ('queued', 'sent')",
        message_id,
        status,
        reason,
    )
    return done == "UPDATE 1"


async def lock_provider_id(tx: Tx, provider_id: str) -> None:
    """Let the answer to a sending and its receipts stand in line: they may come at once."""
    await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", provider_id)


async def insert_receipt(
    tx: Tx, provider_id: str, status: str, error_code: str | None, now: datetime
) -> None:
    """Record a receipt, once per state, also of a message that is not known."""
    await tx.execute(
        "INSERT INTO receipts (provider_id, status, error_code, received_at)"
        " VALUES ($1, $2, $3, $4) ON CONFLICT (provider_id, status) DO NOTHING",
        provider_id,
        status,
        error_code,
        now,
    )


async def receipts_of(tx: Tx, provider_id: str) -> dict[str, str | None]:
    """Return the states that receipts told of, each with its error code."""
    rows = await tx.fetch(
        "SELECT status, error_code FROM receipts WHERE provider_id = $1 ORDER BY received_at",
        provider_id,
    )
    return {row["status"]: row["error_code"] for row in rows}


async def find_by_provider_id(tx: Tx, provider_id: str) -> Outgoing | None:
    """Return the message that the provider knows under an id; None for one that is not ours."""
    row = await tx.fetchrow(
        f"SELECT {COLUMNS} FROM messages WHERE provider_id = $1 FOR UPDATE",  # noqa: S608 -- a constant list of columns
        provider_id,
    )
    return _outgoing(row) if row else None
