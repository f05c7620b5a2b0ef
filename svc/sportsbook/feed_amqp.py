"""The feed's third transport: its own AMQP exchange, read where `BETRADAR_AMQP_URL` names it.

`amqps://<access token>@<host>:5671/%2Funifiedfeed%2F<bookmaker>`; `?cafile=` names an authority
that the system does not know. The client is the library `aio-pika`, which is imported only then.

Every instance reads all messages from a queue of its own that goes with its connection: what comes
twice changes nothing, as with any transport. So what is sent while an instance has no connection
never comes to it, and each connection, be it the first, begins with all producers down: each is up
again after the recovery that is asked for at its next alive, from what was worked on before.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Protocol

from svc.mesh import letters
from svc.mesh.context import Context
from svc.mesh.errors import Refused, Unavailable
from svc.mesh.settings import MissingSetting
from svc.sportsbook import feed, feed_recovery
from svc.sportsbook.feed_lanes import Lanes

SETTING = "BETRADAR_AMQP_URL"
STREAM = "amqp"
"""Where a dead letter came from; the other transports' letters name the stream that has them."""
PUBLISHES = (f"{letters.ROOT}.sportsbook.{STREAM}.*",)
FIRST_PAUSE_S, LAST_PAUSE_S = 0.5, 30.0
RETRY_S = 1.0
LETTER_BYTES_MAX = 512 * 1024
"""A letter must fit into a message of the broker; what is longer is no message of the feed."""


class Delivery(Protocol):
    """A message of the exchange, as the library hands it over."""

    @property
    def body(self) -> bytes:
        """The message as it came."""
        ...

    @property
    def routing_key(self) -> str | None:
        """Its key, such as `hi.-.live.odds_change.1.sr:match.1234.-`."""
        ...

    def ack(self) -> Coroutine[object, object, None]:
        """Let the exchange forget it."""
        ...


class Standing:
    """Whether the exchange is read, and if not why; `/readyz` shows it as `feed_amqp`."""

    def __init__(self) -> None:
        """Nothing was tried yet."""
        self.connected = False
        self.cause = "not connected yet"
        self.failures = 0

    def told(self) -> dict[str, object]:
        """Return it as a document."""
        return {"connected": self.connected, "cause": self.cause, "failures": self.failures}


class Intake:
    """Takes messages in as they come, of several events at a time; acknowledges what is safe."""

    def __init__(self, context: Context, gone: Sequence[type[Exception]] = ()) -> None:
        """Take in for one service; `gone` is what acknowledging raises without a connection."""
        self.context = context
        self.gone = tuple(gone)
        self.lanes = Lanes(self._bring)

    async def take(self, message: Delivery) -> None:
        """Take in one message, or begin to; to be called in the order in which they came."""
        await self.lanes.take(message.routing_key or "", message)

    async def rest(self) -> None:
        """Wait until all that was begun is done."""
        await self.lanes.rest()

    async def stop(self) -> None:
        """Begin nothing more; what is not done yet was not acknowledged, a recovery brings it."""
        await self.lanes.stop()

    async def _bring(self, message: Delivery) -> None:
        context = self.context.runtime.context()
        while not await self._is_safe(message, context):  # noqa: ASYNC110 - no event tells it
            await asyncio.sleep(RETRY_S)
        # Without the connection nobody waits for this any more, and it is safe all the same.
        with suppress(*self.gone):
            await message.ack()

    async def _is_safe(self, message: Delivery, context: Context) -> bool:
        """Take in or park a message; False when neither can be done now."""
        try:
            try:
                await feed.take_in(message.body, context)
            except Refused as refusal:
                await self._park(message, refusal, context)
            except Unavailable:
                raise
            except Exception as failure:  # it would fail again, and nothing after it would come
                context.log.exception("a message of the feed failed")
                await self._park(message, failure, context)
        except Unavailable as failure:
            context.log.warning("a message of the feed waits", cause=failure.detail)
            return False
        return True

    async def _park(self, message: Delivery, failure: Exception, context: Context) -> None:
        """Leave a dead letter whose number follows from the message: many copies are one letter."""
        number = int.from_bytes(sha256(message.body).digest()[:8])
        await letters.park(
            context.runtime,
            context.service,
            STREAM.upper(),
            number,
            message.body[:LETTER_BYTES_MAX],
            subject=message.routing_key or "",
            attempts=1,
            failure=failure,
        )
        context.log.warning("message refused", subject=message.routing_key, cause=str(failure))


async def begin(context: Context) -> None:
    """Read the exchange beside everything else, if there is one; it may be away."""
    try:
        url = context.setting(SETTING)
    except MissingSetting:
        return
    standing = Standing()
    context.runtime.notes["feed_amqp"] = standing.told
    feed_recovery.beside(read(url, standing, context.spawn()), context)


async def read(url: str, standing: Standing, context: Context) -> None:
    """Take in what the exchange sends, until cancelled; without it try again, ever more rarely."""
    from svc.sportsbook import feed_amqp_link  # with the library: only who reads pays for it

    pause_s = FIRST_PAUSE_S
    while True:
        link = feed_amqp_link.Link(url, standing, context)
        try:
            standing.cause = await link.read()
        except Unavailable as failure:
            standing.cause = failure.detail
        except Exception as failure:  # when this loop ends, nothing of this transport is heard
            context.log.exception("the feed's exchange cannot be read")
            standing.cause = repr(failure)
        pause_s = FIRST_PAUSE_S if link.heard else pause_s
        standing.failures += 1
        cause = standing.cause
        context.log.warning("the feed's exchange is not read", cause=cause, again_in_s=pause_s)
        if standing.connected:
            standing.connected = False
            await _lost(context)
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, LAST_PAUSE_S)


async def _lost(context: Context) -> None:
    """Take bets on nothing that may have changed; the next connection does so again."""
    try:
        await feed_recovery.interrupted(context)
    except Unavailable as failure:
        context.log.warning("producers stay as they are", cause=failure.detail)
