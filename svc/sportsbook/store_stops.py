"""The SQL of bet_stops, which hold for markets too that become known after them."""

from msgspec import Struct

from svc.mesh.database import Tx
from svc.sportsbook.contract import MarketStatus
from svc.sportsbook.uof_messages import BetStop


class Stop(Struct, frozen=True, kw_only=True):
    """A producer's newest stop of some groups of an event's markets."""

    groups: str
    status: MarketStatus


async def put(tx: Tx, stop: BetStop) -> bool:
    """Keep a stop of a locked event; False when a newer one of the same groups is known."""
    await tx.execute(
        "UPDATE event SET stopped_ms = greatest(stopped_ms, $2) WHERE event_id = $1",
        stop.event_id,
        stop.timestamp,
    )
    return bool(
        await tx.fetchval(
            """
            INSERT INTO event_stop AS known (event_id, producer, groups, status, stopped_ms)
            VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (event_id, producer, md5(groups)) DO UPDATE
            SET status = excluded.status, stopped_ms = excluded.stopped_ms
            WHERE known.stopped_ms <= excluded.stopped_ms
            RETURNING true
            """,
            stop.event_id,
            stop.product,
            stop.groups,
            stop.market_status,
            stop.timestamp,
        )
    )


async def after(tx: Tx, event_id: str, producer: int, at_ms: int) -> list[Stop]:
    """Return a producer's stops on an event that are newer than a message, the newest last."""
    rows = await tx.fetch(
        """
        SELECT groups, status FROM event_stop
        WHERE event_id = $1 AND producer = $2 AND stopped_ms > $3
        ORDER BY stopped_ms
        """,
        event_id,
        producer,
        at_ms,
    )
    return [Stop(**dict(row)) for row in rows]


async def forget(tx: Tx, before_ms: int, limit: int) -> None:
    """Forget stops of before a time: no odds are sent any more that are older than those."""
    await tx.execute(
        """
        DELETE FROM event_stop WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM event_stop WHERE stopped_ms < $1
            ORDER BY stopped_ms LIMIT $2 FOR UPDATE SKIP LOCKED))
        """,
        before_ms,
        limit,
    )
