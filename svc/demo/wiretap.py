"""Listens to the whole broker as the read-only user `observer`, and says who talked to whom.

Nothing here trusts a service's word: the caller is the owner of the inbox that the answer goes to,
the hearer of an event is whoever acknowledged it, and both are guarded by the broker's permissions.
"""

import asyncio
import time
from dataclasses import dataclass, field
from functools import cache

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from svc.catalogue import contracts
from svc.mesh.parcels import bodies
from svc.mesh.wire import caller_of

NEGATIVE_ACKNOWLEDGEMENTS = (b"-NAK", b"+WPI", b"+TERM")
ACK_TOKENS_NEW = 12
"""Acknowledgement subjects of newer servers carry domain and account before the stream."""
HEARD = ("rpc.>", "*.events.>", "live.>", "$JS.ACK.>", "$KV.>", "$JS.API.DIRECT.GET.>")
"""Not the inboxes: to listen there would keep the pull requests of dead services alive."""
LOOK_UP_S = 2.0


class Header(msgspec.Struct):
    """The part of an event that tells who published what."""

    id: str
    type: str
    source: str


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


@cache
def _subjects() -> dict[str, str]:
    return {event.type: event.subject for each in contracts() for event in each.events()}


def subject_of(event_type: str) -> str:
    """Return the subject of an event by its type; empty for a type that nobody declares."""
    return _subjects().get(event_type, "")


def header_of(body: bytes) -> Header:
    """Return who published what; of many events in a message, which are alike, the first's."""
    return msgspec.json.decode(bodies(body)[0], type=Header)


@dataclass
class Wiretap:
    """What was seen so far."""

    connection: Client
    seen: list[Seen] = field(default_factory=list[Seen])
    stored: dict[tuple[str, int], Header] = field(default_factory=dict[tuple[str, int], Header])
    unknown: list[tuple[float, str, str, int]] = field(
        default_factory=list[tuple[float, str, str, int]]
    )

    subscriptions: list[Subscription] = field(default_factory=list[Subscription])

    async def start(self) -> None:
        """Begin to listen."""
        for subject in HEARD:
            self.subscriptions.append(
                await self.connection.subscribe(subject, cb=self._hear, pending_msgs_limit=-1)
            )
        await self.connection.flush()

    async def stop(self) -> None:
        """Listen no longer.

        While somebody listens to a call's subject, the server cannot say that nobody answers it:
        callers of a stopped service then wait for their deadline.
        """
        while self.subscriptions:
            await self.subscriptions.pop().unsubscribe()
        await self.connection.flush()

    async def _hear(self, message: Msg) -> None:
        subject = message.subject
        if subject.startswith("rpc."):
            _, service, _, verb = subject.split(".", 3)
            self._note("call", caller_of(message.reply), service, subject, verb)
        elif ".events." in subject and not subject.startswith(("$", "dead.")):
            self._published(message)
        elif subject.startswith("$JS.ACK."):
            self._acknowledged(message)
        elif subject.startswith("$KV."):
            bucket = subject.split(".")[1]
            self._note("cache", bucket, "cache", subject, "put")
        elif subject.startswith("$JS.API.DIRECT.GET.KV_"):
            reader = caller_of(message.reply)
            self._note("cache", reader, "cache", subject, "get")
        elif subject.startswith("live."):
            self._note("live", "", "User", subject, subject.split(".")[1])

    def _note(self, kind: str, source: str, target: str, subject: str, label: str) -> None:
        self.seen.append(Seen(time.monotonic(), kind, source, target, subject, label))

    def _published(self, message: Msg) -> None:
        try:
            header = header_of(message.data)
        except msgspec.DecodeError:
            return
        publisher = header.source.removeprefix("/")
        self.seen.append(
            Seen(
                time.monotonic(), "publish", publisher, "", message.subject, header.type,
                message.subject.split(".")[0],
            )
        )  # fmt: skip

    def _acknowledged(self, message: Msg) -> None:
        if message.data.startswith(NEGATIVE_ACKNOWLEDGEMENTS):
            return
        tokens = message.subject.split(".")
        offset = 4 if len(tokens) >= ACK_TOKENS_NEW - 1 else 2
        stream, hearer, _, sequence = tokens[offset : offset + 4]
        self.unknown.append((time.monotonic(), hearer, stream, int(sequence)))

    async def resolve(self) -> None:
        """Look up in the streams what the acknowledged events were."""
        unknown, self.unknown = self.unknown, []
        wanted = {(stream, sequence) for _, _, stream, sequence in unknown} - self.stored.keys()
        await asyncio.gather(*(self._look_up(stream, sequence) for stream, sequence in wanted))
        for at, hearer, stream, sequence in unknown:
            header = self.stored.get((stream, sequence))
            if header is not None:
                publisher = header.source.removeprefix("/")
                subject = subject_of(header.type)
                self.seen.append(
                    Seen(at, "event", publisher, hearer, subject, header.type, stream.lower())
                )

    async def _look_up(self, stream: str, sequence: int) -> None:
        """Read one message of a stream; what is no event (a schedule) is left out."""
        question = msgspec.json.encode({"seq": sequence})
        answer = await self.connection.request(
            f"$JS.API.DIRECT.GET.{stream}", question, timeout=LOOK_UP_S
        )
        try:
            self.stored[stream, sequence] = header_of(answer.data)
        except msgspec.DecodeError:
            return

    def since(self, at: float) -> list[Seen]:
        """Return what was seen from an instant on, in order."""
        return sorted((seen for seen in self.seen if seen.at >= at), key=lambda seen: seen.at)
