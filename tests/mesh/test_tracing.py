"""Traces as a collector gets them: over real OTLP, from two services on a real broker."""

import asyncio
import secrets
import socket
from collections.abc import Generator

import pytest

from svc.mesh import spans, tracing
from svc.mesh.caller import Caller
from svc.mesh.context import Context
from svc.mesh.endpoint import Endpoint
from svc.mesh.errors import RemoteBug, Unavailable
from svc.mesh.traced import TracedCaller, summary
from tests.mesh.pair import (
    BREAK,
    ECHO,
    HAPPENED,
    MANY,
    NUMBERS,
    REFUSE,
    Ask,
    Happened,
    Pair,
    TooMuch,
)
from tests.support.collector import Collector, Seen, collecting
from tests.support.waiting import until

SECRET = "personal-data-of-a-player"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Generator[Collector]:
    """What starts during the test is traced."""
    with collecting() as found:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
        assert tracing.begin()
        try:
            yield found
        finally:
            tracing.end()


def sampled(pair: Pair) -> tuple[Context, str]:
    """Return work whose trace somebody wants to see, and the trace."""
    context, trace = pair.asking.context(), secrets.token_hex(16)
    context.traceparent = f"00-{trace}-{secrets.token_hex(8)}-01"
    return context, trace


async def collected(collector: Collector, trace: str) -> list[Seen]:
    await asyncio.to_thread(spans.EXPORT.flush)
    return collector.of(trace)


async def test_a_call_is_a_client_span_with_a_server_span_below(
    collector: Collector, pair: Pair
) -> None:
    context, trace = sampled(pair)
    await pair.asking.caller.call(ECHO, Ask(text=SECRET), 1, context)

    asked, served = sorted(await collected(collector, trace), key=lambda span: span.kind)
    assert (asked.service, asked.kind, asked.name) == ("casino", "client", "wallet/echo")
    assert (served.service, served.kind, served.name) == ("wallet", "server", "wallet/echo")
    assert asked.parent == context.traceparent.split("-")[2]
    assert served.parent == asked.span
    assert served.attributes == {
        "rpc.system.name": "nats",
        "rpc.method": "wallet/echo",
        "service.peer.name": "casino",
        "betmesh.correlation_id": context.correlation_id,
    }
    assert SECRET.encode() not in b"".join(collector.raw)


async def test_calls_that_travel_together_keep_their_own_traces(
    collector: Collector, pair: Pair
) -> None:
    works = [sampled(pair) for _ in range(5)]
    ask = pair.asking.caller.call
    await asyncio.gather(
        *(ask(MANY, Ask(text=str(n)), 1, context) for n, (context, _) in enumerate(works))
    )

    for _, trace in works:
        kinds = {span.kind: span for span in await collected(collector, trace)}
        assert kinds["server"].parent == kinds["client"].span


async def test_a_refusal_is_an_error_of_the_caller_and_a_bug_one_of_both(
    collector: Collector, pair: Pair
) -> None:
    context, refused = sampled(pair)
    with pytest.raises(TooMuch):
        await pair.asking.caller.call(REFUSE, Ask(text=SECRET), 1, context)
    context, broken = sampled(pair)
    with pytest.raises(RemoteBug):
        await pair.asking.caller.call(BREAK, Ask(text=SECRET), 1, context)

    kinds = {span.kind: span for span in await collected(collector, refused)}
    assert kinds["client"].failed
    assert not kinds["server"].failed
    assert kinds["server"].attributes["error.type"] == "too-much"
    kinds = {span.kind: span for span in await collected(collector, broken)}
    assert kinds["server"].failed
    assert kinds["server"].attributes["error.type"] == "ZeroDivisionError"
    assert SECRET.encode() not in b"".join(collector.raw)
    assert b"a secret of the inside" not in b"".join(collector.raw)


async def test_an_event_stays_in_its_trace_through_outbox_and_consumer(
    collector: Collector, pair: Pair
) -> None:
    context, trace = sampled(pair)
    context.runtime = pair.answering
    number = next(NUMBERS)
    async with context.transaction() as tx:
        await tx.publish(HAPPENED, Happened(number=number), subject=str(number))

    async def whole() -> list[Seen]:
        found = await collected(collector, trace)
        return found if {"producer", "consumer"} <= {span.kind for span in found} else []

    found = await until(whole)
    names = {(span.service, span.name): span for span in found}
    wrote = names["wallet", "transaction"]
    sent = names["wallet", "send wallet.events.happened"]
    heard = names["casino", "process wallet.events.happened"]
    assert names["wallet", "INSERT mesh_outbox"].parent == wrote.span
    assert sent.parent == heard.parent == wrote.span
    assert heard.attributes["messaging.consumer.group.name"] == "casino"
    assert heard.attributes["messaging.message.id"] == sent.attributes["messaging.message.id"]
    effect = names["casino", "INSERT effect"]
    assert effect.parent == names["casino", "transaction"].span
    assert effect.attributes["db.query.text"] == (
        "INSERT INTO effect (number, event_id) VALUES ($1, $2)"
    )


async def test_an_event_that_fails_is_an_error_span_each_time(
    collector: Collector, pair: Pair
) -> None:
    context, trace = sampled(pair)
    context.runtime = pair.answering
    number = next(NUMBERS)
    async with context.transaction() as tx:
        data = Happened(number=number, mood="later")
        await tx.publish(HAPPENED, data, subject=str(number))

    async def tried() -> list[Seen]:
        found = [span for span in await collected(collector, trace) if span.kind == "consumer"]
        return found if len(found) > 1 else []

    assert sorted(span.failed for span in await until(tried)) == [False, True]


async def test_what_nobody_wants_to_see_is_not_exported_but_stays_linked(
    collector: Collector, pair: Pair
) -> None:
    context, trace = sampled(pair)
    context.traceparent = context.traceparent[:-1] + "0"
    await pair.asking.caller.call(ECHO, Ask(text="x"), 1, context)
    assert await collected(collector, trace) == []


async def test_one_statement_for_many_links_to_all_of_them(
    collector: Collector, pair: Pair
) -> None:
    works = [sampled(pair) for _ in range(3)]
    contexts = [context for context, _ in works]
    together = pair.asking.parts.batch
    assert together is not None
    with together("casino", "SELECT write_batch($1)", contexts):
        pass
    [span] = await collected(collector, works[0][1])
    assert span.name == "SELECT write_batch"
    assert span.links == tuple(context.traceparent.split("-")[2] for context in contexts[1:])
    assert span.attributes["db.operation.batch.size"] == 3


async def test_without_a_collector_the_parts_are_plain(pair: Pair) -> None:
    assert not tracing.begin({})
    assert type(pair.asking.caller) is Caller
    assert {type(endpoint) for endpoint in pair.answering.endpoints} == {Endpoint}
    off = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    assert not tracing.begin({**off, "OTEL_SDK_DISABLED": "true"})
    assert not tracing.begin({**off, "OTEL_TRACES_EXPORTER": "none"})
    assert tracing.parts() is tracing.PLAIN


@pytest.mark.timeout(20)
def test_a_collector_that_takes_nothing_holds_no_end_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        monkeypatch.setattr(spans, "END_S", 0.1)
        assert tracing.begin()
        spans.start("wallet", "x", spans.SpanKind.CLIENT, parent="", attributes={}).end()
        tracing.end()
    assert tracing.parts() is tracing.PLAIN


def test_what_is_not_spoken_here_is_said_at_the_start() -> None:
    there = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    with pytest.raises(Unavailable, match="set http/protobuf"):
        tracing.begin({**there, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})
    with pytest.raises(Unavailable, match="set otlp or none"):
        tracing.begin({**there, "OTEL_TRACES_EXPORTER": "zipkin"})


@pytest.mark.parametrize(
    ("query", "short"),
    [
        ("INSERT INTO bet (id) VALUES ($1)", "INSERT bet"),
        ("\n  SELECT a\n  FROM wallet w WHERE b = $1", "SELECT wallet"),
        ("UPDATE bet SET x = $1", "UPDATE bet"),
        ("DELETE FROM mesh_outbox", "DELETE mesh_outbox"),
        ("SELECT write_batch($1, $2)", "SELECT write_batch"),
        ("WITH a AS (SELECT 1) SELECT * FROM a", "WITH a"),
        ("VACUUM", "SQL"),
    ],
)
def test_a_statement_is_called_by_what_it_does_and_where(query: str, short: str) -> None:
    assert summary(query)[0] == short


def test_a_traced_caller_is_a_caller() -> None:
    assert issubclass(TracedCaller, Caller)


async def test_events_that_share_a_transaction_keep_their_own_traces(
    collector: Collector, pair: Pair
) -> None:
    works = [sampled(pair) for _ in range(12)]
    numbers = [next(NUMBERS) for _ in works]
    for (context, _), number in zip(works, numbers, strict=True):
        context.runtime = pair.answering
        async with context.transaction() as tx:
            await tx.publish(HAPPENED, Happened(number=number), subject=str(number))

    async def heard() -> bool:
        await collected(collector, "")
        return all("consumer" in {span.kind for span in collector.of(trace)} for _, trace in works)

    await until(heard)
    for _, trace in works:
        [worked] = [span for span in collector.of(trace) if span.kind == "consumer"]
        [effect] = [span for span in collector.of(trace) if span.name == "INSERT effect"]
        assert worked.name == "process wallet.events.happened"
        ancestors = {span.span: span.parent for span in collector.of(trace)}
        assert worked.span in {effect.parent, ancestors.get(effect.parent)}
