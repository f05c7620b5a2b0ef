"""The promises of the mesh: ratios of echoes, figures of events, overload and lanes, with aims."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import StatisticsError, median

from tests.bench.measures import Row
from tests.bench.ratios import Round

TEN = 10
"""From here on one decimal is enough."""
AT = 256
"""In flight, where ratios are read."""
PEERS = {
    "raw": "raw nats-py",
    "nats_micro": "nats.micro",
    "faststream": "FastStream",
    "moleculer": "Moleculer with its metrics on",
    "moleculer_bare": "Moleculer as it comes",
    "grpc": "grpc.aio",
}
"""What stands beside the mesh, by the name in `ratios`."""
WANTED = {"raw": 1.0, "faststream": 3.0, "moleculer": 2.0, "grpc": 5.0}
"""Of the mesh with deadline, caller, typed bodies and metrics; Moleculer has all but the metrics
as it comes. Calls that are made at the same time share messages, which Moleculer's do not."""


@dataclass(frozen=True)
class Promise:
    """One figure: at least `target`, or with `at_most` not more; without a target it is only told.

    `text` says how it is computed.
    """

    name: str
    text: str
    unit: str
    target: float | None
    at_most: bool = False

    def kept(self, value: float) -> bool:
        """Say whether a value keeps the promise, if it is one."""
        if self.target is None:
            return True
        return value <= self.target if self.at_most else value >= self.target

    def verdict(self, value: float) -> str:
        """Return `kept`, `not yet`, or nothing where nothing was promised."""
        if self.target is None:
            return ""
        return "kept" if self.kept(value) else "not yet"

    @property
    def wanted(self) -> str:
        """Return what is wanted, in words."""
        if self.target is None:
            return "told only"
        return f"{'≤' if self.at_most else '≥'} {figure(self.target, self.unit)}"


MESH = "mesh"
APART = {
    "alone": "of a call that shares no message (`alone`)",
    "together": "of a batchable call, many in a message,",
}
"""Other kinds of calls, whose figures stand apart: `mesh alone`, `mesh together`."""
ECHOES = (
    *(
        Promise(
            f"vs_{peer}",
            f"echoes a second of the mesh, calls as services make them, to {text}, {AT} in flight",
            "x",
            WANTED.get(peer),
        )
        for peer, text in PEERS.items()
    ),
    *(
        Promise(f"vs_{peer}_{kind}", f"the same {told} to {text}", "x", WANTED.get(peer))
        for kind, told in APART.items()
        for peer, text in PEERS.items()
    ),
)
FIGURES = (
    Promise(
        "events_per_s", "events a second, from the outbox over the stream to the inbox's effect",
        "/s", 8_000,
    ),
    Promise(
        "events_written_per_s",
        "the same while the outbox is being written, ten events in a transaction", "/s", None,
    ),
    Promise(
        "event_p50_ms", "p50 from commit to committed effect, at 1,000 events a second",
        "ms", 15, at_most=True,
    ),
    Promise(
        "event_p99_ms", "p99 of the same", "ms", None, at_most=True,
    ),
    Promise(
        "overload_goodput", "answers in time under 3 x the load that can be served, to capacity",
        "x", 0.8,
    ),
    Promise(
        "overload_refused_p99_ms", "p99 from call to refusal meanwhile", "ms", 50, at_most=True,
    ),
    Promise(
        "overload_memory", "the service's memory at the end of the overload, to that at its begin",
        "x", 1.1, at_most=True,
    ),
    Promise(
        "overload_recovery_s", "seconds after it until every call is answered as before",
        "s", 2, at_most=True,
    ),
    Promise(
        "lane_high_p50",
        "p50 from commit to effect of a high-priority event, 100,000 low ones waiting, to idle",
        "x", 3, at_most=True,
    ),
    Promise(
        "lane_high_p99", "p99 of the same", "x", None, at_most=True,
    ),
    Promise(
        "lane_low_per_s", "low-priority events that take effect a second meanwhile", "/s", 1,
    ),
)  # fmt: skip
PROMISES = {promise.name: promise for promise in (*ECHOES, *FIGURES)}
"""In the order in which they are told."""


def ratios(rows: Sequence[Row]) -> dict[str, float]:
    """Return the median over all rounds of each ratio whose measurements are there."""
    rounds = [Round(r for r in rows if r.round == n) for n in sorted({row.round for row in rows})]
    ways: dict[str, Callable[[Round], float]] = {}
    for peer in PEERS:
        contender = peer.replace("_bare", " bare")
        ways[f"vs_{peer}"] = lambda r, p=contender: r.over(MESH, p)
        for kind in APART:
            ways[f"vs_{peer}_{kind}"] = lambda r, p=contender, k=kind: r.over(f"{MESH} {k}", p)
    found: dict[str, float] = {}
    for name in (promise.name for promise in ECHOES):
        try:
            found[name] = round(median(ways[name](one) for one in rounds), 3)
        except (KeyError, ZeroDivisionError, StatisticsError):
            continue  # not measured this time, or nothing was answered
    return found


def middle(measured: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the median over all rounds of each figure."""
    names = {name: None for one in measured for name in one}
    return {name: round(median(one[name] for one in measured if name in one), 3) for name in names}


def figure(value: float, unit: str) -> str:
    """Return a figure for people."""
    if unit == "/s":
        return f"{value:,.0f} a second"
    places = 1 if value >= TEN else 2
    return f"{value:.{places}f} {unit}"
