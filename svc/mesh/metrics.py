"""Prometheus metrics of the mesh, per edge and per consumer; one registry per process.

What is counted with every call is a plain number here and becomes a metric when it is read: the
library's own counters lock and look up at each step, which costs as much as a small handler.
"""

from bisect import bisect_left
from collections.abc import Iterable
from functools import cache
from itertools import accumulate

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

CONSUMED = Counter(
    "mesh_events_consumed_total", "Events taken, by outcome", ("service", "type", "outcome")
)
CONSUME_SECONDS = Histogram(
    "mesh_event_seconds", "Time from event to effect", ("service", "type"), buckets=SECONDS
)
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

    __slots__ = ("buckets", "outcomes", "seconds")

    def __init__(self) -> None:
        """Nothing has been counted."""
        self.outcomes: dict[str, int] = {}
        self.buckets = [0] * (len(SECONDS) + 1)
        self.seconds = 0.0

    def observe(self, outcome: str, seconds: float) -> None:
        """Count one outcome and its time."""
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        self.buckets[bisect_left(SECONDS, seconds)] += 1
        self.seconds += seconds

    def count(self, outcome: str, times: int = 1) -> None:
        """Count outcomes that come without a time."""
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + times


CALLS: dict[tuple[str, ...], Tally] = {}
"""Calls made, by (caller, callee, verb)."""
SERVED: dict[tuple[str, ...], Tally] = {}
"""Calls answered, by (service, verb, caller)."""
EVENTS: dict[tuple[str, ...], Tally] = {}
"""Events worked on, by (publisher, service, type)."""
REQUESTS: dict[tuple[str, ...], Tally] = {}
"""HTTP requests made, by (caller, callee, `http`)."""


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
        served = ("service", "verb", "caller")
        yield _outcomes("mesh_served", "Calls answered, by outcome", served, SERVED)


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
