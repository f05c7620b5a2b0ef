"""The feed's second transport: NATS subjects that mirror the keys of the feed's AMQP exchange.

`uof.hi.-.live.odds_change.1.sr:match.1234.-` is the AMQP key with `uof.` before it, so a bridge
only copies messages. The stream keeps them until they are worked on; one that is refused goes to
the dead letters with the reason. All instances share the messages of a bridge; `feed_amqp.py`
reads the exchange without one.
"""

import asyncio
from typing import Any

from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from svc.mesh import letters
from svc.mesh.context import Context
from svc.mesh.errors import Refused, Unavailable
from svc.sportsbook import feed

NAME, DURABLE = "UOF", "sportsbook"
ROOT = "uof"
SECOND_NS = 1_000_000_000
BATCH = 32
"""Messages that are worked on at once; those about one event wait for each other."""
PULL_S = 30.0
RETRY_S = 1.0

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
    subscription = None
    while True:
        try:
            if subscription is None:
                subscription = await context.runtime.jetstream.pull_subscribe_bind(
                    DURABLE, stream=NAME
                )
            messages = await subscription.fetch(BATCH, timeout=PULL_S)
            await asyncio.gather(*(_take_in(message, context.spawn()) for message in messages))
        except TimeoutError:  # nothing came; at times the client's own error, at times asyncio's
            continue
        except (NatsError, Unavailable) as failure:
            context.log.warning("the feed's stream cannot be read", cause=str(failure))
            await asyncio.sleep(RETRY_S)
        except Exception:
            # Whatever it was: when this loop ends, nothing of this transport is heard any more.
            context.log.exception("the feed's stream cannot be read")
            await asyncio.sleep(RETRY_S)


async def _take_in(message: Msg, context: Context) -> None:
    """Take in one message; acknowledged once it is stored, since from then on it is not lost."""
    try:
        await feed.take_in(message.data, context)
    except Refused as refusal:
        await _park(message, refusal, context)
    except Unavailable as failure:
        context.log.warning("a message of the feed waits", cause=failure.detail)
        await message.nak(delay=RETRY_S)
    else:
        await message.ack()


async def _park(message: Msg, refusal: Refused, context: Context) -> None:
    await letters.park(
        context.runtime,
        DURABLE,
        NAME,
        message.metadata.sequence.stream,
        message.data,
        subject=message.subject,
        attempts=1,
        failure=refusal,
    )
    await message.term()
    context.log.warning("message refused", subject=message.subject, cause=refusal.detail)
