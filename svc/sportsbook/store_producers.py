"""The SQL of the feed's producers and of the recoveries asked of them."""

from datetime import datetime, timedelta

from svc.mesh.database import Tx
from svc.sportsbook.feed_rules import ALIVE_WITHIN, Asked, Producer

COLUMNS = "producer, alive_ms, subscribed, heard_at, up, processed_ms, recovery_id"


async def lock(tx: Tx, producer: int) -> Producer | None:
    """Lock a producer and return it; None when it never sent an alive."""
    row = await tx.fetchrow(
        f"SELECT {COLUMNS} FROM producer WHERE producer = $1 FOR UPDATE",  # noqa: S608 - a constant
        producer,
    )
    return None if row is None else Producer(**dict(row))


async def put(tx: Tx, known: Producer) -> None:
    """Write how a producer stands."""
    await tx.execute(
        """
        INSERT INTO producer
            (producer, alive_ms, subscribed, heard_at, up, processed_ms, recovery_id)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (producer) DO UPDATE
        SET alive_ms = excluded.alive_ms, subscribed = excluded.subscribed,
            heard_at = excluded.heard_at, up = excluded.up,
            processed_ms = excluded.processed_ms, recovery_id = excluded.recovery_id
        """,
        known.producer,
        known.alive_ms,
        known.subscribed,
        known.heard_at,
        known.up,
        known.processed_ms,
        known.recovery_id,
    )


async def take_down_silent(tx: Tx, now: datetime) -> list[int]:
    """Take down producers that were not heard of for too long, or that lag; return them.

    A producer lags when a message of it waits for its first attempt for that long.
    """
    rows = await tx.fetch(
        """
        UPDATE producer SET up = false
        WHERE up AND (heard_at < $1 OR producer IN (
            SELECT m.producer FROM feed_message m
            WHERE m.status = 'received' AND m.attempts = 0 AND m.received_at < $1))
        RETURNING producer
        """,
        now - ALIVE_WITHIN,
    )
    return [row["producer"] for row in rows]


async def take_down_all(tx: Tx) -> list[int]:
    """Take down all producers and forget their recoveries; return those that were up."""
    rows = await tx.fetch(
        """
        UPDATE producer p SET up = false, recovery_id = NULL
        FROM (SELECT producer, up FROM producer ORDER BY producer FOR UPDATE) before
        WHERE before.producer = p.producer
        RETURNING p.producer, before.up AS was_up
        """
    )
    return [row["producer"] for row in rows if row["was_up"]]


async def events_on_sale(tx: Tx, producer: int) -> list[str]:
    """Return the events on which a producer has active markets."""
    rows = await tx.fetch(
        "SELECT DISTINCT event_id FROM market WHERE producer = $1 AND status = 'active'", producer
    )
    return [row["event_id"] for row in rows]


async def asked_since(tx: Tx, producer: int, since: datetime) -> list[Asked]:
    """Return the recoveries asked of a producer since an instant, those that arrived there."""
    rows = await tx.fetch(
        """
        SELECT asked_at, to_timestamp(after_ms / 1000.0) AS after FROM recovery
        WHERE producer = $1 AND event_id IS NULL AND asked_at >= $2
          AND refusal <> 'unreachable'
        """,
        producer,
        since,
    )
    return [Asked(**dict(row)) for row in rows]


async def pending(tx: Tx, recovery_id: int, now: datetime, patience: timedelta) -> bool:
    """Tell whether a recovery still runs: not refused, not ended, not too long ago."""
    return bool(
        await tx.fetchval(
            """
            SELECT true FROM recovery
            WHERE recovery_id = $1 AND completed_at IS NULL AND refusal = '' AND asked_at > $2
            """,
            recovery_id,
            now - patience,
        )
    )


async def ask(tx: Tx, producer: int, after_ms: int | None, now: datetime) -> int:
    """Record a recovery that is about to be asked for; return the number of the request."""
    recovery_id: int = await tx.fetchval(
        """
        INSERT INTO recovery (producer, after_ms, asked_at) VALUES ($1, $2, $3)
        RETURNING recovery_id
        """,
        producer,
        after_ms,
        now,
    )
    await tx.execute(
        "UPDATE producer SET recovery_id = $2 WHERE producer = $1", producer, recovery_id
    )
    return recovery_id


async def refuse(tx: Tx, recovery_id: int, why: str) -> None:
    """Record that a recovery does not run."""
    await tx.execute("UPDATE recovery SET refusal = $2 WHERE recovery_id = $1", recovery_id, why)


async def complete(tx: Tx, recovery_id: int, now: datetime) -> bool:
    """Record the end of a recovery; False when it had ended before."""
    return bool(
        await tx.fetchval(
            """
            UPDATE recovery SET completed_at = $2
            WHERE recovery_id = $1 AND completed_at IS NULL
            RETURNING true
            """,
            recovery_id,
            now,
        )
    )


async def some_wait(tx: Tx, producer: int, before: datetime) -> bool:
    """Tell whether messages of a producer that came before an instant are not worked on yet."""
    return bool(
        await tx.fetchval(
            """
            SELECT EXISTS (
                SELECT FROM feed_message
                WHERE status = 'received' AND producer = $1 AND received_at < $2
                  AND kind <> 'snapshot_complete')
            """,
            producer,
            before,
        )
    )


async def want_fixture(tx: Tx, event_id: str, now: datetime | None) -> None:
    """Record that an event's fixture is to be asked for, or (None) that it is not any more."""
    await tx.execute("UPDATE event SET fixture_wanted_at = $2 WHERE event_id = $1", event_id, now)


async def wanted_fixtures(tx: Tx, since: datetime, limit: int) -> list[str]:
    """Return events whose fixture is still to be asked for and was not given up."""
    rows = await tx.fetch(
        """
        SELECT event_id FROM event WHERE fixture_wanted_at > $1
        ORDER BY fixture_wanted_at LIMIT $2
        """,
        since,
        limit,
    )
    return [row["event_id"] for row in rows]


async def close_handed_over(tx: Tx, before_ms: int) -> list[str]:
    """Take off sale what was handed over before a time and not taken up; return the events."""
    rows = await tx.fetch(
        """
        UPDATE market m SET status = 'inactive'
        WHERE m.status = 'handed_over' AND NOT EXISTS (
            SELECT FROM market_clock c
            WHERE c.event_id = m.event_id AND c.market_id = m.market_id
              AND c.specifiers = m.specifiers AND c.applied_ms >= $1)
        RETURNING m.event_id
        """,
        before_ms,
    )
    return sorted({row["event_id"] for row in rows})
