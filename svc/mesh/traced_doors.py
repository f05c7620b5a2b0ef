"""The doors of a service with server spans around what comes in: HTTP requests and gRPC calls.

What is behind a door finds its span where the client's would stand, as the `traceparent` of the
request; https://opentelemetry.io/docs/specs/semconv/ names the attributes.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from opentelemetry.trace import SpanKind, StatusCode

from svc.mesh.spans import fail, spanning, start, traceparent_of

QUIET_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
SERVER_ERROR = 500
FAULTS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE"})
"""Statuses of gRPC that are errors of the one who answers."""


def traced_door(service: str, application: Any) -> Any:
    """Return an ASGI application with a server span around each HTTP request.

    The application finds the span as the request's `traceparent`.
    """

    async def answer(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] in QUIET_PATHS:
            await application(scope, receive, send)
            return
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        given = next((value for name, value in headers if name == b"traceparent"), b"")
        attributes = {
            "http.request.method": scope["method"],
            "url.path": scope["path"],
            "url.scheme": scope.get("scheme", "http"),
        }
        parent = given.decode("latin-1")
        span = start(
            service, scope["method"], SpanKind.SERVER, parent=parent, attributes=attributes
        )
        rest = [pair for pair in headers if pair[0] != b"traceparent"]
        inner = {**scope, "headers": [*rest, (b"traceparent", traceparent_of(span).encode())]}

        async def told(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                status: int = message["status"]
                span.set_attribute("http.response.status_code", status)
                if status >= SERVER_ERROR:
                    span.set_attribute("error.type", str(status))
                    span.set_status(StatusCode.ERROR)
            await send(message)

        with spanning(span):
            try:
                await application(inner, receive, told)
            finally:
                route = inner.get("path_template")
                if route:
                    span.set_attribute("http.route", route)
                    span.update_name(f"{scope['method']} {route}")

    return answer


class TracedCall:
    """The context of a gRPC call that names the span in its metadata, and notes its status."""

    def __init__(self, plain: Any, span: Any) -> None:
        """Stand before the context of grpc, which does all else."""
        self.plain = plain
        self.span = span
        self.status = "OK"

    def __getattr__(self, name: str) -> Any:
        """Return whatever else the context has."""
        return getattr(self.plain, name)

    def invocation_metadata(self) -> tuple[tuple[str, Any], ...]:
        """Return what the client sent, with this span as its own."""
        sent = self.plain.invocation_metadata() or ()
        rest = ((key, value) for key, value in sent if key != "traceparent")
        return (*rest, ("traceparent", traceparent_of(self.span)))

    async def abort(self, code: Any, *rest: Any, **named: Any) -> None:
        """End the call with a status."""
        self.status = str(code.name)
        await self.plain.abort(code, *rest, **named)


def traced_rpc(
    service: str, method: str, answer: Callable[[Any, Any], Awaitable[Any]]
) -> Callable[[Any, Any], Awaitable[Any]]:
    """Return the handler of a method, `<package>.<Service>/<Method>`, with a span around it."""

    async def traced(request: Any, context: Any) -> Any:
        sent: dict[str, Any] = dict(context.invocation_metadata() or ())
        attributes = {"rpc.system.name": "grpc", "rpc.method": method}
        parent = str(sent.get("traceparent", ""))
        span = start(service, method, SpanKind.SERVER, parent=parent, attributes=attributes)
        call = TracedCall(context, span)
        try:
            return await answer(request, call)
        except BaseException as failure:
            if call.status == "OK":
                fail(span, failure)
                call.status = "UNKNOWN"
            raise
        finally:
            span.set_attribute("rpc.response.status_code", call.status)
            if call.status in FAULTS:
                span.set_attribute("error.type", call.status)
                span.set_status(StatusCode.ERROR)
            span.end()

    return traced
