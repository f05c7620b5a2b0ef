"""Who asks for which texts, and what was asked for in vain, since this process started."""

import re
from collections import Counter

from prometheus_client import Counter as Metric

CALLER = re.compile(r"betmesh-([a-z][a-z0-9_]{0,31})")
ANYBODY = "other"
PLACES_MAX = 1_000
"""Distinct things counted: locales, namespaces, callers are the client's free choice."""

REQUESTS_METRIC = Metric(
    "betmesh_localization_requests", "Bundles served, by caller.", ["caller", "namespace"]
)
MISSING_METRIC = Metric("betmesh_localization_missing", "Bundles asked for in vain.", ["bundle"])


class Usage:
    """Counts of requests (`<caller>/<namespace>`) and of misses (`<locale>/<namespace>`)."""

    def __init__(self) -> None:
        """Start at zero."""
        self.requests: Counter[str] = Counter()
        self.missing: Counter[str] = Counter()

    def request(self, user_agent: str, namespace: str) -> None:
        """Count a bundle that was asked for and found."""
        found = CALLER.fullmatch(user_agent)
        caller = found[1] if found else ANYBODY
        place = _bounded(self.requests, f"{caller}/{namespace}")
        self.requests[place] += 1
        REQUESTS_METRIC.labels(caller if place != ANYBODY else ANYBODY, namespace).inc()

    def miss(self, locale: str, namespace: str) -> None:
        """Count a bundle that no file answers for, whether English stood in for it or nothing."""
        bundle = _bounded(self.missing, f"{locale}/{namespace}")
        self.missing[bundle] += 1
        MISSING_METRIC.labels(bundle).inc()


def _bounded(counts: Counter[str], place: str) -> str:
    return place if place in counts or len(counts) < PLACES_MAX else ANYBODY


usage = Usage()
