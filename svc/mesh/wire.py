"""How calls look on the wire: the packed context header, errors as ADR-32 headers, codecs.

A body is the plain JSON of the declared type, so `nats req` works without any header. All that the
mesh adds travels in one header, because each header costs as much as a small body:
`Mesh-Context: <deadline, unix ms>;<correlation id>;<traceparent>`.
"""

from functools import cache
from typing import Any

import msgspec
from nats.aio.msg import Msg

from svc.mesh.errors import Invalid, Refused, Unavailable, problem

CONTEXT_HEADER = "Mesh-Context"
ERROR_HEADER = "Nats-Service-Error"
ERROR_CODE_HEADER = "Nats-Service-Error-Code"
INBOX_ROOT = "_INBOX"

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


def pack_context(deadline: float, correlation_id: str, traceparent: str) -> dict[str, str]:
    """Return the one header of a call; the deadline is in seconds of unix time."""
    return {CONTEXT_HEADER: f"{int(deadline * 1000)};{correlation_id};{traceparent}"}


def unpack_context(message: Msg) -> tuple[float | None, str, str]:
    """Return (deadline in unix seconds or None, correlation id, traceparent) of a message.

    Foreign tools send no header, and a header that is not ours says nothing.
    """
    packed = (message.headers or {}).get(CONTEXT_HEADER, "")
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
