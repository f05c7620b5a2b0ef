"""Reads what the broker sends: messages are cut from each piece of bytes as they lie in it.

nats-py's parser tries a regular expression per kind of line, copies each body twice and awaits a
coroutine per message: more than a small handler costs. Here a message of a `listen`ed subject goes
to its sink at once; whatever else there is (PING, INFO, errors, messages of nats-py's own
subscriptions) goes to nats-py, a line at a time.
"""

from typing import TYPE_CHECKING

from nats.errors import ProtocolError
from nats.protocol.parser import Parser

if TYPE_CHECKING:
    from svc.mesh.connection import Connection

LINE_END = b"\r\n"
MESSAGES = (b"MSG", b"HMSG")
WORDS_WITH_REPLY = 5
"""Of the line of a message without headers: MSG subject sid reply size."""


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


class Incoming(Parser):
    """The parser of one connection."""

    def __init__(self, connection: "Connection") -> None:
        """Nothing has come."""
        self.connection = connection
        self.resets = 0
        super().__init__(connection)

    def reset(self) -> None:
        """Forget what came of a message: a new connection begins anew."""
        super().reset()
        self.resets += 1
        self.kept: list[bytes] = []
        self.lacking = 0

    async def parse(self, data: bytes = b"") -> None:
        """Take the next bytes; hand on what is complete, keep the rest.

        Raises nats.errors.ProtocolError for what no broker sends.
        """
        if self.kept:
            # A large message comes in many pieces: they are put together once.
            self.kept.append(data)
            self.lacking -= len(data)
            if self.lacking > 0:
                return
            data = b"".join(self.kept)
            self.kept = []
        place = await self._messages(data)
        if place < len(data):
            self.kept = [data[place:]]

    async def _messages(self, data: bytes) -> int:
        """Hand on what is complete; return where the rest begins, and note how much it lacks."""
        connection, resets = self.connection, self.resets
        sinks, stats = connection.sinks, connection.stats
        place, end = 0, len(data)
        while place < end:
            line_end = data.find(LINE_END, place)
            if line_end < 0:
                self.lacking = 1
                break
            words = data[place:line_end].split()
            begin = line_end + 2
            if not words or words[0] not in MESSAGES:
                await super().parse(data[place:begin])
                if self.resets != resets:
                    return end  # that was the end of the connection
                place = begin
                continue
            stop = begin + size_of(words)
            if stop + 2 > end:
                self.lacking = stop + 2 - end
                break
            place = stop + 2
            sink = sinks.get(words[2]) if words[0] == b"MSG" else None
            if sink is None:
                await connection.deliver(words, data[begin:stop])
                continue
            stats["in_msgs"] += 1
            stats["in_bytes"] += stop - begin
            reply = words[3].decode() if len(words) == WORDS_WITH_REPLY else ""
            try:
                sink(Message(words[1].decode(), reply, data[begin:stop], None))
            except Exception as failure:  # noqa: BLE001  # one message must not end the reading
                await connection.report(failure)
        return place


def size_of(words: list[bytes]) -> int:
    """Return how many bytes follow the line of a message; raises ProtocolError when it has none."""
    try:
        return int(words[-1])
    except ValueError as failure:
        raise ProtocolError from failure
