"""The connection to NATS: nats-py's client, with a short way in and out for calls.

nats-py hands each message through a queue and a task of its subscription, and each publication
through five coroutines: more than a small handler costs. Here what arrives on a `listen`ed subject
goes straight to its sink (svc/mesh/incoming.py), and what is sent in one turn of the event loop is
written as one piece. Connecting, reconnecting and everything else are nats-py's own. It leans on
names that nats-py keeps to itself, so its version is pinned to one minor release.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from nats import errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from svc.mesh.incoming import WORDS_WITH_REPLY, Incoming, Message

UNSENT_BYTES_MAX = 32 * 1024 * 1024
"""How much may wait for a broker that is connected but does not read."""

WRITE_BYTES = 65_536
"""What waits leaves at the end of a turn of the event loop, or before that when it is so much.

A write wakes the broker, and that costs more than all it does with what was written.
"""

HEADERS_MAX = 4_096
"""What our own headers take of the broker's largest payload, generously: it counts them in."""

Sink = Callable[[Message], None]
"""Takes a message at once: it must not wait, and what it raises is reported as an error."""


class Connection(Client):
    """One service instance's connection."""

    def __init__(self) -> None:
        """Prepare; `connect` connects."""
        super().__init__()
        self.sinks: dict[bytes, Sink] = {}
        self._ps = Incoming(self)
        self.leaving = False
        self.departing: deque[Callable[[], None]] = deque()
        self.hasty: object = None

    @property
    def answer_max(self) -> int:
        """Return how many bytes an answer may have, beside the headers that we add."""
        return self.max_payload - HEADERS_MAX

    async def listen(self, subject: str, sink: Sink, queue: str = "") -> Subscription:
        """Subscribe; every message goes to the sink in the order of arrival."""

        async def early(message: Msg) -> None:
            """Take what arrives before the sink is known by its number."""
            sink(Message(message.subject, message.reply, message.data, message.headers))

        subscription = await self.subscribe(subject, queue=queue, cb=early)
        self.sinks[b"%d" % subscription._id] = sink  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] -- see the module's docstring
        return subscription

    async def deliver(self, words: list[bytes], body: bytes) -> None:
        """Hand on a message with headers, or one of nats-py's own subscriptions.

        `words` are those of its line: (H)MSG subject sid [reply] [size of headers] size.
        """
        has_headers = words[0] == b"HMSG"
        headers_end = int(words[-2]) if has_headers else 0
        reply = words[3] if len(words) == WORDS_WITH_REPLY + has_headers else b""
        headers, data = body[:headers_end], body[headers_end:]
        sink = self.sinks.get(words[2])
        if sink is None:
            await self._process_msg(int(words[2]), words[1], reply, data, headers)
            return
        self.stats["in_msgs"] += 1
        self.stats["in_bytes"] += len(data)
        known: dict[str, str] | None = await self._process_headers(headers)
        try:
            sink(Message(words[1].decode(), reply.decode(), data, known))
        except Exception as failure:  # noqa: BLE001  # one message must not end the reading
            await self.report(failure)

    async def report(self, failure: Exception) -> None:
        """Tell whoever looks after the connection."""
        await self._error_cb(failure)

    def send(
        self, subject: str, data: bytes, reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        """Publish without waiting; what cannot leave now leaves after the reconnection.

        The subject and the headers are our own words, valid as they are. Raises nats.errors.Error
        when the connection is closed, the message too large, or too much waits already.
        """
        if self.is_closed:
            raise errors.ConnectionClosedError
        size = len(data)
        head = b""
        if headers:
            lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
            head = f"NATS/1.0\r\n{lines}\r\n".encode()
            size += len(head)
        if size > self._max_payload:
            raise errors.MaxPayloadError
        connected = self.is_connected
        room = UNSENT_BYTES_MAX if connected else self._max_pending_size
        if size + self._pending_data_size > room:
            raise errors.OutboundBufferLimitError
        if headers:
            line = f"HPUB {subject} {reply} {len(head)} {size}\r\n".encode()
            command = b"%b%b%b\r\n" % (line, head, data)
        else:
            command = b"%b%b\r\n" % (f"PUB {subject} {reply} {size}\r\n".encode(), data)
        self.stats["out_msgs"] += 1
        self.stats["out_bytes"] += size
        self._pending.append(command)
        self._pending_data_size += len(command)
        if not connected:
            return  # leaves with the reconnection
        if self._pending_data_size > WRITE_BYTES:
            self._write()
        else:
            self._leave_soon()

    def before_leaving(self, depart: Callable[[], None]) -> None:
        """Call back at the end of this turn, before what was sent in it is written."""
        self.departing.append(depart)
        self._leave_soon()

    def _leave_soon(self) -> None:
        if not self.leaving:
            self.leaving = True
            asyncio.get_running_loop().call_soon(self._leave)

    def _leave(self) -> None:
        try:
            while self.departing:
                self.departing.popleft()()
        finally:
            self.leaving = False
            if self.departing:  # one of them raised: the others leave all the same
                self._leave_soon()
            if self._pending and self.is_connected:
                self._write()

    def _write(self) -> None:
        """Write what waits, unless so much is under way that nats-py's flusher must wait for it."""
        writer = getattr(self._transport, "_io_writer", None)
        transport = writer.transport if writer and self.is_connected else None
        if (
            transport is not None
            and not transport.is_closing()
            and transport.get_write_buffer_size() < WRITE_BYTES
        ):
            if transport is not self.hasty:
                # uvloop would keep what is written until the end of the turn.
                transport.set_write_buffer_limits(high=0)
                self.hasty = transport
            pending, self._pending, self._pending_data_size = self._pending, [], 0
            transport.write(b"".join(pending))
            return
        queue = self._flush_queue
        if queue is not None and queue.empty():
            queue.put_nowait(asyncio.get_running_loop().create_future())
