"""How one HTTP request becomes one answer: body within limits, failures as problems, measured."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Any

from litestar import HttpMethod, asgi, route
from litestar.types import ASGIApp
from prometheus_client import Counter, Histogram

from svc.gateway.answers import (
    Answer,
    Asked,
    MethodNotAllowed,
    PayloadTooLarge,
    RequestTimeout,
    UnsupportedMediaType,
    answer_of,
    send_answer,
    title_for,
)
from svc.mesh.errors import Refused, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from svc.gateway.state import Gateway

    Work = Callable[[Asked], Awaitable[Answer]]

BODY_WAIT_S = 20.0
NO_CONTENT = 204

REQUESTS = Counter("gateway_requests_total", "Requests, by answer", ("method", "path", "status"))
SECONDS = Histogram("gateway_request_seconds", "Time to answer", ("method", "path"))


def handlers(gateway: Gateway, works: Iterable[tuple[str, str, Work]]) -> list[Any]:
    """Return Litestar handlers of paths, from (method, path, work), that answer what `work` says.

    They are plain ASGI applications: Litestar finds the path, and what else it could do costs more
    than a small call.
    """
    paths: dict[str, dict[str, Work]] = {}
    for method, path, work in works:
        paths.setdefault(path, {})[method] = work
    return [_handler(gateway, path, by_method) for path, by_method in paths.items()]


def _handler(gateway: Gateway, path: str, works: dict[str, Work]) -> Any:
    allow = ", ".join(sorted({*works, "OPTIONS"}))
    seen = {method: Seen(method, path) for method in (*works, "OPTIONS")}

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        method: str = scope["method"]
        asked = Asked(scope, receive)
        if method in works:
            await _serve(gateway, asked, send, works[method], seen[method])
            return
        answer = Answer(NO_CONTENT, b"")
        if method == "OPTIONS":
            seen[method].note(NO_CONTENT, 0)
        else:
            answer = answer_of(MethodNotAllowed(f"{method} is not understood here"))
        asked.told["allow"] = allow
        await send_answer(send, answer, asked)

    if "{" not in path:
        return asgi(path, name=path, copy_scope=False)(serve)

    # Litestar has no parameters of the path for plain ASGI applications: here it is handed one.
    async def found() -> ASGIApp:  # as Litestar calls it
        return serve

    typed = re.sub(r"{(\w+)}", r"{\1:str}", path)
    methods = [HttpMethod(each) for each in seen]
    return route(typed, http_method=methods, status_code=200, name=path)(found)


class Seen:
    """The metrics of one route, their labels looked up once."""

    def __init__(self, method: str, path: str) -> None:
        """Look up what stays the same."""
        self.labels = method, path
        self.seconds = SECONDS.labels(method, path)
        self.by_status: dict[int, Any] = {}

    def note(self, status: int, seconds: float) -> None:
        """Note one answer."""
        counter = self.by_status.get(status)
        if counter is None:
            counter = self.by_status[status] = REQUESTS.labels(*self.labels, status)
        counter.inc()
        self.seconds.observe(seconds)


async def _serve(gateway: Gateway, asked: Asked, send: Any, work: Work, seen: Seen) -> None:
    started = time.perf_counter()
    try:
        answer = await work(asked)
    except Gone:
        return
    except Exception as failure:
        if not isinstance(failure, (Refused, Unavailable)):
            path = seen.labels[1]
            gateway.log.exception("a request failed", path=path, correlation_id=asked.request_id)
        title = await title_for(failure, asked.headers, gateway.runtime.localizer)
        answer = answer_of(failure, title)
    seen.note(answer.status, time.perf_counter() - started)
    await send_answer(send, answer, asked)


class Gone(Exception):
    """The client went away before its request was whole."""


def require_json(asked: Asked) -> None:
    """Raise UnsupportedMediaType when the body says that it is something else than JSON."""
    given = asked.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given and given != "application/json" and not given.endswith("+json"):
        raise UnsupportedMediaType("send application/json")


async def read_body(asked: Asked, limit: int) -> bytes:
    """Return the body; raises PayloadTooLarge before more than `limit` bytes are read."""
    announced = asked.headers.get("content-length", "0")
    if not announced.isdigit() or int(announced) > limit:
        raise too_large(limit)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_WAIT_S):
            more = True
            while more:
                message = await asked.receive()
                if message["type"] == "http.disconnect":
                    raise Gone
                chunk = message.get("body", b"")
                size += len(chunk)
                if size > limit:
                    raise too_large(limit)
                chunks.append(chunk)
                more = message.get("more_body", False)
    except TimeoutError as failure:
        raise RequestTimeout("the body did not come in time") from failure
    return b"".join(chunks)


def too_large(limit: int) -> PayloadTooLarge:
    """Return the refusal of a body that has more bytes than this."""
    return PayloadTooLarge(f"the body may have {limit} bytes at most", limit=limit)


def address_of(asked: Asked) -> str:
    """Return path and query as the sender wrote them: some signatures cover the address."""
    raw_path = asked.scope.get("raw_path", b"") or asked.path.encode()
    query = asked.scope.get("query_string", b"")
    return (raw_path + (b"?" + query if query else b"")).decode("latin-1")
