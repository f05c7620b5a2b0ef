"""The feed's second transport: NATS subjects that mirror the keys of the feed's AMQP exchange.

`uof.hi.-.live.odds_change.1.sr:match.1234.-` is the AMQP key with `uof.` before it, so a bridge
only copies messages. The stream keeps them until they are worked on; one that is refused goes to
the dead letters with the reason. All instances share the messages of a bridge; `feed_amqp.py`
reads the exchange without one.
"""

from typing import Any

from nats.errors import Error as NatsError

from svc.mesh import letters
from svc.mesh.context import Context
from svc.mesh.delivery import Arrival
from svc.mesh.errors import Refused, Unavailable
from svc.mesh.pulling import Source
from svc.sportsbook import feed
from svc.sportsbook.feed_lanes import Lanes

NAME, DURABLE = "UOF", "sportsbook"
ROOT = "uof"
SECOND_NS = 1_000_000_000
BATCH = 32
"""Messages that are in hand at once; those about one event are worked on in their order."""
RETRY_S = 1.0
"""After so long a message comes again that could not be stored, or parked."""

STREAM: dict[str, Any] = {
    "name": NAME,
    "description": "Messages of the odds feed, by the keys of its AMQP exchange",
    "subjects": [f"{ROOT}.>"],
    "storage": "file",
    # Limits: what was worked on can be looked at for a day.
    "retention": "limits",
    "discard": "old",
    "max_age": 86_400 * SECOND_NS,
    "max_bytes": 512 * 1024 * 1024,
    "max_msg_size": 1_048_576,
    "num_replicas": 1,
    "duplicate_window": 120 * SECOND_NS,
    "allow_direct": True,
}
CONSUMER: dict[str, Any] = {
    "stream_name": NAME,
    "config": {
        "durable_name": DURABLE,
        "name": DURABLE,
        "description": "Messages of the odds feed, to be acted on",
        "filter_subject": f"{ROOT}.>",
        "ack_policy": "explicit",
        "ack_wait": 30 * SECOND_NS,
        "max_deliver": -1,
        "max_ack_pending": 4 * BATCH,
    },
}
PUBLISHES = (
    f"$JS.API.CONSUMER.MSG.NEXT.{NAME}.{DURABLE}",
    f"$JS.ACK.{NAME}.{DURABLE}.>",
    f"{letters.ROOT}.{DURABLE}.{NAME.lower()}.*",
)


async def read(context: Context) -> None:
    """Take in what the stream holds, until cancelled."""

    async def work(message: tuple[Arrival, bytes]) -> None:
        await _take_in(*message, context.spawn())

    lanes = Lanes(work)
    async with Source(context.runtime, NAME, DURABLE, BATCH) as source:
        try:
            while True:
                for arrival, body in await source.take():
                    await lanes.take(arrival.subject.removeprefix(f"{ROOT}."), (arrival, body))
                await lanes.rest()
        finally:
            await lanes.stop()


async def _take_in(arrival: Arrival, body: bytes, context: Context) -> None:
    """Take in or park one message; acknowledged once it is stored, since then it is not lost."""
    try:
        try:
            await feed.take_in(body, context)
        except Unavailable:
            raise
        except Exception as failure:
            # A fault of ours, too, is its failure alone: the others are to be heard all the same.
            if not isinstance(failure, Refused):
                context.log.exception("a message of the feed failed")
            await _park(arrival, body, failure, context)
        else:
            arrival.ended()
    except (NatsError, Unavailable) as failure:
        context.log.warning("a message of the feed waits", cause=str(failure))
        arrival.give_back(RETRY_S)


async def _park(arrival: Arrival, body: bytes, failure: Exception, context: Context) -> None:
    """Make a dead letter of a message; raises Unavailable or NatsError."""
    await letters.park(
        context.runtime,
        DURABLE,
        NAME,
        arrival.sequence,
        body,
        subject=arrival.subject,
        attempts=arrival.attempts,
        failure=failure,
    )
    arrival.ended(parked=True)
    context.log.warning("message refused", subject=arrival.subject, cause=str(failure))
