"""Spans: where they go, and how one begins below the work that a traceparent names.

Spans carry names, ids and SQL with its placeholders; never bodies, arguments or the texts of
failures, in which personal data could stand.
"""

import copy
import re
import threading
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Any

from opentelemetry.context import Context as Ambient
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    Tracer,
    set_span_in_context,
)

from svc.mesh.context import Context
from svc.mesh.errors import Refused, name_of

NAMESPACE = "betmesh"
TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
"""W3C trace context, version 00: trace, span, flags."""


END_S = 2.0
"""How long the end of a process waits for its last spans to be taken."""


class Export:
    """What sends the spans of all services of this process to the collector."""

    def __init__(self) -> None:
        """Nothing is exported."""
        self.processor: BatchSpanProcessor | None = None
        self.tracers: dict[str, Tracer] = {}

    def begin(self) -> None:
        """Export from now on, as the standard environment variables say."""
        if self.processor is None:
            self.processor = BatchSpanProcessor(OTLPSpanExporter())

    def end(self) -> None:
        """Send what waits, then nothing any more; a collector that is away holds nobody up."""
        processor, self.processor = self.processor, None
        self.tracers.clear()
        if processor is None:
            return
        sending = threading.Thread(target=processor.shutdown, daemon=True)
        sending.start()
        sending.join(END_S)
        if sending.is_alive():
            processor.span_exporter.shutdown()  # no attempt after this one

    def flush(self) -> None:
        """Send what waits, now."""
        if self.processor is not None:
            self.processor.force_flush()

    def tracer(self, service: str) -> Tracer:
        """Return the tracer of a service: a resource of its own, the export of all."""
        found = self.tracers.get(service)
        if found is None:
            named = {"service.name": service, "service.namespace": NAMESPACE}
            # The sampler is what OTEL_TRACES_SAMPLER says; by default the W3C flag decides.
            provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
            if self.processor is not None:
                provider.add_span_processor(self.processor)
            found = self.tracers[service] = provider.get_tracer(NAMESPACE)
        return found


EXPORT = Export()


def remote(traceparent: str) -> SpanContext | None:
    """Return the span that a traceparent names, None for what is none."""
    found = TRACEPARENT.fullmatch(traceparent)
    if found is None:
        return None
    flags = TraceFlags(int(found[3], 16))
    context = SpanContext(int(found[1], 16), int(found[2], 16), is_remote=True, trace_flags=flags)
    return context if context.is_valid else None


def is_sampled(traceparent: str) -> bool:
    """Say whether somebody wants to see this trace."""
    parent = remote(traceparent)
    return parent is not None and parent.trace_flags.sampled


def traceparent_of(span: Span) -> str:
    """Return the W3C form of a span, for what it causes."""
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def start(
    service: str,
    name: str,
    kind: SpanKind,
    *,
    parent: str,
    attributes: dict[str, Any],
    links: Iterable[SpanContext] = (),
) -> Span:
    """Start a span of a service below the one that the traceparent names, else a new trace."""
    above = remote(parent)
    # Never what happens to be current: contexts of this mesh are handed on by hand.
    context = (
        Ambient() if above is None else set_span_in_context(NonRecordingSpan(above), Ambient())
    )
    return EXPORT.tracer(service).start_span(
        name, context, kind, attributes, [Link(one) for one in links]
    )


def fail(span: Span, failure: BaseException, *, refusing: bool = False) -> None:
    """Note how it failed, by its name alone; a refusal is no error of the one who refuses."""
    refused = isinstance(failure, Refused)
    span.set_attribute("error.type", name_of(failure) if refused else type(failure).__name__)
    sqlstate = getattr(failure, "sqlstate", None)
    if sqlstate:
        span.set_attribute("db.response.status_code", str(sqlstate))
    if not (refused and refusing):
        span.set_status(StatusCode.ERROR)


@contextmanager
def spanning(span: Span, *, refusing: bool = False) -> Generator[Span]:
    """End a span with the block, and note what the block raised."""
    try:
        yield span
    except BaseException as failure:
        fail(span, failure, refusing=refusing)
        raise
    finally:
        span.end()


def below(context: Context, span: Span) -> Context:
    """Return the same piece of work as a child of the span."""
    child = copy.copy(context)
    child.traceparent = traceparent_of(span)
    return child
