"""Listens to the whole broker as the read-only user `observer`, and says who talked to whom.

Nothing here trusts a service's word: the caller is the owner of the inbox that the answer goes to,
the hearer of an event is whoever acknowledged it, and both are guarded by the broker's permissions.
"""

import time
from dataclasses import dataclass, field

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg

from svc.mesh.wire import caller_of

NEGATIVE_ACKNOWLEDGEMENTS = (b"-NAK", b"+WPI", b"+TERM")
ACK_TOKENS_NEW = 12
"""Acknowledgement subjects of newer servers carry domain and account before the stream."""


class Header(msgspec.Struct):
    """The part of an event that tells who published what."""

    id: str
    type: str
    source: str
    subject: str = ""
    correlationid: str = ""


class Stored(msgspec.Struct):
    """A stream's word that it stored a message."""

    stream: str = ""
    seq: int = 0


@dataclass(frozen=True)
class Seen:
    """One thing that was seen: `at` in seconds of the monotonic clock."""

    at: float
    kind: str
    source: str
    target: str
    subject: str
    label: str
    topic: str = ""


@dataclass
class Wiretap:
    """What was seen so far."""

    connection: Client
    seen: list[Seen] = field(default_factory=list[Seen])
    stored: dict[tuple[str, int], Header] = field(default_factory=dict[tuple[str, int], Header])
    waiting: dict[str, Header] = field(default_factory=dict[str, Header])
    early: list[tuple[float, str, str, int]] = field(
        default_factory=list[tuple[float, str, str, int]]
    )

    async def start(self) -> None:
        """Begin to listen."""
        await self.connection.subscribe(">", cb=self._hear, pending_msgs_limit=-1)
        await self.connection.flush()

    async def _hear(self, message: Msg) -> None:
        subject = message.subject
        if subject.startswith("rpc."):
            _, service, _, verb = subject.split(".", 3)
            self._note("call", caller_of(message), service, subject, verb)
        elif ".events." in subject and not subject.startswith(("$", "dead.")):
            self._published(message)
        elif subject.startswith("$JS.ACK."):
            self._acknowledged(message)
        elif subject.startswith("$KV."):
            bucket = subject.split(".")[1]
            self._note("cache", bucket, "cache", subject, "put")
        elif subject.startswith("$JS.API.DIRECT.GET.KV_"):
            reader = caller_of(message)
            self._note("cache", reader, "cache", subject, "get")
        elif subject.startswith("live."):
            self._note("live", "", "User", subject, subject.split(".")[1])
        elif subject.startswith("_INBOX.") and message.reply == "" and self.waiting:
            self._stored(message)

    def _note(self, kind: str, source: str, target: str, subject: str, label: str) -> None:
        self.seen.append(Seen(time.monotonic(), kind, source, target, subject, label))

    def _published(self, message: Msg) -> None:
        try:
            header = msgspec.json.decode(message.data, type=Header)
        except msgspec.DecodeError:
            return
        if message.reply:
            self.waiting[message.reply] = header
        publisher = header.source.removeprefix("/")
        self.seen.append(
            Seen(
                time.monotonic(), "publish", publisher, "", message.subject, header.type,
                message.subject.split(".")[0],
            )
        )  # fmt: skip

    def _stored(self, message: Msg) -> None:
        header = self.waiting.pop(message.subject, None)
        if header is None:
            return
        try:
            stored = msgspec.json.decode(message.data, type=Stored)
        except msgspec.DecodeError:
            return
        self.stored.setdefault((stored.stream, stored.seq), header)
        early, self.early = self.early, []
        for at, hearer, stream, sequence in early:
            self._heard(at, hearer, stream, sequence)

    def _acknowledged(self, message: Msg) -> None:
        if message.data.startswith(NEGATIVE_ACKNOWLEDGEMENTS):
            return
        tokens = message.subject.split(".")
        offset = 4 if len(tokens) >= ACK_TOKENS_NEW - 1 else 2
        stream, hearer, _, sequence = tokens[offset : offset + 4]
        self._heard(time.monotonic(), hearer, stream, int(sequence))

    def _heard(self, at: float, hearer: str, stream: str, sequence: int) -> None:
        header = self.stored.get((stream, sequence))
        if header is None:
            self.early.append((at, hearer, stream, sequence))
            return
        publisher = header.source.removeprefix("/")
        subject = f"{stream.lower()}.events"
        self.seen.append(Seen(at, "event", publisher, hearer, subject, header.type, stream.lower()))

    def since(self, at: float) -> list[Seen]:
        """Return what was seen from an instant on, in order."""
        return sorted((seen for seen in self.seen if seen.at >= at), key=lambda seen: seen.at)
