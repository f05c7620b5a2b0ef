"""One connection to the feed's exchange: its queue, its bindings and its end.

The library's connections that mend themselves are not used: they hide the very gap that asks for a
recovery, and they try again at a fixed pace.
"""

import asyncio
import logging
from contextlib import suppress

from aio_pika import Connection
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from aio_pika.exceptions import (
    CONNECTION_EXCEPTIONS,
    AuthenticationError,
    InvalidFrameError,
    ProbableAuthenticationError,
)
from yarl import URL

from svc.mesh.context import Context
from svc.mesh.errors import Unavailable
from svc.sportsbook import feed_recovery
from svc.sportsbook.feed_amqp import Intake, Standing
from svc.sportsbook.feed_api import NODE_ID

EXCHANGE = "unifiedfeed"
KEYS = ("*.*.*.*.*.*.*.-.#", f"*.*.*.*.*.*.*.{NODE_ID}.#")
"""What is for everybody, and what was sent again for us; other nodes' recoveries are not ours."""
PREFETCH = 64
HEARTBEAT_S = 10
CONNECT_S = 10.0
NO_PASSWORD = "guest"  # noqa: S105 - AMQP's usual one: the feed's access token is the user
SCHEMES = {"amqp", "amqps"}
TROUBLE = (*CONNECTION_EXCEPTIONS, TimeoutError, ValueError, KeyError)

for _name in ("aio_pika", "aiormq"):
    # Of every failure we tell ourselves, once and without tracebacks.
    logging.getLogger(_name).setLevel(logging.CRITICAL)


class Link:
    """A connection, from its beginning to its end; `heard` tells whether a message came."""

    def __init__(self, url: str, standing: Standing, context: Context) -> None:
        """Prepare; nothing is connected yet."""
        self.url = url
        self.standing = standing
        self.context = context
        self.heard = False
        self.coming: asyncio.Queue[AbstractIncomingMessage | str] = asyncio.Queue()
        self.intake = Intake(context, CONNECTION_EXCEPTIONS)

    async def read(self) -> str:
        """Take in messages until the connection ends, and return why it did.

        Raises Unavailable when there is no connection to be had, or no database.
        """
        try:
            connection = await self._connected()
        except TROUBLE as failure:
            raise Unavailable(why(failure)) from failure
        try:
            return await self._subscribed_until_its_end(connection)
        except TROUBLE as failure:
            raise Unavailable(why(failure)) from failure
        finally:
            try:
                await self.intake.stop()
            finally:
                # Also when this is cancelled once more: one that is forgotten open complains.
                with suppress(*TROUBLE):
                    await connection.close()

    async def _connected(self) -> AbstractConnection:
        url = URL(self.url)
        if url.scheme not in SCHEMES or not url.host:
            raise ValueError("BETRADAR_AMQP_URL is not like amqps://token@host:5671/%2Fvhost")
        if "heartbeat" not in url.query:
            url = url.update_query(heartbeat=HEARTBEAT_S)
        if not url.password:
            url = url.with_password(NO_PASSWORD)
        connection = Connection(url)
        try:
            async with asyncio.timeout(CONNECT_S):
                await connection.connect()
        except BaseException:
            # Left open it would close itself whenever it is collected, if a loop runs by then.
            await connection.close()
            raise
        return connection

    async def _subscribed_until_its_end(self, connection: AbstractConnection) -> str:
        async with asyncio.timeout(CONNECT_S):
            channel = await connection.channel(publisher_confirms=False)
            channel.close_callbacks.add(self._ended)
            own = await channel.get_underlay_channel()
            own.on_consumer_cancel_callbacks.add(self._cancelled)
            await channel.set_qos(prefetch_count=PREFETCH)
            queue = await channel.declare_queue(exclusive=True, auto_delete=True)
            for key in KEYS:
                await queue.bind(EXCHANGE, key)
        # From here on nothing is missed; what was sent before is not in the queue.
        await feed_recovery.interrupted(self.context)
        await queue.consume(self.coming.put, timeout=CONNECT_S)
        self.standing.connected, self.standing.cause = True, ""
        self.context.log.info("the feed's exchange is read")
        while not isinstance(message := await self.coming.get(), str):
            self.heard = True
            await self.intake.take(message)
        await self.intake.rest()
        return message

    def _ended(self, _: AbstractChannel | None, failure: BaseException | None) -> None:
        self.coming.put_nowait(f"the connection ended: {why(failure)}")

    def _cancelled(self, _: object) -> None:
        self.coming.put_nowait("the exchange took the queue away")


def why(failure: BaseException | None) -> str:
    """Return in a sentence what is wrong, for those who run this service."""
    if isinstance(failure, AuthenticationError | ProbableAuthenticationError):
        return f"the exchange refuses the user, the password or the virtual host: {failure}"
    if isinstance(failure, InvalidFrameError):
        return "the exchange ends the connection at its beginning; is its virtual host right?"
    if isinstance(failure, TimeoutError):
        return f"no answer within {CONNECT_S:g} s"
    return (str(failure) or type(failure).__name__) if failure else "it was closed"
