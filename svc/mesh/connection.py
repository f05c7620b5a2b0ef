"""The connection to NATS: nats-py's client, with a short way in and out for calls.

nats-py hands each message through a queue and a task of its subscription, and each publication
through five coroutines: more than a small handler costs. Here what arrives on a `listen`ed subject
goes straight to its sink, and `send` only appends to what the client's flusher writes. Connecting,
reconnecting, the protocol and everything else are nats-py's own. It leans on names that nats-py
keeps to itself, so its version is pinned to one minor release.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from nats import errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription


class Message:
    """What arrived; `headers` is None when there were none."""

    __slots__ = ("data", "headers", "reply", "subject")

    def __init__(
        self, subject: str, reply: str, data: bytes, headers: dict[str, str] | None
    ) -> None:
        """Keep the parts."""
        self.subject = subject
        self.reply = reply
        self.data = data
        self.headers = headers


UNSENT_BYTES_MAX = 32 * 1024 * 1024
"""How much may wait for a broker that is connected but does not read."""

Sink = Callable[[Message], None]
"""Takes a message at once: it must not wait, and what it raises is reported as an error."""


class Connection(Client):
    """One service instance's connection."""

    def __init__(self) -> None:
        """Prepare; `connect` connects."""
        super().__init__()
        self.sinks: dict[int, Sink] = {}

    async def listen(self, subject: str, sink: Sink, queue: str = "") -> Subscription:
        """Subscribe; every message goes to the sink in the order of arrival."""

        async def early(message: Msg) -> None:
            """Take what arrives before the sink is known by its number."""
            sink(Message(message.subject, message.reply, message.data, message.headers))

        subscription = await self.subscribe(subject, queue=queue, cb=early)
        self.sinks[subscription._id] = sink  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] -- see the module's docstring
        return subscription

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: Any
    ) -> None:
        sink = self.sinks.get(sid)
        if sink is None:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        self.stats["in_msgs"] += 1
        self.stats["in_bytes"] += len(data)
        known = await self._process_headers(headers) if headers else None
        try:
            sink(Message(subject.decode(), reply.decode(), data, known))
        except Exception as failure:  # noqa: BLE001  # one message must not end the reading
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
        if size > self._max_payload:
            raise errors.MaxPayloadError
        connected = self.is_connected
        room = UNSENT_BYTES_MAX if connected else self._max_pending_size
        if size + self._pending_data_size > room:
            raise errors.OutboundBufferLimitError
        if headers:
            lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
            head = f"NATS/1.0\r\n{lines}\r\n".encode()
            line = f"HPUB {subject} {reply} {len(head)} {len(head) + size}\r\n".encode()
            command = b"%b%b%b\r\n" % (line, head, data)
        else:
            command = b"%b%b\r\n" % (f"PUB {subject} {reply} {size}\r\n".encode(), data)
        self.stats["out_msgs"] += 1
        self.stats["out_bytes"] += size
        self._pending.append(command)
        self._pending_data_size += len(command)
        queue = self._flush_queue
        if connected and queue is not None and queue.empty():
            queue.put_nowait(asyncio.get_running_loop().create_future())
