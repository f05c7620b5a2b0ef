"""Messages of a durable consumer, as many asked for as there is room for, none of them kept back.

nats-py's `fetch` goes on waiting with a message in its hands: one that comes as a request expires
can be kept back until the next one has expired, too, and after a reconnect nothing comes before
that. Here whatever comes is handed on at once, and after a reconnect it is asked for again.
"""

import asyncio
import time
from collections.abc import Callable, Sized
from types import TracebackType
from typing import TYPE_CHECKING, Self

import msgspec
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from svc.mesh.delivery import ACKS, Arrival
from svc.mesh.wire import COPIED

if TYPE_CHECKING:
    from svc.mesh.connection import Message
    from svc.mesh.runtime import Runtime

EXPIRES_S = 30
GRACE_S = 5
"""So long after that nothing is believed to be asked for, should the server not have said so."""
BYTES = 2 * 1024 * 1024
"""What one request brings, or one message if that is larger: a message may hold many events."""
AROUND_BYTES = 65_536
"""What a message has besides its payload, generously: its subject, its reply, its headers."""
ABSENT_S = 0.5
"""So long after the server said that there is no such consumer it is asked again."""
ENDED = {"404", "408", "409", "503"}
"""The server's words for a request that brings no more."""


class Pulling:
    """Keeps `window` messages asked for or in hand; hands on each to `deliver` as it comes.

    `held` is what is in hand: whoever takes messages out of it, or changes the window, wakes it.
    """

    def __init__(
        self,
        runtime: "Runtime",
        stream: str,
        durable: str,
        deliver: "Callable[[Message], None]",
        *,
        held: Sized,
        window: int,
    ) -> None:
        """Prepare; `start` begins to ask."""
        self.runtime = runtime
        self.stream, self.durable = stream, durable
        self.deliver = deliver
        self.held, self.window = held, window
        self.inbox = f"_INBOX.{runtime.service.name}.{runtime.instance}.pull.{stream}"
        self.asked = 0
        self.asked_until = 0.0
        self.era = 0
        """Requests of an earlier one are forgotten; that they ended says nothing of the others."""
        self.woken = asyncio.Event()
        self.subscription: Subscription | None = None
        self.task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Subscribe the inbox and begin to ask."""
        self.subscription = await self.runtime.connection.listen(self.inbox + ".*", self._take)
        self.task = asyncio.create_task(self._ask())
        self.runtime.pulls.append(self)

    async def drain(self) -> None:
        """Ask no more, and hand on what is on its way: else it would come again after ack_wait."""
        if self in self.runtime.pulls:
            self.runtime.pulls.remove(self)
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
        if self.subscription is not None:
            await self.subscription.drain()

    def wake(self) -> None:
        """Look again how much there is room for."""
        self.woken.set()

    def lost_connection(self) -> None:
        """Forget what was asked for: the server forgot it too. Called after a reconnect."""
        self._forget()
        self.wake()

    def _forget(self) -> None:
        self.asked = 0
        self.era += 1

    async def _ask(self) -> None:
        while True:
            if self.asked and self.asked_until <= time.monotonic():
                self._forget()
            free = self.window - len(self.held) - self.asked
            if free > 0 and (self.asked == 0 or free >= self.window // 2):
                await self._ask_for(free)
            self.woken.clear()
            try:
                async with asyncio.timeout(max(self.asked_until - time.monotonic(), ABSENT_S)):
                    await self.woken.wait()
            except TimeoutError:
                continue

    async def _ask_for(self, count: int) -> None:
        """Send a request; without a connection it would only leave beside those made after it."""
        connection = self.runtime.connection
        if not connection.is_connected:
            return
        request = {
            "batch": count,
            "max_bytes": max(BYTES, connection.max_payload + AROUND_BYTES),
            "expires": int(EXPIRES_S * 1e9),
        }
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self.stream}.{self.durable}"
        body = msgspec.json.encode(request)
        try:
            await connection.publish(subject, body, reply=f"{self.inbox}.{self.era}")
        except NatsError as failure:
            self.runtime.log.warning("pull failed", stream=self.stream, cause=str(failure))
            return
        self.asked += count
        self.asked_until = time.monotonic() + EXPIRES_S + GRACE_S

    def _take(self, message: "Message") -> None:
        if message.reply.startswith(ACKS):
            self.asked = max(self.asked - 1, 0)
            self.deliver(message)
            return
        told = message.headers or {}
        if told.get("Status") in ENDED and message.subject == f"{self.inbox}.{self.era}":
            self._ended(told)
            self.wake()

    def _ended(self, told: dict[str, str]) -> None:
        """Count out what a request that ended still stood for."""
        left = told.get("Nats-Pending-Messages", "")
        if left.isdigit():
            self.asked = max(self.asked - int(left), 0)
            return
        # It was refused as a whole, and would be again now.
        why = told.get("Description") or "no such consumer"
        self.runtime.log.warning(why, stream=self.stream, name=self.durable)
        self._forget()
        self.asked, self.asked_until = self.window, time.monotonic() + ABSENT_S


class Source:
    """What a service reads that is no event of the mesh: so many messages in hand at most.

    `async with` begins and ends it; what did not end by then is given back at once. What the server
    has copied here from elsewhere is dropped (see EXPECTED_STREAM: who publishes these sends none).
    """

    def __init__(self, runtime: "Runtime", stream: str, durable: str, at_once: int) -> None:
        """Prepare to have at most `at_once` messages in hand."""
        self.connection = runtime.connection
        self.held: list[tuple[Arrival, bytes]] = []
        self.taken = 0
        self.came = asyncio.Event()
        self.pulling = Pulling(runtime, stream, durable, self._keep, held=self.held, window=at_once)

    async def __aenter__(self) -> Self:
        """Begin to ask for messages."""
        await self.pulling.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ask no more and give back what is in hand."""
        await self.pulling.drain()
        for arrival, _ in self.held:
            if arrival.open:
                arrival.give_back(0.0)

    async def take(self) -> list[tuple[Arrival, bytes]]:
        """Return what has come since the last time, in order; wait for the first.

        Of each arrival is to be said that it `ended`; those of the last time are in hand no longer.
        """
        del self.held[: self.taken]
        self.taken = 0
        self.pulling.wake()
        while not self.held:
            self.came.clear()
            await self.came.wait()
        self.taken = len(self.held)
        return self.held.copy()

    def _keep(self, message: "Message") -> None:
        arrival = Arrival(self.connection, message)
        if message.headers and COPIED in message.headers:
            # The server was had to store it here: nobody who may publish did.
            self.pulling.runtime.log.error("not published by who may", subject=message.subject)
            arrival.drop()
            return
        self.held.append((arrival, message.data))
        self.came.set()
