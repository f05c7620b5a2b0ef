"""One delivered event: which aggregate it is about, how often it came, what the server is told."""

import time
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from svc.mesh.wire import decoder

if TYPE_CHECKING:
    from svc.mesh.connection import Connection, Message

ACKS = "$JS.ACK."
WITHOUT_DOMAIN = 9
"""Tokens of a reply subject of a server that tells neither its domain nor its account."""


class Head(Struct):
    """The part of an envelope that decides who works on it, and in which order."""

    subject: str = ""
    type: str = ""


class Delivery:
    """An event in hand, from its arrival until the server has been told what became of it."""

    __slots__ = (
        "alone", "attempts", "connection", "data", "key", "kind", "reply", "sequence", "since",
        "subject",
    )  # fmt: skip

    def __init__(self, connection: "Connection", message: "Message") -> None:
        """Read what the server and the envelope say; what is no envelope has empty names."""
        tokens = message.reply.split(".")
        begin = 4 if len(tokens) == WITHOUT_DOMAIN else 6
        self.connection = connection
        self.data = message.data
        self.subject = message.subject
        self.reply = message.reply
        self.attempts = int(tokens[begin])
        self.sequence = int(tokens[begin + 1])
        self.since = time.monotonic()
        self.alone = False
        try:
            head = decoder(Head).decode(message.data)
            self.key, self.kind = head.subject, head.type
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.key = self.kind = ""

    def done(self) -> None:
        """Say that it took effect; raises nats.errors.Error without a connection."""
        self.connection.send(self.reply, b"+ACK")

    def at_work(self) -> None:
        """Say that it is still in hand; raises as `done`."""
        self.connection.send(self.reply, b"+WPI")

    def again(self, delay_s: float = 0.0) -> None:
        """Give it back, to come again after a delay; raises as `done`."""
        self.connection.send(self.reply, b'-NAK {"delay": %d}' % int(delay_s * 1e9))

    def parked(self) -> None:
        """Say that it will never be asked for again; raises as `done`."""
        self.connection.send(self.reply, b"+TERM")
