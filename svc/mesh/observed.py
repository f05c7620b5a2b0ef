"""What a process saw of its edges in the last minute, and how its queues stand, when somebody asks.

The counts are those of metrics.py. Every few seconds they are copied, so that a minute ago is
known; nothing is added to the path of a call. Depth and age of outboxes and the lag of consumers
are asked of Postgres and NATS when they are wanted, and at most every `FRESH_S` seconds.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct
from prometheus_client import REGISTRY, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from svc.mesh import metrics
from svc.mesh.clock import new_id

if TYPE_CHECKING:
    from svc.mesh.metrics import Tally
    from svc.mesh.runtime import Runtime

WINDOW_S = 60.0
"""How far back rates look."""
STEP_S = 5.0
FRESH_S = 2.0
ASK_S = 1.0
OUTBOX = """
    SELECT coalesce(sum(coalesce(events, 1)), 0)::bigint AS depth,
        coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8 AS age_s
    FROM mesh_outbox
"""
PROCESS = new_id()
"""Counts are a process's: who adds up answers of several services asks whose they are."""
CALL, EVENT, SERVED = "call", "event", "served"
SERVER = ("service", "verb")


class Edge(Struct, frozen=True, kw_only=True):
    """One edge as one process saw it: who calls or tells whom what.

    `outcomes`, `buckets` (bounds: metrics.SECONDS) and `seconds` are those of the window, `total`
    is all since the process started. `served` is a call as the callee counts it.
    """

    kind: str
    source: str
    target: str
    name: str
    outcomes: dict[str, int]
    buckets: list[int]
    seconds: float
    total: int
    in_flight: int = 0


class Report(Struct, frozen=True, kw_only=True):
    """All edges of one service of one process, over the last `window_s` seconds."""

    service: str
    instance: str
    process: str
    version: str
    window_s: float
    edges: list[Edge]


Copy = tuple[dict[str, int], list[int], float]
NONE: Copy = ({}, [], 0.0)


def _tallies() -> Iterable[tuple[tuple[str, str, str, str], Tally]]:
    """Yield (kind, source, target, name) and counts of every edge of this process."""
    for (caller, callee, verb), tally in list(metrics.CALLS.items()):
        yield (CALL, caller, callee, verb), tally
    for (service, verb, caller), tally in list(metrics.SERVED.items()):
        yield (SERVED, caller, service, verb), tally
    for (publisher, service, kind), tally in list(metrics.EVENTS.items()):
        yield (EVENT, publisher, service, kind), tally
    for (caller, callee, kind), tally in list(metrics.REQUESTS.items()):
        yield (kind, caller, callee, callee), tally


class Minute:
    """Copies of all counts, the oldest about a minute old."""

    def __init__(self) -> None:
        """Nothing was counted before now."""
        self.copies: deque[tuple[float, dict[tuple[str, str, str, str], Copy]]] = deque()
        self.timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Copy from now on."""
        if self.timer is None:
            self._step()

    def end(self) -> None:
        """Copy no more."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self.copies.clear()

    def _step(self) -> None:
        now = time.monotonic()
        copied = {
            key: (dict(tally.outcomes), list(tally.buckets), tally.seconds)
            for key, tally in _tallies()
        }
        self.copies.append((now, copied))
        while len(self.copies) > 1 and self.copies[1][0] <= now - WINDOW_S:
            self.copies.popleft()
        self.timer = asyncio.get_running_loop().call_later(STEP_S, self._step)

    def report(self, runtime: Runtime) -> Report:
        """Return the edges at which this service stands as it counts them."""
        at, before = self.copies[0] if self.copies else (time.monotonic(), {})
        service = runtime.service.name
        flying = in_flight(runtime)
        edges: list[Edge] = []
        for key, tally in _tallies():
            kind, source, target, name = key
            if service != (target if kind in (EVENT, SERVED) else source):
                continue
            if not tally.outcomes and not flying[target, name]:
                continue  # prepared, but never used
            outcomes, buckets, seconds = before.get(key, NONE)
            new = Counter(tally.outcomes)
            new.subtract(outcomes)
            old = buckets or [0] * len(tally.buckets)
            edges.append(
                Edge(
                    kind=kind,
                    source=source,
                    target=target,
                    name=name,
                    outcomes={outcome: times for outcome, times in new.items() if times},
                    buckets=[now - then for now, then in zip(tally.buckets, old, strict=True)],
                    seconds=tally.seconds - seconds,
                    total=sum(tally.outcomes.values()),
                    in_flight=flying[target, name] if kind == CALL else 0,
                )
            )
        return Report(
            service=service,
            instance=runtime.instance,
            process=PROCESS,
            version=runtime.service.contract.version,
            window_s=time.monotonic() - at,
            edges=edges,
        )


MINUTE = Minute()


def in_flight(runtime: Runtime) -> Counter[tuple[str, str]]:
    """Return how many calls of a service wait for their answer, by callee and verb."""
    found: Counter[tuple[str, str]] = Counter()
    caller = runtime.caller
    for one in list(caller.pending.values()):
        tokens = one.subject.split(".")
        if tokens[0] in {"rpc", "release"} and one.take is None:
            found[tokens[1], tokens[-1]] += 1
    lanes = [lane for edge in caller.edges.values() if edge.lane for lane in edge.lane.lanes()]
    for lane in lanes:
        if waiting := lane.under_way():
            found[lane.call.service, lane.call.verb] += waiting
    return found


class Standing:
    """How the queues of the services of this process stand."""

    def __init__(self) -> None:
        """Nobody runs."""
        self.runtimes: list[Runtime] = []
        self.outboxes: dict[str, tuple[int, float]] = {}
        self.consumers: dict[tuple[str, str], tuple[int, int, int]] = {}
        self.asking: asyncio.Task[None] | None = None
        self.asked_at = -FRESH_S

    def watch(self, runtime: Runtime) -> None:
        """Look after a service that has started."""
        self.runtimes.append(runtime)
        MINUTE.begin()

    def forget(self, runtime: Runtime) -> None:
        """Look after it no more."""
        if runtime in self.runtimes:
            self.runtimes.remove(runtime)
        if not self.runtimes:
            MINUTE.end()

    async def refresh(self) -> None:
        """Ask Postgres and NATS how the queues stand, unless that was done just now."""
        if self.asking is None:
            if time.monotonic() - self.asked_at < FRESH_S:
                return
            self.asking = asyncio.create_task(self._ask())
        await asyncio.shield(self.asking)

    async def _ask(self) -> None:
        try:
            self.outboxes, self.consumers = {}, {}
            asked = [self._outbox(runtime) for runtime in self.runtimes if runtime.database]
            asked += [
                self._consumer(runtime, consumer.stream)
                for runtime in self.runtimes
                for consumer in runtime.consumers
            ]
            # What cannot be asked now is not told: an old number would look like a true one.
            await asyncio.gather(*asked, return_exceptions=True)
        finally:
            self.asked_at = time.monotonic()
            self.asking = None

    async def _outbox(self, runtime: Runtime) -> None:
        async with asyncio.timeout(ASK_S):
            row = await runtime.own_database().pool.fetchrow(OUTBOX)
        self.outboxes[runtime.service.name] = row["depth"], row["age_s"]

    async def _consumer(self, runtime: Runtime, stream: str) -> None:
        name = runtime.service.name
        subject = f"$JS.API.CONSUMER.INFO.{stream}.{name}"
        message = await runtime.caller.ask(subject, b"", time.time() + ASK_S, None)
        told: dict[str, Any] = msgspec.json.decode(message.data)
        self.consumers[name, stream] = (
            told["num_pending"], told["num_ack_pending"], told["num_redelivered"],
        )  # fmt: skip


STANDING = Standing()


class Gauges(Collector):
    """Tells how things stand as metrics, whenever somebody reads them."""

    def collect(self) -> Iterable[Metric]:
        """Yield one family per kind of number."""
        runtimes = list(STANDING.runtimes)
        yield _calls_in_flight(runtimes)
        yield from _endpoints(runtimes)
        yield from _consumers()
        yield from _outboxes()


def _calls_in_flight(runtimes: list[Runtime]) -> Metric:
    labels = ("caller", "callee", "verb")
    family = GaugeMetricFamily("mesh_calls_in_flight", "Calls not answered yet", labels=labels)
    counts: Counter[tuple[str, str, str]] = Counter()
    for runtime in runtimes:
        for edge, count in in_flight(runtime).items():
            counts[runtime.service.name, *edge] += count
    for key, count in counts.items():
        family.add_metric(key, count)
    return family


def _endpoints(runtimes: list[Runtime]) -> Iterable[Metric]:
    families = (
        GaugeMetricFamily("mesh_served_in_flight", "Messages being served", labels=SERVER),
        GaugeMetricFamily("mesh_served_waiting", "Messages waiting", labels=SERVER),
        CounterMetricFamily("mesh_shed", "Messages refused because of load", labels=SERVER),
        CounterMetricFamily("mesh_late", "Calls that came too late", labels=SERVER),
    )
    sums: dict[tuple[str, str], list[int]] = {}
    for endpoint in [endpoint for runtime in runtimes for endpoint in runtime.endpoints]:
        stats = endpoint.stats
        numbers = (endpoint.busy, len(endpoint.queue), stats.shed, stats.late)
        key = endpoint.call.service, endpoint.call.verb
        sums[key] = [a + b for a, b in zip(sums.get(key, (0, 0, 0, 0)), numbers, strict=True)]
    for key, numbers in sums.items():
        for family, number in zip(families, numbers, strict=True):
            family.add_metric(key, number)
    return families


def _consumers() -> Iterable[Metric]:
    labels = ("service", "stream")
    families = (
        GaugeMetricFamily("mesh_consumer_lag", "Events not delivered yet", labels=labels),
        GaugeMetricFamily("mesh_consumer_in_flight", "Events not acknowledged yet", labels=labels),
        GaugeMetricFamily("mesh_consumer_redelivering", "Of these, tried before", labels=labels),
    )
    for key, numbers in STANDING.consumers.items():
        for family, number in zip(families, numbers, strict=True):
            family.add_metric(key, number)
    return families


def _outboxes() -> Iterable[Metric]:
    depth = GaugeMetricFamily("mesh_outbox_depth", "Events not published yet", labels=("service",))
    age = GaugeMetricFamily(
        "mesh_outbox_age_seconds", "How long the oldest waits", labels=("service",)
    )
    for service, (events, seconds) in STANDING.outboxes.items():
        depth.add_metric((service,), events)
        age.add_metric((service,), seconds)
    return depth, age


REGISTRY.register(Gauges())
