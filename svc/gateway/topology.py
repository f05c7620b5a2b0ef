"""Who talks to whom: what is declared beside what the services saw in the last minute.

Callers count their calls and hearers their events (svc/mesh/observed.py); what a callee served for
somebody who tells nothing (an operator, a stranger) is taken from the callee.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import msgspec

from svc.gateway.contract import Mark, Topology, TopologyEdge, TopologyNode
from svc.mesh.clock import Clock
from svc.mesh.metrics import SECONDS
from svc.mesh.observed import CALL, SERVED, WINDOW_S, Report

DECLARED = Path(__file__).with_name("topology.json")
STAFF = "operator"
UNKNOWN = "unknown"
"""Who asked without an inbox of a known service."""
GOOD = frozenset({"ok", "duplicate", "ignored", "told again"})

Key = tuple[str, str, str, str]


class Declared(msgspec.Struct, frozen=True):
    """One edge of the generated file."""

    kind: str
    source: str
    target: str
    name: str


@cache
def declared() -> frozenset[Key]:
    """Return the declared edges as (kind, source, target, name)."""
    edges = msgspec.json.decode(DECLARED.read_bytes(), type=list[Declared])
    return frozenset((edge.kind, edge.source, edge.target, edge.name) for edge in edges)


@dataclass
class Sum:
    """What all processes saw of one edge."""

    rate: float = 0.0
    errors: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter[str])
    buckets: list[int] = field(default_factory=lambda: [0] * (len(SECONDS) + 1))
    seconds: float = 0.0
    total: int = 0
    in_flight: int = 0


def sums_of(reports: Iterable[Report]) -> dict[Key, Sum]:
    """Add up edges over all processes, each process once."""
    found: dict[Key, Sum] = defaultdict(Sum)
    for report in {(report.process, report.service): report for report in reports}.values():
        for edge in report.edges:
            into = found[edge.kind, edge.source or UNKNOWN, edge.target, edge.name]
            seconds = max(report.window_s, 1.0)  # a process may be younger than the others
            for outcome, times in edge.outcomes.items():
                into.outcomes[outcome] += times
                into.rate += times / seconds
                into.errors += 0 if outcome in GOOD else times / seconds
            into.buckets = [a + b for a, b in zip(into.buckets, edge.buckets, strict=True)]
            into.seconds += edge.seconds
            into.total += edge.total
            into.in_flight += edge.in_flight
    for key in [key for key in found if key[0] == SERVED]:
        served = found.pop(key)
        found.setdefault((CALL, *key[1:]), served)
    return dict(found)


def topology_of(reports: Sequence[Report], services: Iterable[str], clock: Clock) -> Topology:
    """Return the map: every declared edge, and every other one that was seen."""
    sums = sums_of(reports)
    wanted = declared()
    edges = [
        edge_of(key, sums.get(key, Sum()), is_declared=key in wanted or key[1] == STAFF)
        for key in sorted(wanted | sums.keys())
    ]
    return Topology(
        at=clock.now(),
        window_s=round(max((report.window_s for report in reports), default=WINDOW_S), 1),
        nodes=nodes_of(reports, set(services), edges),
        edges=edges,
    )


def nodes_of(
    reports: Iterable[Report], services: set[str], edges: Iterable[TopologyEdge]
) -> list[TopologyNode]:
    """Return everybody at an end of an edge, and how many instances answered."""
    instances: dict[str, set[str]] = defaultdict(set)
    versions: dict[str, set[str]] = defaultdict(set)
    for report in reports:
        instances[report.service].add(report.instance)
        versions[report.service].add(report.version)
    names = services | {name for edge in edges for name in (edge.source, edge.target)}
    return [
        TopologyNode(
            name=name,
            kind="service" if name in services else "staff" if name == STAFF else "outside",
            instances=len(instances[name]),
            versions=sorted(versions[name]),
        )
        for name in sorted(names)
    ]


def edge_of(key: Key, seen: Sum, *, is_declared: bool) -> TopologyEdge:
    """Return one edge as it is shown; rates are per second, times in milliseconds."""
    kind, source, target, name = key
    errors = {outcome: times for outcome, times in seen.outcomes.items() if outcome not in GOOD}
    timed = sum(seen.buckets)
    mark: Mark = "ok" if seen.total else "never-seen"
    return TopologyEdge(
        kind=kind,
        source=source,
        target=target,
        name=name,
        declared=is_declared,
        seen=seen.total > 0,
        mark=mark if is_declared else "undeclared",
        rate_per_s=round(seen.rate, 3),
        errors_per_s=round(seen.errors, 3),
        errors=dict(sorted(errors.items())),
        in_flight=seen.in_flight,
        mean_ms=round(seen.seconds / timed * 1000, 2) if timed else None,
        p50_ms=quantile_ms(seen.buckets, 0.5),
        p95_ms=quantile_ms(seen.buckets, 0.95),
        p99_ms=quantile_ms(seen.buckets, 0.99),
    )


def quantile_ms(buckets: Sequence[int], share: float) -> float | None:
    """Return a quantile of a histogram in milliseconds, straight within a bucket; None of nothing.

    Beyond the last bound it is that bound, as Prometheus has it.
    """
    wanted = sum(buckets) * share
    if not wanted:
        return None
    below = 0
    lower = 0.0
    for count, upper in zip(buckets, SECONDS, strict=False):
        if count and below + count >= wanted:
            return round((lower + (upper - lower) * (wanted - below) / count) * 1000, 2)
        below += count
        lower = upper
    return SECONDS[-1] * 1000
