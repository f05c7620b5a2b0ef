"""Adds up what the processes of the platform tell of their edges (observed.py)."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from svc.mesh.metrics import SECONDS
from svc.mesh.observed import CALL, SERVED, Report

UNKNOWN = "unknown"
"""Who asked without an inbox of a known service."""
GOOD = frozenset({"ok", "duplicate", "ignored", "told again"})
"""Outcomes that are no errors."""

Key = tuple[str, str, str, str]
"""Kind, source, target and name of an edge."""


@dataclass
class Sum:
    """What all processes saw of one edge in the last minute; rates are per second.

    `total` is all that they ever saw.
    """

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
