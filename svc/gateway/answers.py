"""Answers as they leave: status, JSON bytes and headers; every failure as a problem document.

RFC 9457 (problem details); api.md's names, and three more that HTTP itself needs.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec
from litestar import Request, Response
from litestar.connection import ASGIConnection
from litestar.exceptions import HTTPException
from litestar.routes import HTTPRoute

from svc.mesh.clock import new_id
from svc.mesh.errors import Invalid, NotFound, Refused, Unauthenticated, Unavailable, problem
from svc.mesh.localizer import Localizer

if TYPE_CHECKING:
    from svc.gateway.binding import Form

JSON = "application/json"
BODILESS = frozenset({204, 304})
PROBLEM_JSON = "application/problem+json"
PROBLEMS = "problems"
"""The namespace of problems' titles."""
SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""What a client may choose as its X-Request-ID; anything else is replaced by one of ours."""

LANGUAGE = re.compile(r"\s*(?P<language>[A-Za-z]{2})(-(?P<region>[A-Za-z]{2}))?\s*(;|,|$)")

AnyRequest = Request[Any, Any, Any]


class Asked:
    """One HTTP request as ASGI brings it: no more of it is read than is needed.

    Litestar's own request, with all its fields, takes longer to make than a small call takes.
    `told` are the headers of the answer, to which whoever serves it may add; `path_params` is what
    stands for the braces of the path.
    """

    __slots__ = ("headers", "path", "path_params", "receive", "request_id", "scope", "told")

    def __init__(self, scope: Any, receive: Any) -> None:
        """Read the headers; of one that came twice the first counts."""
        self.scope = scope
        self.receive = receive
        self.path: str = scope["path"]
        self.headers: dict[str, str] = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in reversed(scope["headers"])
        }
        self.request_id = request_id_of(self.headers)
        self.told: dict[str, str] = {}
        self.path_params: dict[str, str] = scope["path_params"]

    def query(self) -> list[tuple[str, str]]:
        """Return the parameters of the query string, in order."""
        if not self.scope["query_string"]:
            return []
        connection: ASGIConnection[Any, Any, Any, Any] = ASGIConnection(self.scope)
        return list(connection.query_params.multi_items())


class PayloadTooLarge(Refused):
    """The body is larger than this door takes."""

    name = "payload-too-large"
    status = 413


class UnsupportedMediaType(Refused):
    """The body has a media type that is not understood here."""

    name = "unsupported-media-type"
    status = 415


class MethodNotAllowed(Refused):
    """The path does not take this method."""

    name = "method-not-allowed"
    status = 405


class RateLimited(Refused):
    """Too many requests in a short time."""

    name = "rate-limited"
    status = 429


class RequestTimeout(Refused):
    """The request did not come in time."""

    name = "request-timeout"
    status = 408


@dataclass(frozen=True)
class Answer:
    """One HTTP answer as bytes."""

    status: int
    body: bytes
    media_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict[str, str])


def language_of(headers: Mapping[str, str]) -> str | None:
    """Return the first language that the client asks for, in our form of a tag, or None."""
    found = LANGUAGE.match(headers.get("accept-language", ""))
    if found is None:
        return None
    language, region = found["language"].lower(), found["region"]
    return f"{language}-{region.upper()}" if region else language


async def title_for(
    failure: BaseException, headers: Mapping[str, str], localizer: Localizer
) -> str | None:
    """Return a problem's title in the client's language (RFC 9457, 3.1.3), or None for ours.

    Localization being down costs the translation, never the answer. For who asks too often
    nothing is fetched: the language is the client's free choice, and the limit is there to save
    that work too.
    """
    language = language_of(headers)
    if language is None:
        return None
    if isinstance(failure, RateLimited) and not localizer.holds(language, PROBLEMS):
        return None
    name = failure.name if isinstance(failure, (Refused, Unavailable)) else "internal"
    text = await localizer.text(language, PROBLEMS, name)
    return text if text != name else None


def answer_of(failure: BaseException, title: str | None = None) -> Answer:
    """Return the problem document of a failure; a bug becomes `internal` without its cause."""
    document = problem(failure)
    if title is not None:
        document["title"] = title
    status = 500
    headers: dict[str, str] = {}
    if isinstance(failure, (Refused, Unavailable)):
        status = failure.status
    if isinstance(failure, Unavailable):
        headers["retry-after"] = str(failure.retry_after)
    if isinstance(failure, Refused) and status == RateLimited.status:
        headers["retry-after"] = str(failure.members.get("retry_after", 1))
    if status == Unauthenticated.status:
        headers["www-authenticate"] = "Bearer"
    return Answer(status, msgspec.json.encode(document), PROBLEM_JSON, headers)


def document_of(form: "Form", reply: bytes, path: str, query: Iterable[tuple[str, str]]) -> Answer:
    """Return the document that a reply carries, with a link to its next page if there is one."""
    said: Any = msgspec.json.decode(reply, type=form.call.reply)
    headers: dict[str, str] = {}
    if cursor := getattr(said, "next_cursor", None):
        following = sorted((name, value) for name, value in query if name != "cursor")
        address = f"{path}?{urlencode([*following, ('cursor', cursor)])}"
        headers["link"] = f'<{address}>; rel="next"'
    return Answer(form.route.status, said.text.encode(), form.route.media_type, headers)


def request_id_of(headers: Mapping[str, str]) -> str:
    """Return the client's X-Request-ID when it has a harmless form, else a new id."""
    given = headers.get("x-request-id", "")
    return given if given and REQUEST_ID.fullmatch(given) else new_id()


ALWAYS = [
    (name.encode(), value.encode())
    for name, value in {"cache-control": "no-store", **SECURITY_HEADERS}.items()
]


async def send_answer(send: Any, answer: Answer, asked: Asked) -> None:
    """Send an answer, with the headers that every answer has, as ASGI takes it."""
    headers = [*ALWAYS, (b"x-request-id", asked.request_id.encode())]
    if asked.told or answer.headers:
        own = {**asked.told, **answer.headers}
        if "cache-control" in own:
            del headers[0]
        headers += [(name.encode(), value.encode("latin-1")) for name, value in own.items()]
    if answer.status not in BODILESS:
        media_type = answer.media_type
        if media_type.startswith("text/") and "charset" not in media_type:
            media_type += "; charset=utf-8"
        headers.append((b"content-type", media_type.encode()))
        headers.append((b"content-length", b"%d" % len(answer.body)))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def respond(
    answer: Answer, request_id: str, more_headers: Mapping[str, str] | None = None
) -> Response[bytes]:
    """Return the answer as Litestar sends it, with the headers that every answer has."""
    headers = {
        "cache-control": "no-store",
        **SECURITY_HEADERS,
        "x-request-id": request_id,
        **(more_headers or {}),
        **answer.headers,
    }
    return Response(
        answer.body, status_code=answer.status, media_type=answer.media_type, headers=headers
    )


def refuse(request: AnyRequest, failure: Exception) -> Response[bytes]:
    """Answer what Litestar itself raises (no such path, wrong method) and any bug."""
    if not isinstance(failure, HTTPException):
        return respond(answer_of(failure), request_id_of(request.headers))
    by_status: dict[int, Refused] = {
        404: NotFound("there is no such path"),
        405: MethodNotAllowed(f"{request.method} is not understood here"),
        413: PayloadTooLarge(),
        415: UnsupportedMediaType(),
    }
    status = failure.status_code
    answered: Exception = by_status.get(status) or Invalid(failure.detail)
    if status >= 500:  # noqa: PLR2004  # where HTTP's server errors begin
        answered = failure
    answer = answer_of(answered)
    allowed = {"allow": ", ".join(methods_of(request))} if status == MethodNotAllowed.status else {}
    return respond(answer, request_id_of(request.headers), allowed)


def methods_of(request: AnyRequest) -> list[str]:
    """Return the methods that the request's path takes (RFC 9110, 15.5.6 wants them told)."""
    found: set[str] = set()
    for route in request.app.routes:
        pattern = re.sub(r"{[^}]*}", "[^/]+", route.path_format)
        if isinstance(route, HTTPRoute) and re.fullmatch(pattern, request.url.path):
            found |= set(route.methods)
    return sorted(found)
