"""The SQL of the feed's messages as they came: one function per statement."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from msgspec import Struct

from svc.mesh.database import Tx
from svc.sportsbook.uof import Document

ATTEMPTS_MAX = 5


class Waiting(Struct, frozen=True):
    """A message that is stored but not worked on yet."""

    message_id: str
    body: bytes


async def insert(
    tx: Tx, message_id: str, document: Document, *, body: bytes, now: datetime, applied: bool
) -> bool:
    """Store a message as it came; False when one that says the same is there already.

    One that is acted on in the same transaction is stored as `applied`: nearly all are, and so it
    is written once. What becomes of the others is recorded by `begin` or `finish`.
    """
    return bool(
        await tx.fetchval(
            """
            INSERT INTO feed_message
                (message_id, content_key, kind, event_id, body, received_at, producer,
                 status, attempts, processed_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, CASE WHEN $8 THEN 'applied' ELSE 'received' END,
                    $8::boolean::integer, CASE WHEN $8 THEN $6::timestamptz END)
            ON CONFLICT (content_key) DO NOTHING
            RETURNING true
            """,
            message_id,
            document.content_key,
            document.kind,
            getattr(document.message, "event_id", None),
            body,
            now,
            getattr(document.message, "product", None),
            applied,
        )
    )


async def lock_waiting(tx: Tx, message_id: str) -> bool:
    """Lock a message that is still to be worked on; False when it is done."""
    return bool(
        await tx.fetchval(
            """
            SELECT true FROM feed_message
            WHERE message_id = $1 AND status = 'received'
            FOR UPDATE
            """,
            message_id,
        )
    )


async def begin(tx: Tx, message_id: str) -> None:
    """Record that a message is worked on in several rounds; it waits no more, nor is it done."""
    await tx.execute(
        """
        UPDATE feed_message
        SET status = 'received', attempts = greatest(attempts, 1), processed_at = NULL
        WHERE message_id = $1
        """,
        message_id,
    )


async def finish(
    tx: Tx,
    message_id: str,
    status: Literal["applied", "ignored"],
    note: str,
    now: datetime,
) -> None:
    """Record what became of a message."""
    await tx.execute(
        """
        UPDATE feed_message
        SET status = $2, note = $3, processed_at = $4,
            attempts = attempts + (status = 'received')::integer
        WHERE message_id = $1
        """,
        message_id,
        status,
        note,
        now,
    )


async def fail(tx: Tx, message_id: str, cause: str) -> None:
    """Record a failed attempt; after the last one the message is set aside as failed."""
    await tx.execute(
        """
        UPDATE feed_message
        SET attempts = attempts + 1, note = $2,
            status = CASE WHEN attempts + 1 >= $3 THEN 'failed' ELSE status END
        WHERE message_id = $1 AND status = 'received'
        """,
        message_id,
        cause,
        ATTEMPTS_MAX,
    )


async def waiting(tx: Tx, before: datetime, limit: int) -> list[Waiting]:
    """Return messages that came before an instant and are still to be worked on, oldest first."""
    rows = await tx.fetch(
        """
        SELECT message_id, body FROM feed_message
        WHERE status = 'received' AND received_at < $1
        ORDER BY received_at, message_id
        LIMIT $2
        """,
        before,
        limit,
    )
    return [Waiting(str(row["message_id"]), row["body"]) for row in rows]


async def forget(tx: Tx, before: datetime, limit: int) -> None:
    """Forget messages that came before an instant and were worked on; failed ones stay.

    Their ids are UUIDv7, so the primary key finds the oldest by time.
    """
    oldest_kept = UUID(int=int(before.timestamp() * 1000) << 80)
    await tx.execute(
        """
        DELETE FROM feed_message WHERE message_id IN (
            SELECT message_id FROM feed_message
            WHERE message_id < $1 AND status IN ('applied', 'ignored')
            ORDER BY message_id LIMIT $2)
        """,
        oldest_kept,
        limit,
    )
