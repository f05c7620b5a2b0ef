"""How one HTTP request becomes one answer: body within limits, failures as problems, measured."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Any

from litestar import HttpMethod, Response, route
from prometheus_client import Counter, Histogram

from svc.gateway.answers import (
    Answer,
    AnyRequest,
    PayloadTooLarge,
    RequestTimeout,
    UnsupportedMediaType,
    answer_of,
    request_id_of,
    respond,
    title_for,
)
from svc.mesh.errors import Refused, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from svc.gateway.state import Gateway

    Work = Callable[[AnyRequest, str, dict[str, str]], Awaitable[Answer]]

BODY_WAIT_S = 20.0

REQUESTS = Counter("gateway_requests_total", "Requests, by answer", ("method", "path", "status"))
SECONDS = Histogram("gateway_request_seconds", "Time to answer", ("method", "path"))


def handler(gateway: Gateway, method: HttpMethod | str, path: str, work: Work) -> Any:
    """Return a Litestar handler that answers with what `work` returns or raises.

    `work` gets the request, its id and the headers of the answer, to which it may add.
    """

    async def serve(request: AnyRequest) -> Response[bytes]:
        started = time.perf_counter()
        request_id = request_id_of(request)
        headers: dict[str, str] = {}
        try:
            answer = await work(request, request_id, headers)
        except (Refused, Unavailable) as failure:
            title = await title_for(failure, request, gateway.runtime.localizer)
            answer = answer_of(failure, title)
        except Exception as failure:
            gateway.log.exception("a request failed", path=path, correlation_id=request_id)
            title = await title_for(failure, request, gateway.runtime.localizer)
            answer = answer_of(failure, title)
        REQUESTS.labels(method, path, answer.status).inc()
        SECONDS.labels(method, path).observe(time.perf_counter() - started)
        return respond(answer, request_id, headers)

    typed = re.sub(r"{(\w+)}", r"{\1:str}", path)
    name = f"{method} {path}"
    return route(typed, http_method=[HttpMethod(method)], status_code=200, name=name)(serve)


def require_json(request: AnyRequest) -> None:
    """Raise UnsupportedMediaType when the body says that it is something else than JSON."""
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given and given != "application/json" and not given.endswith("+json"):
        raise UnsupportedMediaType("send application/json")


async def read_body(request: AnyRequest, limit: int) -> bytes:
    """Return the body; raises PayloadTooLarge before more than `limit` bytes are read."""
    refusal = PayloadTooLarge(f"the body may have {limit} bytes at most", limit=limit)
    announced = request.headers.get("content-length", "0")
    if not announced.isdigit() or int(announced) > limit:
        raise refusal
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_WAIT_S):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    raise refusal
                chunks.append(chunk)
    except TimeoutError as failure:
        raise RequestTimeout("the body did not come in time") from failure
    return b"".join(chunks)


def address_of(request: AnyRequest) -> str:
    """Return path and query as the sender wrote them: some signatures cover the address."""
    raw_path = request.scope.get("raw_path", b"") or request.url.path.encode()
    query = request.scope.get("query_string", b"")
    return (raw_path + (b"?" + query if query else b"")).decode("latin-1")
