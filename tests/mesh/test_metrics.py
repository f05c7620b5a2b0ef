"""What can be seen of a service: its metrics, its edges, and numbers that are honest."""

import asyncio
import json

import pytest
from prometheus_client import REGISTRY

from svc.mesh.discovery import survey
from svc.mesh.errors import Unavailable
from svc.mesh.observed import STANDING, Report
from svc.platform import streams
from tests.mesh.pair import (
    ECHO,
    HAPPENED,
    MANY,
    NARROW,
    NUMBERS,
    REFUSE,
    Ask,
    Happened,
    Pair,
    TooMuch,
)
from tests.support.waiting import until


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


EDGE = {"caller": "casino", "callee": "wallet"}
SHED = {"service": "wallet", "verb": "narrow"}


async def fresh() -> None:
    STANDING.asked_at = -999.0
    await STANDING.refresh()


async def test_calls_under_way_and_calls_refused_for_load_are_counted(pair: Pair) -> None:
    before = value("mesh_shed_total", **SHED)
    ask = pair.asking.context().call
    calls = [asyncio.create_task(ask(NARROW, Ask(text="x", sleep_s=0.02))) for _ in range(20)]
    await pair.memory.serving.wait()
    assert value("mesh_served_in_flight", **SHED) == 1
    assert value("mesh_served_waiting", **SHED) > 0
    assert value("mesh_calls_in_flight", verb="narrow", **EDGE) > 1
    outcomes = await asyncio.gather(*calls, return_exceptions=True)

    refused = sum(isinstance(one, Unavailable) for one in outcomes)
    shed = value("mesh_shed_total", **SHED) - before
    assert shed >= 3
    assert refused <= shed  # some were asked again when there was room
    told = value("mesh_served_total", outcome="overloaded", caller="casino", **SHED)
    assert told >= shed
    assert value("mesh_calls_in_flight", verb="narrow", **EDGE) == 0


async def test_the_outbox_and_the_lag_of_consumers_are_asked_for_when_read(pair: Pair) -> None:
    relay = pair.answering.relay
    assert relay is not None
    await relay.drain()
    async with pair.answering.context().transaction() as tx:
        for number in (next(NUMBERS), next(NUMBERS)):
            await tx.publish(HAPPENED, Happened(number=number), subject="x")

    async def deep(events: int) -> bool:
        await fresh()  # which may be what somebody asked for before
        return value("mesh_outbox_depth", service="wallet") == events

    await until(lambda: deep(2))
    assert value("mesh_outbox_age_seconds", service="wallet") > 0
    await relay.restart()
    await until(lambda: deep(0))
    lag = REGISTRY.get_sample_value("mesh_consumer_lag", {"service": "casino", "stream": "WALLET"})
    assert lag == 0


async def test_stats_count_every_request_once_whether_it_came_alone_or_in_company(
    pair: Pair,
) -> None:
    ask = pair.asking.context().call
    await asyncio.gather(*(ask(MANY, Ask(text=str(n))) for n in range(40)))
    await ask(ECHO, Ask(text="x", sleep_s=0.05))
    with pytest.raises(TooMuch):
        await ask(REFUSE, Ask(text="x"))

    connection = await streams.connect(pair.installation, "operator")
    try:
        [told] = await survey(connection, "operator", "$SRV.STATS.wallet", 5, enough=1)
    finally:
        await connection.close()
    stats = {endpoint["name"]: endpoint for endpoint in told["endpoints"]}
    assert stats["many"]["num_requests"] == 40
    assert stats["many"]["data"]["outcomes"] == {"ok": 40}
    assert stats["refuse"]["num_requests"] == stats["refuse"]["num_errors"] == 1
    assert stats["refuse"]["last_error"] == "too-much"
    assert stats["echo"]["num_errors"] == 0
    assert stats["echo"]["processing_time"] >= 50_000_000
    assert stats["echo"]["average_processing_time"] == stats["echo"]["processing_time"]
    assert set(told) == {"type", "name", "id", "version", "metadata", "started", "endpoints"}


async def test_each_service_tells_its_edges_of_the_last_minute(pair: Pair) -> None:
    connection = await streams.connect(pair.installation, "operator")

    async def edges() -> dict[tuple[str, str, str, str], int]:
        answers = await survey(connection, "operator", "$SRV.EDGES", 5, enough=2)
        reports = [Report(**answer) for answer in answers]
        found = [edge for report in reports for edge in json.loads(json.dumps(report.edges))]
        assert len({report.process for report in reports}) == 1
        return {
            (one["kind"], one["source"], one["target"], one["name"]): sum(one["outcomes"].values())
            for one in found
        }

    try:
        before = await edges()
        ask = pair.asking.context().call
        for _ in range(3):
            await ask(ECHO, Ask(text="x"))
        after = await edges()
    finally:
        await connection.close()
    for kind in ("call", "served"):
        edge = kind, "casino", "wallet", "echo"
        assert after[edge] - before.get(edge, 0) == 3


async def test_events_are_counted_by_edge_and_what_comes_again_is_told(pair: Pair) -> None:
    edge = {"publisher": "wallet", "service": "casino", "type": HAPPENED.type}
    consumer = {"service": "casino", "stream": HAPPENED.stream}
    names = ("ok", "unavailable")
    before = {name: value("mesh_events_consumed_total", outcome=name, **edge) for name in names}
    again = value("mesh_deliveries_total", outcome="redelivered", **consumer)
    acknowledged = value("mesh_ack_seconds_count", **consumer)
    number = next(NUMBERS)
    async with pair.answering.context().transaction() as tx:
        data = Happened(number=number, mood="later")
        await tx.publish(HAPPENED, data, subject=str(number))

    async def worked() -> bool:
        return value("mesh_events_consumed_total", outcome="ok", **edge) == before["ok"] + 1

    await until(worked)
    assert value("mesh_events_consumed_total", outcome="unavailable", **edge) >= (
        before["unavailable"] + 1
    )
    assert value("mesh_event_seconds_count", **edge) == before["ok"] + 1
    assert value("mesh_deliveries_total", outcome="redelivered", **consumer) == again + 1
    assert value("mesh_ack_seconds_count", **consumer) == acknowledged + 2
