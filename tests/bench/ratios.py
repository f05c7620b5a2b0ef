"""The promises of the wallet's speed: each a ratio of two measurements of one round."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from tests.bench.measures import Row

PGBENCH_CLIENTS = (1, 8, 32)
TOLD = (
    "wallet", "grpc", "grpc one statement", "http", "faststream", "pgbench", "echo", "raw", "mesh",
)  # fmt: skip


class Round:
    """The rows of one round, by contender and in flight."""

    def __init__(self, rows: Iterable[Row]) -> None:
        """Index the rows."""
        self.rows = {(row.contender, row.in_flight): row for row in rows}

    def rate(self, contender: str, in_flight: int = 256) -> float:
        """Return a throughput, per second."""
        return self.rows[contender, in_flight].throughput

    def best(self, contender: str) -> float:
        """Return a contender's best throughput, whatever is in flight; KeyError without any."""
        rates = [row.throughput for (name, _), row in self.rows.items() if name == contender]
        if not rates:
            raise KeyError(contender)
        return max(rates)

    def over(self, contender: str, other: str) -> float:
        """Return one throughput over another, both at 256 in flight."""
        return self.rate(contender) / self.rate(other)


def _vs_pgbench(found: Round) -> float:
    return found.rate("wallet") / max(found.rate("pgbench", c) for c in PGBENCH_CLIENTS)


def _best_to_best(found: Round) -> float:
    return found.best("wallet") / found.best("pgbench")


def _share_of(found: Round, echo: str, in_flight: int) -> float:
    return found.rate("wallet", in_flight) / found.rate(echo, in_flight)


def _p99_over_p50(found: Round) -> float:
    row = found.rows["wallet", 256]
    return row.p99_ms / row.p50_ms


@dataclass(frozen=True)
class Ratio:
    """One promise: at least `target`, or with `at_most` not more; `text` says of what to what.

    Without a target it is only told, for comparison.
    """

    name: str
    text: str
    target: float | None
    of: Callable[[Round], float]
    at_most: bool = False

    def kept(self, value: float) -> bool:
        """Say whether a value keeps the promise, if it is one."""
        if self.target is None:
            return True
        return value <= self.target if self.at_most else value >= self.target

    @property
    def wanted(self) -> str:
        """Return what is wanted, in words."""
        if self.target is None:
            return "told only"
        return f"{'≤' if self.at_most else '≥'} {self.target:.1f} x"


RATIOS = (
    Ratio(
        "vs_grpc_256", "wallet to gRPC, 256 in flight", 20,
        lambda r: r.over("wallet", "grpc"),
    ),
    Ratio(
        "vs_grpc_1", "wallet to gRPC, 1 in flight", 1,
        lambda r: r.rate("wallet", 1) / r.rate("grpc", 1),
    ),
    Ratio("vs_pgbench", "wallet at 256 to pgbench's best", 8, _vs_pgbench),
    Ratio("best_to_pgbench", "wallet's best to pgbench's best", None, _best_to_best),
    Ratio(
        "share_of_echo", "wallet to nats-py's own empty echo, 256 in flight", 0.7,
        lambda r: _share_of(r, "raw", 256),
    ),
    Ratio(
        "share_of_echo_1024", "wallet to nats-py's own empty echo, 1024 in flight", 1,
        lambda r: _share_of(r, "raw", 1024),
    ),
    Ratio(
        "share_of_lean_echo", "wallet to the leanest echo there is, 256 in flight", None,
        lambda r: _share_of(r, "echo", 256),
    ),
    Ratio(
        "share_of_lean_echo_1024", "wallet to the leanest echo there is, 1024 in flight", None,
        lambda r: _share_of(r, "echo", 1024),
    ),
    Ratio(
        "p99_over_p50", "wallet's p99 to its p50, 256 in flight", 2, _p99_over_p50, at_most=True,
    ),
    Ratio(
        "accounts_1m", "1 M players to 10 k", 0.7,
        lambda r: r.over("wallet accounts_1m", "wallet empty"),
    ),
    Ratio(
        "entries_10m", "10 M entries to none", 0.8,
        lambda r: r.over("wallet entries_10m", "wallet empty"),
    ),
    Ratio(
        "hot_account", "one hot account to 10 k", 0.8,
        lambda r: r.over("wallet hot_account", "wallet empty"),
    ),
    Ratio(
        "processes_2", "two wallets that share all players to one", None,
        lambda r: r.over("wallet processes_2", "wallet empty"),
    ),
    Ratio(
        "partitions_2", "two wallets that each own half the players to one", None,
        lambda r: r.over("wallet partitions_2", "wallet empty"),
    ),
    Ratio(
        "mesh_vs_raw", "the mesh to raw NATS, no coalescing", 1,
        lambda r: r.over("mesh", "raw"),
    ),
)  # fmt: skip
"""In the order in which they are told."""


def ratios(rows: Sequence[Row]) -> dict[str, float]:
    """Return the median over all rounds of each ratio whose measurements are there."""
    rounds = [Round(r for r in rows if r.round == n) for n in sorted({row.round for row in rows})]
    found: dict[str, float] = {}
    for ratio in RATIOS:
        try:
            found[ratio.name] = round(median(ratio.of(one) for one in rounds), 3)
        except (KeyError, ZeroDivisionError):
            continue  # not measured this time (`--only`), or nothing was answered
    return found


def medians(rows: Sequence[Row]) -> list[Row]:
    """Return one row per contender and in flight, the median over all rounds of each figure."""
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.contender, row.in_flight), []).append(row)
    return sorted((_median(group) for group in groups.values()), key=_place)


def _place(row: Row) -> tuple[int, str, int]:
    """Sort the wallet and what it stands beside in the order in which they are told."""
    place = TOLD.index(row.contender) if row.contender in TOLD else len(TOLD)
    return place, row.contender, row.in_flight


def _median(group: Sequence[Row]) -> Row:
    names = group[0].cpu_us
    return Row(
        round=len(group),
        contender=group[0].contender,
        in_flight=group[0].in_flight,
        throughput=median(row.throughput for row in group),
        p50_ms=median(row.p50_ms for row in group),
        p99_ms=median(row.p99_ms for row in group),
        cpu_us={name: median(row.cpu_us[name] for row in group) for name in names},
        answered=sum(row.answered for row in group),
        refused=sum(row.refused for row in group),
        failed=sum(row.failed for row in group),
        settled_s=median(row.settled_s for row in group),
        failure=next((row.failure for row in group if row.failure), ""),
    )
