"""Prometheus metrics of the mesh, per edge and per consumer; one registry per process.

What is counted with every call is a plain number here and becomes a metric when it is read: the
library's own counters lock and look up at each step, which costs as much as a small handler.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client import REGISTRY, Counter, Gauge, Metric
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector

from svc.mesh.errors import Resting

if TYPE_CHECKING:
    from svc.mesh.breaker import Breaker

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

PUBLISHED = Counter("mesh_events_published_total", "Events published", ("service", "subject"))
OUTBOX_FAILURES = Counter("mesh_outbox_failures_total", "Relay rounds that failed", ("service",))
CACHE = Counter("mesh_cache_total", "Cache reads, by outcome", ("service", "outcome"))
CONNECTED = Gauge("mesh_nats_connected", "1 while connected to NATS", ("service",))


@cache
def published(service: str, subject: str) -> Counter:
    """Return the counter of one kind of event."""
    return PUBLISHED.labels(service, subject)


class Tally:
    """How often each outcome came, and how long it took: one edge, or one endpoint and caller."""

    __slots__ = ("buckets", "hedges", "hedges_won", "outcomes", "retries", "seconds")

    def __init__(self) -> None:
        """Nothing has been counted."""
        self.retries = 0
        self.hedges = 0
        self.hedges_won = 0
        self.outcomes: dict[str, int] = {}
        self.buckets = [0] * (len(SECONDS) + 1)
        self.seconds = 0.0

    def observe(self, outcome: str, seconds: float) -> None:
        """Count one outcome and its time."""
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        self.buckets[bisect_left(SECONDS, seconds)] += 1
        self.seconds += seconds

    def observe_all(self, outcome: str, seconds: Sequence[float]) -> None:
        """Count an outcome that came many times at once, and their times."""
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + len(seconds)
        buckets = self.buckets
        for one in seconds:
            buckets[bisect_left(SECONDS, one)] += 1
        self.seconds += sum(seconds)

    def calls(self) -> int:
        """Return how many calls ended, without those that were not sent because of a breaker."""
        return sum(self.outcomes.values()) - self.outcomes.get(Resting.word, 0)

    def count(self, outcome: str, times: int = 1) -> None:
        """Count outcomes that come without a time."""
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + times


CALLS: dict[tuple[str, ...], Tally] = {}
"""Calls made, by (caller, callee, verb)."""
SERVED: dict[tuple[str, ...], Tally] = {}
"""Calls answered, by (service, verb, caller)."""
EVENTS: dict[tuple[str, ...], Tally] = {}
"""Events worked on, by (publisher, service, type)."""
ACKNOWLEDGED: dict[tuple[str, ...], Tally] = {}
"""Events that came and went, by (service, stream); those that came again are `redelivered`."""
REQUESTS: dict[tuple[str, ...], Tally] = {}
"""HTTP requests made, by (caller, callee, `http`)."""
BREAKERS: "dict[tuple[str, str, str], Breaker]" = {}
"""Breakers by (caller, callee, verb); the verb `*` stands for the whole callee."""


def tally(kept: dict[tuple[str, ...], Tally], *labels: str) -> Tally:
    """Return the tally with these labels, the same for all who ask in this process."""
    found = kept.get(labels)
    if found is None:
        found = kept[labels] = Tally()
    return found


class Tallies(Collector):
    """Tells the tallies as metrics, whenever somebody reads them."""

    def collect(self) -> Iterable[Metric]:
        """Yield one family per kind of number."""
        edge = ("caller", "callee", "verb")
        yield _outcomes("mesh_calls", "Calls made, by outcome", edge, CALLS)
        yield _seconds("mesh_call_seconds", "Time from call to answer", edge, CALLS)
        yield _outcomes("mesh_requests", "HTTP requests made, by outcome", edge, REQUESTS)
        yield _seconds("mesh_request_seconds", "Time from request to answer", edge, REQUESTS)
        yield from _repeated(edge)
        yield from _state(edge)
        heard = ("publisher", "service", "type")
        yield _outcomes("mesh_events_consumed", "Events taken, by outcome", heard, EVENTS)
        yield _seconds("mesh_event_seconds", "Time from event to effect", heard, EVENTS)
        consumer = ("service", "stream")
        yield _outcomes("mesh_deliveries", "Events that came, by how", consumer, ACKNOWLEDGED)
        yield _seconds("mesh_ack_seconds", "Time from delivery to its end", consumer, ACKNOWLEDGED)
        served = ("service", "verb", "caller")
        yield _outcomes("mesh_served", "Calls answered, by outcome", served, SERVED)


def _repeated(edge: tuple[str, ...]) -> Iterable[Metric]:
    """Yield how often calls were sent more than once; `mesh_calls_total` counts each once."""
    retries = CounterMetricFamily("mesh_call_retries", "Further attempts", labels=edge)
    hedges = CounterMetricFamily("mesh_call_hedges", "Second requests of reads", labels=edge)
    won = CounterMetricFamily("mesh_call_hedges_won", "Second requests that won", labels=edge)
    for key, found in list(CALLS.items()):
        retries.add_metric(key, found.retries)
        hedges.add_metric(key, found.hedges)
        won.add_metric(key, found.hedges_won)
    yield from (retries, hedges, won)


def _state(edge: tuple[str, ...]) -> Iterable[Metric]:
    """Yield which callees are given a rest, and how often they were."""
    state = GaugeMetricFamily("mesh_breaker_state", "0 closed, 1 half-open, 2 open", labels=edge)
    openings = CounterMetricFamily("mesh_breaker_openings", "How often it opened", labels=edge)
    for key, breaker in list(BREAKERS.items()):
        state.add_metric(key, breaker.state)
        openings.add_metric(key, breaker.openings)
    yield from (state, openings)


def _outcomes(
    name: str, text: str, labels: tuple[str, ...], kept: dict[tuple[str, ...], Tally]
) -> Metric:
    family = CounterMetricFamily(name, text, labels=(*labels, "outcome"))
    for key, found in list(kept.items()):
        for outcome, times in list(found.outcomes.items()):
            family.add_metric((*key, outcome), times)
    return family


def _seconds(
    name: str, text: str, labels: tuple[str, ...], kept: dict[tuple[str, ...], Tally]
) -> Metric:
    family = HistogramMetricFamily(name, text, labels=labels)
    bounds = [*map(str, SECONDS), "+Inf"]
    for key, found in list(kept.items()):
        buckets = list(zip(bounds, accumulate(found.buckets), strict=True))
        family.add_metric(key, buckets, found.seconds)
    return family


REGISTRY.register(Tallies())
