"""What is measured, as data: an order to the load generator, its answer, and a row of results."""

import time
from collections.abc import Mapping, Sequence

import msgspec
import psutil

CpuSeconds = dict[str, float]
"""Seconds of CPU by group of processes: service, client, postgres, nats."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """Ask so many at a time for so long, and append what is told to `log`.

    With `plain` all requests are of one player, and cost the load generator next to nothing.
    With `opening`, give so many players their opening deposit instead. With `again`, ask anew for
    what `log` has no answer to, and for its last so many answers.
    """

    in_flight: int
    seconds: float = 1.0
    warm_s: float = 0.5
    players: int = 1
    plain: bool = False
    refused_share: float = 0.0
    seed: int = 1
    opening: int = 0
    again: int = 0
    log: str = ""


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What the load generator saw: all that was answered within the window, failures apart.

    `asked` counts the warm-up and what was under way at the end too: the CPU time of the servers
    is divided by it.
    """

    answered: int
    refused: int
    failed: int
    asked: int
    seconds: float
    p50_ms: float
    p99_ms: float
    failure: str = ""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement of one contender in one round.

    `cpu_us` is the CPU time per transfer, in microseconds, by group of processes, until all of it
    was done; `settled_s` is how long work went on after the last answer (events, checkpoints).
    """

    round: int
    contender: str
    in_flight: int
    throughput: float
    p50_ms: float
    p99_ms: float
    cpu_us: dict[str, float]
    answered: int
    refused: int
    failed: int
    settled_s: float
    failure: str = ""


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return a quantile of ascending values, 0 of none."""
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


class Cpu:
    """The CPU time of groups of processes; children of Postgres belong to it, ended ones too."""

    def __init__(self, groups: Mapping[str, Sequence[int]]) -> None:
        """Watch these process ids by group."""
        self.groups = {name: [psutil.Process(pid) for pid in pids] for name, pids in groups.items()}

    def read(self) -> CpuSeconds:
        """Return the seconds used so far, by group."""
        return {name: sum(map(used, found)) for name, found in self.groups.items()}


def used(process: psutil.Process) -> float:
    """Return the CPU seconds of a process and its children, living and ended."""
    try:
        times = process.cpu_times()
        total = times.user + times.system + times.children_user + times.children_system
        for child in process.children():
            total += used(child)
    except psutil.NoSuchProcess:
        return 0.0
    return total


def per_transfer_us(before: CpuSeconds, after: CpuSeconds, transfers: int) -> dict[str, float]:
    """Return the microseconds of CPU per transfer between two readings."""
    return {
        name: round((after[name] - before[name]) * 1e6 / max(transfers, 1), 1) for name in after
    }


QUIET_SHARE = 0.04
"""Of one core: less than this is no work any more."""
QUIET_STEP_S = 0.25


class Quiet:
    """Waits until nothing that was started is still being worked on."""

    def __init__(self, cpu: Cpu, limit_s: float) -> None:
        """Look at these processes, for at most `limit_s` seconds."""
        self.cpu = cpu
        self.limit_s = limit_s
        self.started = time.monotonic()
        self.last = (self.started, sum(cpu.read().values()))
        self.busy_until = self.started

    def look(self) -> bool:
        """Say whether it has been quiet for a whole step, or the time is up."""
        now, total = time.monotonic(), sum(self.cpu.read().values())
        then, before = self.last
        self.last = (now, total)
        if (total - before) / (now - then) > QUIET_SHARE:
            self.busy_until = now
        return now - self.busy_until >= QUIET_STEP_S or now - self.started >= self.limit_s

    @property
    def settled_s(self) -> float:
        """Return how long the work went on."""
        return round(self.busy_until - self.started, 2)
