"""The parts of a service with spans around what they do, by OpenTelemetry's semantic conventions.

https://opentelemetry.io/docs/specs/semconv/ (HTTP, RPC, messaging, database).
"""

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator, Iterable
from contextlib import asynccontextmanager, contextmanager
from functools import lru_cache
from typing import Any

import msgspec
from opentelemetry.trace import Span, SpanKind

from svc.mesh import tracing
from svc.mesh.caller import Caller
from svc.mesh.consumer import Consumer
from svc.mesh.context import Context
from svc.mesh.contract import Call
from svc.mesh.database import Database, Tx
from svc.mesh.endpoint import Endpoint
from svc.mesh.envelope import CloudEvent
from svc.mesh.outbox import Relay
from svc.mesh.parcels import Parcel, bodies
from svc.mesh.spans import below, fail, is_sampled, remote, spanning, start, traceparent_of
from svc.mesh.together import Shared
from svc.mesh.traced_doors import traced_door, traced_rpc
from svc.mesh.wire import decoder

SUMMARY = re.compile(
    r"\b(select|insert|update|delete|with|lock|set)\b"
    r"(?:\s+([a-z_.]+)(?=\()|(?:.*?\b(?:from|into)|(?<=update))\s+([a-z_.]+))?",
    re.IGNORECASE | re.DOTALL,
)
"""What a statement does, and to which table or by which function first."""
LINKS_MAX = 128
"""As many links as a span keeps by default."""


def rpc(call: Call[Any, Any], peer: str, context: Context) -> dict[str, Any]:
    """Return the attributes of a call, the same on both sides."""
    return {
        "rpc.system.name": "nats",
        "rpc.method": f"{call.service}/{call.verb}",
        "service.peer.name": peer,
        "betmesh.correlation_id": context.correlation_id,
    }


class TracedCaller(Caller):
    """Sends calls, each in a client span."""

    def call(
        self, call: Call[Any, Any], request: Any, wait_s: float, context: Context
    ) -> Coroutine[Any, Any, Any]:
        """Ask in a span."""
        return self._spanned(super().call, call, request, wait_s, context)

    def call_raw(
        self, call: Call[Any, Any], body: bytes, wait_s: float, context: Context
    ) -> Coroutine[Any, Any, bytes]:
        """Ask in a span."""
        return self._spanned(super().call_raw, call, body, wait_s, context)

    async def _spanned(
        self,
        ask: Callable[..., Awaitable[Any]],
        call: Call[Any, Any],
        what: Any,
        wait_s: float,
        context: Context,
    ) -> Any:
        attributes = rpc(call, call.service, context)
        name = f"{call.service}/{call.verb}"
        span = start(
            self.service, name, SpanKind.CLIENT, parent=context.traceparent, attributes=attributes
        )
        with spanning(span):
            return await ask(call, what, wait_s, below(context, span))


class TracedEndpoint(Endpoint):
    """Serves calls, each in a server span of its own, however many came in one message."""

    def __init__(self, runtime: Any, call: Call[Any, Any], handler: Any) -> None:
        """Put spans around the handler."""
        super().__init__(runtime, call, handler)
        self.handler = self._one(self.handler)
        if self.many is not None:
            self.many.handler = self._list(self.many.handler)

    def _span(self, context: Context) -> Span:
        call, attributes = self.call, rpc(self.call, context.caller, context)
        name = f"{call.service}/{call.verb}"
        span = start(
            call.service, name, SpanKind.SERVER, parent=context.traceparent, attributes=attributes
        )
        context.traceparent = traceparent_of(span)
        return span

    def _one(self, handler: Any) -> Any:
        async def handle(request: Any, context: Context) -> Any:
            with spanning(self._span(context), refusing=True):
                return await handler(request, context)

        return handle

    def _list(self, handler: Any) -> Any:
        async def handle(requests: list[Any], contexts: list[Context]) -> Any:
            spans = [self._span(context) for context in contexts]
            failure: BaseException | None = None
            answers: list[Any] = []
            try:
                answers = list(await handler(requests, contexts))
                return answers
            except BaseException as raised:
                failure = raised
                raise
            finally:
                answers += [failure] * (len(spans) - len(answers))
                for span, answer in zip(spans, answers, strict=False):
                    if isinstance(answer, BaseException):
                        fail(span, answer, refusing=True)
                    span.end()

        return handle


class TracedConsumer(Consumer):
    """Brings events to their effect, each in a consumer span."""

    async def _effect(self, event: CloudEvent[Any], context: Context, sequence: int) -> str:
        span = self._span(event, context)
        with spanning(span):
            outcome = await super()._effect(event, below(context, span), sequence)
            span.set_attribute("betmesh.outcome", outcome)
            return outcome

    async def share(self, event: CloudEvent[Any], tx: Shared, context: Context) -> None:
        """Let the handler work in a span, with its own statements below it."""
        span = self._span(event, context)
        with spanning(span):
            tx.context = below(context, span)
            if span.is_recording():
                raw = getattr(tx.connection, "untraced", tx.connection)
                tx.connection = TracedConnection(raw, self.durable, tx.context.traceparent)
            await super().share(event, tx, tx.context)
            span.set_attribute("betmesh.outcome", "ok")

    def _span(self, event: CloudEvent[Any], context: Context) -> Span:
        subject = self.hears[event.type].event.subject
        attributes = {
            **messaging(subject, "process", event.id, event.correlationid),
            "messaging.consumer.group.name": self.durable,
            "cloudevents.event_type": event.type,
            "service.peer.name": event.publisher,
        }
        name = f"process {subject}"
        return start(
            self.durable, name, SpanKind.CONSUMER, parent=context.traceparent, attributes=attributes
        )


def messaging(subject: str, operation: str, event_id: str, correlation_id: str) -> dict[str, Any]:
    """Return the attributes of an event that is sent or worked on."""
    return {
        "messaging.system": "nats",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": subject,
        "messaging.message.id": event_id,
        "messaging.message.conversation_id": correlation_id,
    }


class Carried(msgspec.Struct):
    """What an event in the outbox says of itself, and of the work that caused it."""

    id: str = ""
    traceparent: str = ""
    correlationid: str = ""


class TracedRelay(Relay):
    """Publishes the outbox, each event in a producer span of the trace that caused it."""

    async def _publish(self, parcels: list[Parcel]) -> None:
        service = self.runtime.service.name
        spans: list[Span] = []
        for parcel in parcels:
            for body in bodies(parcel.body):
                carried = decoder(Carried).decode(body)
                if not is_sampled(carried.traceparent):
                    continue
                subject, parent = parcel.subject, carried.traceparent
                attributes = messaging(subject, "send", carried.id, carried.correlationid)
                attributes["messaging.batch.message_count"] = parcel.events
                name = f"send {subject}"
                spans.append(
                    start(service, name, SpanKind.PRODUCER, parent=parent, attributes=attributes)
                )
        try:
            await super()._publish(parcels)
        except BaseException as failure:
            for span in spans:
                fail(span, failure)
            raise
        finally:
            for span in spans:
                span.end()


@lru_cache(maxsize=4096)
def summary(query: str) -> tuple[str, str]:
    """Return what a statement does, and it on one line: `INSERT bet`, `SELECT wallet`."""
    found = SUMMARY.search(query)
    if found is None:
        return "SQL", " ".join(query.split())
    verb, target = found[1].upper(), found[2] or found[3]
    return f"{verb} {target}" if target else verb, " ".join(query.split())


def sql(service: str, query: str) -> dict[str, Any]:
    """Return the attributes of a statement; its values are placeholders, so it may be shown."""
    short, text = summary(query)
    return {
        "db.system.name": "postgresql",
        "db.namespace": service,
        "db.query.summary": short,
        "db.query.text": text,
    }


class TracedConnection:
    """A connection of a transaction, each statement of which is a span."""

    def __init__(self, connection: Any, service: str, parent: str) -> None:
        """Stand before a connection of asyncpg, which does all else."""
        self._connection = self.untraced = connection
        self._service = service
        self._parent = parent

    def __getattr__(self, name: str) -> Any:
        """Return whatever else the connection has."""
        return getattr(self._connection, name)

    async def _spanned(self, name: str, query: str, *rest: Any, **named: Any) -> Any:
        attributes = sql(self._service, query)
        if name == "executemany":
            attributes["db.operation.batch.size"] = len(rest[0])
        short = attributes["db.query.summary"]
        span = start(
            self._service, short, SpanKind.CLIENT, parent=self._parent, attributes=attributes
        )
        with spanning(span):
            return await getattr(self._connection, name)(query, *rest, **named)

    async def execute(self, query: str, *rest: Any, **named: Any) -> Any:
        """Run a statement in a span."""
        return await self._spanned("execute", query, *rest, **named)

    async def executemany(self, query: str, *rest: Any, **named: Any) -> Any:
        """Run a statement once per row of arguments in one span."""
        return await self._spanned("executemany", query, *rest, **named)

    async def fetch(self, query: str, *rest: Any, **named: Any) -> Any:
        """Read rows in a span."""
        return await self._spanned("fetch", query, *rest, **named)

    async def fetchrow(self, query: str, *rest: Any, **named: Any) -> Any:
        """Read a row in a span."""
        return await self._spanned("fetchrow", query, *rest, **named)

    async def fetchval(self, query: str, *rest: Any, **named: Any) -> Any:
        """Read a value in a span."""
        return await self._spanned("fetchval", query, *rest, **named)


class TracedDatabase(Database):
    """Opens transactions, each a span with its statements below."""

    @asynccontextmanager
    async def transaction(self, context: Context) -> AsyncGenerator[Tx]:
        """Open a transaction in a span."""
        attributes = {"db.system.name": "postgresql", "db.namespace": self.name}
        parent = context.traceparent
        span = start(
            self.name, "transaction", SpanKind.CLIENT, parent=parent, attributes=attributes
        )
        with spanning(span, refusing=True):
            async with super().transaction(below(context, span)) as tx:
                if span.is_recording():
                    place = tx.context.traceparent
                    tx.connection = TracedConnection(tx.connection, self.name, place)
                yield tx


@contextmanager
def traced_batch(service: str, query: str, contexts: Iterable[Context]) -> Generator[None]:
    """Put one span around a statement for many pieces of work.

    It stands in the trace of the first that is sampled, and links to all others.
    """
    waiting = dict.fromkeys(context.traceparent for context in contexts)
    sampled = [traceparent for traceparent in waiting if is_sampled(traceparent)]
    if not sampled:
        yield
        return
    first, *others = sampled[: LINKS_MAX + 1]
    links = [found for found in map(remote, others) if found is not None]
    attributes = {**sql(service, query), "db.operation.batch.size": len(waiting)}
    name = summary(query)[0]
    with spanning(
        start(service, name, SpanKind.CLIENT, parent=first, attributes=attributes, links=links)
    ):
        yield


PARTS = tracing.Parts(
    TracedCaller, TracedEndpoint, TracedConsumer, TracedRelay, TracedDatabase, traced_door,
    traced_rpc, traced_batch,
)  # fmt: skip
