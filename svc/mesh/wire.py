"""How calls look on the wire: the context of a call, errors as ADR-32 headers, codecs.

A body is the plain JSON of the declared type, so `nats req` works without any header. Every header
costs as much as a small body, so what the mesh adds travels in the reply subject, which every call
has anyway: `_INBOX.<caller>.<instance>.call.<token>.<deadline, unix ms>.<correlation
id>[.<traceparent>]`. An id from outside that no subject can hold goes into one header,
`Mesh-Context: <deadline>;<correlation id>;<traceparent>`.
Coalesced calls travel as one JSON array of `[deadline, correlation id, traceparent, request]`
under the header `Mesh-Batch: <how many>`; the answer is an array of `[reply, problem]` pairs in the
same order, `[]` for a call that came too late. Calls that are done before others of their message
are answered before them: the header `Mesh-Places: 0 3` says which these pairs are of, from 0 on.
"""

import re
from collections.abc import Sequence
from functools import cache
from string import ascii_letters, digits
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

import msgspec

from svc.mesh.connection import Message
from svc.mesh.contract import Call
from svc.mesh.errors import Absent, Invalid, Overloaded, from_problem, name_of, problem

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What reading a body raises that is no JSON, of another form, or nested without end."""
CONTEXT_HEADER = "Mesh-Context"
BATCH_HEADER = "Mesh-Batch"
PLACES_HEADER = "Mesh-Places"
BODY_MAX = 512 * 1024
"""Calls or answers that would make a larger message together leave in two halves."""
STATUS_HEADER = "Status"
NO_RESPONDERS = "503"
ERROR_HEADER = "Nats-Service-Error"
ERROR_CODE_HEADER = "Nats-Service-Error-Code"
INBOX_ROOT = "_INBOX"
OPERATOR = "operator"
"""The user that may make every call."""
COPIED = "Nats-Stream"
"""What the server adds to what it was asked for directly: where it is stored."""
EXPECTED_STREAM = "Nats-Expected-Stream"
"""Tells the server where a message belongs: any other stream refuses it. It stays with what is
stored, so what a stream holds with its own name was published there by who may. The server stores
elsewhere, too, what somebody had it send there: that has another name, or none."""
REPLY_TOKENS = (7, 8)
SUBJECT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
ID_LENGTH_MAX = 128
SAFE = ascii_letters + digits + "._:-"
SAFE_ID = re.compile(f"[{SAFE}]{{0,{ID_LENGTH_MAX}}}")
is_subject_id = SUBJECT_ID.fullmatch
is_safe_id = SAFE_ID.fullmatch

encode = msgspec.json.Encoder().encode

BodyT = TypeVar("BodyT")
ReplyT = TypeVar("ReplyT")


@cache
def decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    """Return the decoder of a message type, made once."""
    return msgspec.json.Decoder(kind)


def decode_request(kind: Any, body: bytes) -> Any:
    """Decode a request; raises Invalid that names the field and what is wrong with it."""
    try:
        return decoder(kind).decode(body or b"{}")
    except UNREADABLE as failure:
        raise Invalid(str(failure)) from failure


class Sent(msgspec.Struct, Generic[BodyT], frozen=True, array_like=True, gc=False):
    """One call of a batch, with its own deadline in unix milliseconds."""

    deadline_ms: int
    correlation_id: Annotated[str, msgspec.Meta(max_length=ID_LENGTH_MAX)]
    traceparent: Annotated[str, msgspec.Meta(max_length=ID_LENGTH_MAX)]
    request: BodyT


class Answered(msgspec.Struct, Generic[ReplyT], frozen=True, array_like=True):
    """One answer of a batch: the reply, or the problem, or neither when the call came too late."""

    reply: ReplyT | None = None
    problem: dict[str, object] | None = None


class Sender(NamedTuple):
    """Who asks, until when (unix seconds, None when nobody says), and for which piece of work."""

    caller: str
    deadline: float | None
    correlation_id: str
    traceparent: str


LATE = ()
"""The answer, on the wire, to a call that came too late."""


def on_wire(answer: Any) -> tuple[Any, ...]:
    """Return one answer of a batch (a reply, a failure or LATE) in its form on the wire."""
    if isinstance(answer, Exception):
        return None, problem(answer)
    return LATE if answer is LATE else (answer,)


def safe(given: str) -> str:
    """Return an id as it was given, or nothing when it is not one to pass on."""
    return given if given and is_safe_id(given) else ""


def are_safe(ids: Sequence[str]) -> bool:
    """Say whether all of these ids may be passed on: cheaper than to ask `safe` of each."""
    joined = "".join(ids)
    return (
        joined.isascii()
        and max(map(len, ids), default=0) <= ID_LENGTH_MAX
        and not joined.encode().translate(None, SAFE.encode())
    )


def pack_context(deadline: float, correlation_id: str, traceparent: str) -> str:
    """Return the context of a call on the wire; the deadline is in seconds of unix time.

    An id from outside that holds our own separators, or what no header may hold, is left out.
    """
    return f"{int(deadline * 1000)};{safe(correlation_id)};{safe(traceparent)}"


def reply_suffix(deadline: float, correlation_id: str, traceparent: str) -> str | None:
    """Return the context of a call as the end of its reply subject, or None when it needs a header.

    The deadline is in seconds of unix time.
    """
    if not is_subject_id(correlation_id):
        return None
    if not traceparent:
        return f".{int(deadline * 1000)}.{correlation_id}"
    if not is_subject_id(traceparent):
        return None
    return f".{int(deadline * 1000)}.{correlation_id}.{traceparent}"


def address(
    deadline: float, correlation_id: str, traceparent: str
) -> tuple[str, dict[str, str] | None]:
    """Return the context of a call as the end of its reply subject, and headers if it needs any."""
    suffix = reply_suffix(deadline, correlation_id, traceparent)
    if suffix is not None:
        return suffix, None
    return "", {CONTEXT_HEADER: pack_context(deadline, correlation_id, traceparent)}


def caller_of(reply: str) -> str:
    """Return who asked: the owner of the inbox that the answer goes to, empty when unknown."""
    tokens = reply.split(".", 2)
    return tokens[1] if len(tokens) > 1 and tokens[0] == INBOX_ROOT else ""


def sender_of(message: Message) -> Sender:
    """Return what a call says of itself, in its reply subject or its header.

    Foreign tools send neither, and what is not ours says nothing.
    """
    tokens = message.reply.split(".")
    caller = tokens[1] if len(tokens) > 1 and tokens[0] == INBOX_ROOT else ""
    if len(tokens) in REPLY_TOKENS and tokens[5].isdigit():
        traceparent = tokens[7] if len(tokens) > REPLY_TOKENS[0] else ""
        return Sender(caller, int(tokens[5]) / 1000, tokens[6], traceparent)
    packed = message.headers.get(CONTEXT_HEADER, "") if message.headers else ""
    deadline, _, rest = packed.partition(";")
    if not deadline.isdigit():
        return Sender(caller, None, "", "")
    correlation_id, _, traceparent = rest.partition(";")
    return Sender(caller, int(deadline) / 1000, correlation_id, traceparent)


def places_of(message: Message) -> list[int]:
    """Return which calls of a message this part of its answer is of; raises ValueError."""
    return [int(place) for place in (message.headers or {}).get(PLACES_HEADER, "").split()]


def error_reply(failure: BaseException) -> tuple[bytes, dict[str, str]]:
    """Return body and headers that tell a failure to the caller (ADR-32)."""
    document = problem(failure)
    headers = {ERROR_HEADER: name_of(failure), ERROR_CODE_HEADER: str(document["status"])}
    return encode(document), headers


def found_nobody(message: Message) -> bool:
    """Tell whether the broker itself answered, because nobody was there to hear."""
    return message.headers is not None and message.headers.get(STATUS_HEADER) == NO_RESPONDERS


def check_answer(message: Message, call: Call[Any, Any]) -> None:
    """Raise what an answer refuses, or Absent when there was nobody to answer."""
    headers = message.headers or {}
    if headers.get(STATUS_HEADER) == NO_RESPONDERS:
        raise Absent(f"{call.service} has no running instance")
    if ERROR_HEADER in headers:
        if headers[ERROR_HEADER] == Overloaded.word:
            raise Overloaded(f"{call.service} has too much to do; nothing was done")
        raise from_problem(message.data, call.refuses)
