"""Fast ingest: many events to one stream with one acknowledgement for all of them.

The batched publishing of NATS 2.14 (ADR-50): the reply subject of each message carries the batch,
its place in it and what it is (`<inbox>.<batch>.<flow>.<on gap>.<place>.<operation>.$FI`). The
server acknowledges the last one after all are stored. Each message keeps its `Nats-Msg-Id`, so what
is sent again after a lost answer is stored once.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from nats.errors import Error as NatsError

from svc.mesh.connection import Connection, Message
from svc.mesh.errors import TimedOut, Unavailable
from svc.mesh.parcels import Parcel
from svc.mesh.wire import INBOX_ROOT, NO_RESPONDERS, STATUS_HEADER, decoder

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH_MAX = 500
"""Messages of one batch: as many as the server takes before it says how it goes."""
START, APPEND, COMMIT = 0, 1, 2
WAIT_S = 3.0


class Told(msgspec.Struct):
    """What a stream says of a batch: how it goes, that all of it is stored, or what is wrong."""

    type: str = ""
    seq: int = 0
    count: int = 0
    error: dict[str, Any] | None = None


class Ingest:
    """Sends batches of one service instance, one after the other or side by side."""

    def __init__(self, connection: Connection, service: str, instance: str) -> None:
        """Prepare; `start` subscribes."""
        self.connection = connection
        self.instance = instance
        self.inbox = f"{INBOX_ROOT}.{service}.{instance}.ingest."
        self.count = 0
        self.waiting: dict[str, Callable[[Told], None]] = {}

    async def start(self) -> None:
        """Subscribe the inbox of this instance."""
        await self.connection.listen(self.inbox + ">", self._told)

    async def publish(self, parcels: Sequence[Parcel]) -> None:
        """Publish messages to the one stream of all; returns when all are stored.

        Raises TimedOut or Unavailable; some of them may be stored then, and the ids make it
        harmless to publish all again.
        """
        self.count += 1
        batch = f"{self.instance}-{self.count}"
        stored: asyncio.Future[Told] = asyncio.get_running_loop().create_future()

        def told(answer: Told) -> None:
            if not stored.done() and (answer.error is not None or answer.type != "ack"):
                stored.set_result(answer)

        self.waiting[batch] = told
        began = time.perf_counter()
        try:
            self._send(batch, parcels)
            async with asyncio.timeout(WAIT_S):
                answer = await stored
        except NatsError as failure:
            raise Unavailable(f"NATS does not take events: {failure}") from failure
        except TimeoutError as failure:
            waited = time.perf_counter() - began
            raise TimedOut(f"the stream said nothing for {waited:.1f} s") from failure
        finally:
            del self.waiting[batch]
        if answer.error is not None or answer.count != len(parcels):
            raise Unavailable(f"{parcels[0].subject} was not stored: {answer.error or answer}")

    def _send(self, batch: str, parcels: Sequence[Parcel]) -> None:
        send, last = self.connection.send, len(parcels)
        start = f"{self.inbox}{batch}.{BATCH_MAX}.fail."
        for place, parcel in enumerate(parcels, 1):
            operation = COMMIT if place == last else START if place == 1 else APPEND
            reply = f"{start}{place}.{operation}.$FI"
            send(parcel.subject, parcel.body, reply, parcel.headers())

    def _told(self, message: Message) -> None:
        told = self.waiting.get(message.subject[len(self.inbox) :].partition(".")[0])
        if told is None:
            return
        if message.headers and message.headers.get(STATUS_HEADER) == NO_RESPONDERS:
            told(Told(error={"description": "no stream takes it: run `./just migrate`"}))
        else:
            told(decoder(Told).decode(message.data))
