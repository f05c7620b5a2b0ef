"""Prometheus metrics of the mesh, per edge and per consumer; one registry per process."""

from functools import cache

from prometheus_client import Counter, Gauge, Histogram

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

CALLS = Counter(
    "mesh_calls_total", "Calls made, by outcome", ("caller", "callee", "verb", "outcome")
)
CALL_SECONDS = Histogram(
    "mesh_call_seconds", "Time from call to answer", ("caller", "callee", "verb"), buckets=SECONDS
)
SERVED = Counter(
    "mesh_served_total", "Calls answered, by outcome", ("service", "verb", "caller", "outcome")
)
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
