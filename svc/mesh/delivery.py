"""One delivered event: which aggregate it is about, how often it came, what the server is told.

A message may hold many events. Each is worked on for itself; the server is told of their message
once, when all of them have ended.
"""

import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msgspec import Struct
from nats.errors import Error as NatsError

from svc.mesh.parcels import bodies
from svc.mesh.wire import EXPECTED_STREAM, UNREADABLE, decoder

if TYPE_CHECKING:
    from svc.mesh.connection import Connection, Message

ACKS = "$JS.ACK."
WITHOUT_DOMAIN = 9
"""Tokens of a reply subject of a server that tells neither its domain nor its account."""


class Head(Struct):
    """The part of an envelope that decides who works on it, and in which order."""

    subject: str = ""
    type: str = ""
    source: str = ""


def _begin(tokens: list[str]) -> int:
    """Return where a reply subject tells the attempt: behind it both sequences and the time.

    Before it are the stream and the consumer.
    """
    return 4 if len(tokens) == WITHOUT_DOMAIN else 6


class Arrival:
    """A message in hand, from its arrival until the server has been told what became of it.

    It is `foreign` when it was stored without its stream's own name: see EXPECTED_STREAM.
    """

    __slots__ = (
        "again_s",
        "attempts",
        "connection",
        "foreign",
        "open",
        "reply",
        "sequence",
        "since",
        "subject",
    )

    def __init__(self, connection: "Connection", message: "Message") -> None:
        """Read what the server says of it."""
        tokens = message.reply.split(".")
        begin = _begin(tokens)
        self.connection = connection
        self.subject = message.subject
        self.reply = message.reply
        self.attempts = int(tokens[begin])
        self.sequence = int(tokens[begin + 1])
        self.foreign = (message.headers or {}).get(EXPECTED_STREAM) != tokens[begin - 2]
        self.since = time.monotonic()
        self.open = 1
        self.again_s: float | None = None

    @property
    def stored_at(self) -> datetime:
        """Return when the stream stored it."""
        tokens = self.reply.split(".")
        nanoseconds = int(tokens[_begin(tokens) + 3])
        return datetime.fromtimestamp(nanoseconds / 1e9, UTC)

    def deliveries(self, data: bytes) -> "list[Delivery]":
        """Return its events, in order."""
        found = bodies(data)
        self.open = len(found)
        if len(found) == 1:
            return [Delivery(self, found[0])]
        return [Delivery(self, body, place) for place, body in enumerate(found, 1)]

    def at_work(self) -> None:
        """Say that it is still in hand; raises nats.errors.Error without a connection."""
        self.connection.send(self.reply, b"+WPI")

    def ended(self, *, again_s: float | None = None, parked: bool = False) -> None:
        """Note that one of its events has ended; with the last one the server is told.

        It comes again if one of them is to: what took effect has its row in the inbox.
        """
        if again_s is not None:
            self.again_s = max(again_s, self.again_s or 0.0)
        self.open -= 1
        if self.open:
            return
        if self.again_s is not None:
            self.connection.send(self.reply, b'-NAK {"delay": %d}' % int(self.again_s * 1e9))
        else:
            self.connection.send(self.reply, b"+TERM" if parked else b"+ACK")

    def drop(self) -> None:
        """Have it never come again; without a connection it does, and is dropped then."""
        with suppress(NatsError):
            self.ended(parked=True)

    def give_back(self, delay_s: float) -> None:
        """Have it come again after a delay; without a connection after the consumer's ack_wait."""
        with suppress(NatsError):
            self.ended(again_s=delay_s)


class Delivery:
    """An event in hand; `place` is the one in its message where that holds many, else 0."""

    __slots__ = ("alone", "arrival", "data", "key", "kind", "place", "publisher")

    def __init__(self, arrival: Arrival, data: bytes, place: int = 0) -> None:
        """Read what the envelope says; what is no envelope has empty names."""
        self.arrival = arrival
        self.data = data
        self.place = place
        self.alone = False
        try:
            head = decoder(Head).decode(data)
            self.key, self.kind, self.publisher = head.subject, head.type, head.source[1:]
        except UNREADABLE:
            self.key = self.kind = self.publisher = ""

    @property
    def sequence(self) -> int:
        """Return the place of its message in the stream."""
        return self.arrival.sequence

    def done(self) -> None:
        """Say that it took effect; raises nats.errors.Error without a connection."""
        self.arrival.ended()

    def again(self, delay_s: float = 0.0) -> None:
        """Give it back, to come again after a delay; raises as `done`."""
        self.arrival.ended(again_s=delay_s)

    def parked(self) -> None:
        """Say that it will never be asked for again; raises as `done`."""
        self.arrival.ended(parked=True)
