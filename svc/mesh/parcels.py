"""Events as messages of a stream: one event, or many of one kind as a CloudEvents batch.

What is decided together may be told together, if its contract says so: a message of many events
costs the broker, the publisher and each hearer hardly more than a message of one. Its body is the
JSON batch format
(https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md, section 4): an
array of structured events, each with an id of its own, by which the inbox knows it. Few events
leave one by one, so that who watches a quiet system sees each of them.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from svc.mesh.wire import EXPECTED_STREAM, UNREADABLE, decoder, encode

if TYPE_CHECKING:
    from svc.mesh.contract import Event
    from svc.mesh.envelope import CloudEvent

APART_MAX = 16
"""So many events that were told together leave as messages of their own."""
TOGETHER_MAX = 128
"""Events in one message: when one of them fails the others come again too, so not too many."""
BATCH_TYPE = "application/cloudevents-batch+json"
ID_HEADER = "Nats-Msg-Id"
PLACES = 4
"""Hexadecimal digits of an id that count the events of a row of the outbox."""
COUNT = f"%0{PLACES}x"


class Parcel(NamedTuple):
    """One message: `message_id` lets the stream keep it once, `events` is how many it holds."""

    subject: str
    body: bytes
    message_id: str
    events: int = 1

    @property
    def stream(self) -> str:
        """Return which stream keeps it: one is named after the first word of its subjects."""
        return self.subject.partition(".")[0].upper()

    def headers(self) -> dict[str, str]:
        """Return what goes with it."""
        found = {ID_HEADER: self.message_id, EXPECTED_STREAM: self.stream}
        if self.events > 1:
            found["Content-Type"] = BATCH_TYPE
        return found


def parcels_of(event: "Event[Any]", row_id: str, told: "Sequence[CloudEvent[Any]]") -> list[Parcel]:
    """Return the messages that carry what one row of the outbox tells, always the same."""
    subject = event.subject
    if not event.together or len(told) <= APART_MAX:
        return [Parcel(subject, encode(one), one.id) for one in told]
    return [Parcel(subject, encode(told), row_id, len(told))]


def packed(parcels: Sequence[Parcel]) -> bytes:
    """Return messages of one event each as the body of one row of the outbox."""
    return msgspec.msgpack.encode([(parcel.message_id, parcel.body) for parcel in parcels])


def unpacked(subject: str, body: bytes) -> list[Parcel]:
    """Return what was packed."""
    return [Parcel(subject, event, event_id) for event_id, event in _unpack(body)]


_unpack = msgspec.msgpack.Decoder(list[tuple[str, bytes]]).decode


def counted_id(row_id: str, place: int) -> str:
    """Return the id of an event of a row of the outbox: the row's UUIDv7, its end counted up.

    RFC 9562 (6.2) has counters in that place; what stays of the row's own is unique.
    """
    return row_id[:-PLACES] + COUNT % place


def bodies(data: bytes) -> list[bytes]:
    """Return the events of a message: those of a batch, or the one; what is neither, as it is."""
    if data[:1] != b"[":
        return [data]
    try:
        return [bytes(one) for one in decoder(list[msgspec.Raw]).decode(data)] or [data]
    except UNREADABLE:
        return [data]
