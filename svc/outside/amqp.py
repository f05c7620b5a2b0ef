"""A topic exchange over AMQP 0-9-1, as much of one as readers of the odds feed need.

PLAIN login, one virtual host, exclusive queues named by the server, bindings with `*` and `#`,
prefetch, acknowledgements, heartbeats, clean ends. What it does not know ends the connection with
540, as the protocol has it. Frames are those of `pamqp`.
"""

import asyncio
import secrets
import socket
from collections import deque
from contextlib import suppress
from typing import cast

from msgspec import Struct, field
from pamqp import body, commands, frame, header, heartbeat
from pamqp.common import FieldTable
from pamqp.exceptions import PAMQPException

HOST = "127.0.0.1"
GREETING = b"AMQP\x00\x00\x09\x01"
FRAME_HEAD_BYTES, FRAME_BYTES_MAX = 7, 131_072
FRAME_OVERHEAD_BYTES = 8
HEARTBEAT_S = 60
LOGIN_S = 10.0
ACCESS_REFUSED, NOT_FOUND, CHANNEL_ERROR, NOT_IMPLEMENTED = 403, 404, 504, 540
CAPABILITIES = cast(
    "FieldTable", {"consumer_cancel_notify": True, "authentication_failure_close": True}
)

Frame = frame.FrameTypes


class Ended(Exception):
    """The connection is to be closed, with the protocol's code and a sentence."""

    def __init__(self, code: int, sentence: str) -> None:
        """Keep code and sentence."""
        super().__init__(sentence)
        self.code = code


def matches(pattern: str, key: str) -> bool:
    """Tell whether a topic binding takes a key: `*` is one word, `#` any number of them."""

    def rest(wanted: list[str], words: list[str]) -> bool:
        if not wanted:
            return not words
        if wanted[0] == "#":
            return any(rest(wanted[1:], words[start:]) for start in range(len(words) + 1))
        return bool(words) and wanted[0] in {"*", words[0]} and rest(wanted[1:], words[1:])

    return rest(pattern.split("."), key.split("."))


class Queue(Struct, eq=False):
    """A reader's queue: what waits in it, what was sent and not acknowledged, and to whom."""

    name: str
    channel: int
    bindings: list[str] = field(default_factory=list[str])
    waiting: deque[tuple[str, bytes]] = field(default_factory=deque[tuple[str, bytes]])
    consumer: str = ""


class Channel(Struct, eq=False):
    """A channel: how much it takes without acknowledgement, and what it was sent."""

    prefetch: int = 0
    last_tag: int = 0
    unacknowledged: set[int] = field(default_factory=set[int])


class Exchange:
    """The exchange and its listening socket; `user` is the only one let in, by any password."""

    def __init__(self, name: str, user: str, vhost_root: str, port: int = 0) -> None:
        """Take the port, 0 for a free one, and let nobody in yet; raises OSError if it is taken."""
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((HOST, port))
        self.port = int(self._listener.getsockname()[1])
        self.name = name
        self.user = user
        self.vhost_root = vhost_root
        self.sessions: set[Session] = set()
        self.acknowledged = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Let readers in."""
        self._server = await asyncio.start_server(self._serve, sock=self._listener)

    async def stop(self) -> None:
        """Listen no more and cut every connection."""
        if self._server is not None:
            self._server.close()
        self._listener.close()
        await self.cut()

    async def cut(self) -> None:
        """Cut every connection in the middle of it all, as a failing network does."""
        tasks = [session.task for session in self.sessions]
        for session in self.sessions:
            session.writer.transport.abort()
        await asyncio.gather(*tasks, return_exceptions=True)

    def publish(self, key: str, message: bytes) -> int:
        """Give a message to every queue with a binding for its key, once; return how many."""
        found = [
            (session, queue)
            for session in self.sessions
            for queue in session.queues.values()
            if any(matches(pattern, key) for pattern in queue.bindings)
        ]
        for session, queue in found:
            queue.waiting.append((key, message))
            session.deliver()
        return len(found)

    def readers(self) -> int:
        """Return how many queues are being read."""
        return sum(bool(queue.consumer) for each in self.sessions for queue in each.queues.values())

    def unacknowledged(self) -> int:
        """Return how many messages are with readers."""
        return sum(
            len(channel.unacknowledged)
            for each in self.sessions
            for channel in each.channels.values()
        )

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = Session(self, reader, writer)
        self.sessions.add(session)
        try:
            await session.run()
        finally:
            self.sessions.discard(session)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


class Session:
    """One reader's connection; its queues go with it."""

    def __init__(
        self, exchange: Exchange, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Take over an accepted connection."""
        self.exchange = exchange
        self.reader = reader
        self.writer = writer
        self.task = cast("asyncio.Task[None]", asyncio.current_task())
        self.channels: dict[int, Channel] = {}
        self.queues: dict[str, Queue] = {}
        self.heartbeat_s = HEARTBEAT_S

    async def run(self) -> None:
        """Speak the protocol until either side ends it."""
        beating: asyncio.Task[None] | None = None
        with suppress(OSError, asyncio.IncompleteReadError, TimeoutError, PAMQPException):
            try:
                async with asyncio.timeout(LOGIN_S):
                    if not await self._let_in():
                        return
                beating = asyncio.create_task(self._beat())
                while await self._next():
                    await self.writer.drain()
            except Ended as ended:
                close = commands.Connection.Close(ended.code, str(ended), 0, 0)
                self._send(0, close)
                await self.writer.drain()
                async with asyncio.timeout(LOGIN_S):
                    while not isinstance((await self._receive())[1], commands.Connection.CloseOk):
                        pass
            finally:
                if beating is not None:
                    beating.cancel()
                    await asyncio.gather(beating, return_exceptions=True)

    async def _let_in(self) -> bool:
        if await self.reader.readexactly(len(GREETING)) != GREETING:
            self.writer.write(GREETING)
            return False
        told = cast("FieldTable", {"product": "odds feed", "capabilities": CAPABILITIES})
        self._send(0, commands.Connection.Start(0, 9, told, "PLAIN", "en_US"))
        _, answer = await self._receive()
        user = ""
        if isinstance(answer, commands.Connection.StartOk):
            _, user, _ = (f"{answer.response}\0\0").split("\0", 2)
        if user != self.exchange.user:
            raise Ended(ACCESS_REFUSED, "ACCESS_REFUSED - Login was refused using PLAIN")
        self._send(0, commands.Connection.Tune(0, FRAME_BYTES_MAX, HEARTBEAT_S))
        _, tuned = await self._receive()
        if isinstance(tuned, commands.Connection.TuneOk):
            self.heartbeat_s = tuned.heartbeat or HEARTBEAT_S
        _, opened = await self._receive()
        vhost = opened.virtual_host if isinstance(opened, commands.Connection.Open) else ""
        if not str(vhost).startswith(self.exchange.vhost_root):
            raise Ended(ACCESS_REFUSED, f"NOT_ALLOWED - no access to vhost {vhost}")
        self._send(0, commands.Connection.OpenOk())
        return True

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self.heartbeat_s / 2)
            self._send(0, heartbeat.Heartbeat())

    async def _receive(self) -> tuple[int, Frame]:
        head = await self.reader.readexactly(FRAME_HEAD_BYTES)
        size = int.from_bytes(head[3:7])
        if size > FRAME_BYTES_MAX:
            raise Ended(NOT_IMPLEMENTED, "FRAME_ERROR - this frame is too large")
        rest = await self.reader.readexactly(size + 1)
        _, channel, found = frame.unmarshal(head + rest)
        return channel, found

    def _send(self, channel: int, *frames: Frame) -> None:
        if not self.writer.is_closing():
            self.writer.write(b"".join(frame.marshal(each, channel) for each in frames))

    async def _next(self) -> bool:
        """Answer one frame; False when the reader ended the connection."""
        async with asyncio.timeout(2 * self.heartbeat_s):
            number, asked = await self._receive()
        if isinstance(asked, commands.Connection.Close):
            self._send(0, commands.Connection.CloseOk())
            return False
        if not isinstance(asked, heartbeat.Heartbeat | commands.Connection.CloseOk):
            answer = self._answer(number, asked)
            if answer is not None:
                self._send(number, answer)
            self.deliver()
        return True

    def _answer(self, number: int, asked: Frame) -> Frame | None:  # noqa: PLR0911 - one for each
        if isinstance(asked, commands.Channel.Open):
            self.channels[number] = Channel()
            return commands.Channel.OpenOk()
        if number not in self.channels and not isinstance(asked, commands.Channel.CloseOk):
            raise Ended(CHANNEL_ERROR, f"CHANNEL_ERROR - channel {number} is not open")
        match asked:
            case commands.Channel.Close():
                self._forget(number)
                return commands.Channel.CloseOk()
            case commands.Channel.CloseOk():
                return None
            case commands.Basic.Qos():
                self.channels[number].prefetch = asked.prefetch_count or 0
                return commands.Basic.QosOk()
            case commands.Queue.Declare():
                name = f"amq.gen-{secrets.token_urlsafe(12)}"
                self.queues[name] = Queue(name, number)
                return commands.Queue.DeclareOk(name, 0, 0)
            case commands.Queue.Bind() | commands.Basic.Consume():
                return self._of_queue(number, asked)
            case commands.Basic.Ack():
                return self._acknowledge(self.channels[number], asked)
            case _:
                raise Ended(NOT_IMPLEMENTED, f"NOT_IMPLEMENTED - {asked.name}")

    def _of_queue(self, number: int, asked: commands.Queue.Bind | commands.Basic.Consume) -> Frame:
        queue = self.queues.get(str(asked.queue))
        exchange = getattr(asked, "exchange", self.exchange.name)
        if queue is None or exchange != self.exchange.name:
            self._forget(number)
            missing = exchange if queue else asked.queue
            return commands.Channel.Close(NOT_FOUND, f"NOT_FOUND - there is no {missing}", 0, 0)
        if isinstance(asked, commands.Queue.Bind):
            queue.bindings.append(str(asked.routing_key))
            return commands.Queue.BindOk()
        queue.consumer = asked.consumer_tag or f"ctag-{secrets.token_urlsafe(12)}"
        return commands.Basic.ConsumeOk(queue.consumer)

    def _acknowledge(self, channel: Channel, asked: commands.Basic.Ack) -> None:
        tag, all_before = asked.delivery_tag or 0, bool(asked.multiple)
        sent = channel.unacknowledged
        ended = {each for each in sent if each == tag or (all_before and each < tag)}
        channel.unacknowledged -= ended
        self.exchange.acknowledged += len(ended)

    def _forget(self, number: int) -> None:
        self.channels.pop(number, None)
        for name in [each.name for each in self.queues.values() if each.channel == number]:
            del self.queues[name]

    def deliver(self) -> None:
        """Send what waits, as far as the reader has room for it."""
        for queue in self.queues.values():
            channel = self.channels[queue.channel]
            while queue.consumer and queue.waiting:
                if channel.prefetch and len(channel.unacknowledged) >= channel.prefetch:
                    return
                self._deliver(queue, channel, *queue.waiting.popleft())

    def _deliver(self, queue: Queue, channel: Channel, key: str, message: bytes) -> None:
        channel.last_tag += 1
        channel.unacknowledged.add(channel.last_tag)
        most = FRAME_BYTES_MAX - FRAME_OVERHEAD_BYTES
        parts = [message[start : start + most] for start in range(0, len(message), most)]
        self._send(
            queue.channel,
            commands.Basic.Deliver(
                queue.consumer,
                channel.last_tag,
                False,
                self.exchange.name,
                key,
            ),
            header.ContentHeader(0, len(message), commands.Basic.Properties()),
            *(body.ContentBody(part) for part in parts),
        )
