"""How calls look on the wire: the packed context header, errors as ADR-32 headers, codecs.

A body is the plain JSON of the declared type, so `nats req` works without any header. Every header
costs as much as a small body, so what the mesh adds travels in the reply subject, which every call
has anyway: `_INBOX.<caller>.<instance>.call.<token>.<deadline, unix ms>.<correlation id>`. What no
subject can hold goes into one header, `Mesh-Context: <deadline>;<correlation id>;<traceparent>`.
Coalesced calls travel as a JSON array of requests with one `Mesh-Batch` header, their contexts
joined by `|`; the answer is an array of `[reply, problem]` pairs in the same order.
"""

import re
from functools import cache
from typing import Any

import msgspec
from nats.aio.msg import Msg

from svc.mesh.errors import Invalid, Refused, Unavailable, problem

CONTEXT_HEADER = "Mesh-Context"
BATCH_HEADER = "Mesh-Batch"
BATCH_MARK = "|"
NOTHING = msgspec.Raw(b"null")
ERROR_HEADER = "Nats-Service-Error"
ERROR_CODE_HEADER = "Nats-Service-Error-Code"
INBOX_ROOT = "_INBOX"
REPLY_TOKENS = 7
SUBJECT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
SAFE_ID = re.compile(r"[A-Za-z0-9._:-]{0,128}")

encode = msgspec.json.Encoder().encode


@cache
def decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    """Return the decoder of a message type, made once."""
    return msgspec.json.Decoder(kind)


def decode_request(kind: Any, body: bytes) -> Any:
    """Decode a request; raises Invalid that names the field and what is wrong with it."""
    try:
        return decoder(kind).decode(body or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as failure:
        raise Invalid(str(failure)) from failure


class Answered(msgspec.Struct, frozen=True, array_like=True):
    """One answer of a batch: the reply, or the problem, or neither when the call came too late."""

    reply: msgspec.Raw = NOTHING
    problem: msgspec.Raw = NOTHING


def pack_context(deadline: float, correlation_id: str, traceparent: str) -> str:
    """Return the context of a call on the wire; the deadline is in seconds of unix time.

    An id from outside that holds our own separators, or what no header may hold, is left out.
    """
    if not SAFE_ID.fullmatch(correlation_id):
        correlation_id = ""
    return f"{int(deadline * 1000)};{correlation_id};{traceparent}"


def reply_suffix(deadline: float, correlation_id: str, traceparent: str) -> str | None:
    """Return the context of a call as the end of its reply subject, or None when it needs a header.

    The deadline is in seconds of unix time.
    """
    if traceparent or not SUBJECT_ID.fullmatch(correlation_id):
        return None
    return f".{int(deadline * 1000)}.{correlation_id}"


def context_of(message: Msg) -> tuple[float | None, str, str]:
    """Return (deadline in unix seconds or None, correlation id, traceparent) of a call.

    Foreign tools send neither form, and what is not ours says nothing.
    """
    tokens = message.reply.split(".")
    if len(tokens) == REPLY_TOKENS and tokens[-2].isdigit():
        return int(tokens[-2]) / 1000, tokens[-1], ""
    headers = message.headers
    return unpack_context(headers.get(CONTEXT_HEADER, "")) if headers else (None, "", "")


def unpack_context(packed: str) -> tuple[float | None, str, str]:
    """Return (deadline in unix seconds or None, correlation id, traceparent) of a call.

    Foreign tools send no header, and a header that is not ours says nothing.
    """
    deadline, _, rest = packed.partition(";")
    correlation_id, _, traceparent = rest.partition(";")
    if not deadline.isdigit():
        return None, "", ""
    return int(deadline) / 1000, correlation_id, traceparent


def caller_of(message: Msg) -> str:
    """Return who asked: the owner of the inbox that the answer goes to."""
    root, _, rest = message.reply.partition(".")
    return rest.partition(".")[0] if root == INBOX_ROOT else ""


def error_reply(failure: BaseException) -> tuple[bytes, dict[str, str]]:
    """Return body and headers that tell a failure to the caller (ADR-32)."""
    document = problem(failure)
    known = isinstance(failure, (Refused, Unavailable))
    name = failure.name if known else "internal"
    return encode(document), {ERROR_HEADER: name, ERROR_CODE_HEADER: str(document["status"])}
