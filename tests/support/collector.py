"""A collector of traces: a real HTTP endpoint that takes OTLP, and keeps the spans."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

PATH = "/v1/traces"
KINDS = ("", "internal", "server", "client", "producer", "consumer")


@dataclass(frozen=True)
class Seen:
    """One span as it arrived."""

    service: str
    name: str
    kind: str
    trace: str
    span: str
    parent: str
    failed: bool
    attributes: dict[str, Any]
    links: tuple[str, ...]


@dataclass
class Collector:
    """The spans so far."""

    url: str = ""
    seen: list[Seen] = field(default_factory=list[Seen])
    raw: list[bytes] = field(default_factory=list[bytes])

    def of(self, trace: str) -> list[Seen]:
        """Return the spans of a trace."""
        return [span for span in list(self.seen) if span.trace == trace]

    def take(self, body: bytes) -> bool:
        """Keep what one request carries; DecodeError when it is not OTLP."""
        request = ExportTraceServiceRequest.FromString(body)
        self.raw.append(body)
        for resource in request.resource_spans:
            service = _values(resource.resource.attributes)["service.name"]
            for scope in resource.scope_spans:
                self.seen += [_seen(service, span) for span in scope.spans]
        return True


def _values(attributes: Any) -> dict[str, Any]:
    return {
        one.key: getattr(one.value, one.value.WhichOneof("value") or "string_value")
        for one in attributes
    }


def _seen(service: str, span: Any) -> Seen:
    kind: int = span.kind
    return Seen(
        service=service,
        name=span.name,
        kind=KINDS[kind],
        trace=span.trace_id.hex(),
        span=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        failed=span.status.code == span.status.STATUS_CODE_ERROR,
        attributes=_values(span.attributes),
        links=tuple(link.span_id.hex() for link in span.links),
    )


@contextmanager
def collecting(port: int = 0) -> Generator[Collector]:
    """Take OTLP over HTTP on a port, a free one by default."""
    found = Collector()

    class Door(BaseHTTPRequestHandler):
        """Answers like a collector."""

        def do_POST(self) -> None:
            """Take spans."""
            body = self.rfile.read(int(self.headers["content-length"]))
            protobuf = self.headers["content-type"] == "application/x-protobuf"
            try:
                taken = self.path == PATH and protobuf and found.take(body)
            except DecodeError:
                taken = False
            if not taken:
                self.send_error(400)
                return
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # its name
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Door)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
