"""What a run of the sportsbook's benchmark leaves: a table, sportsbook.json, and README's part."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from tests.bench import leaving, machine

RESULTS = Path(__file__).parent / "results"
NAME = "sportsbook.json"
README_PART = "sportsbook-bench"
BETS, SETTLEMENTS, ODDS, ONE_MARKET = "bets", "settlements", "odds", "one-market"
UNITS = {BETS: "bets", SETTLEMENTS: "settlements", ODDS: "outcomes", ONE_MARKET: "settlements"}
PUBLISHED_PEER = 589
"""Settlements a second with payouts: the most that anybody has published (woopinbell, 2026)."""
SEEN_MS_MAX = 50.0
"""Odds count as visible at a rate at which half of them are seen within this time."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement of one round; `cpu_us` is the CPU of each thing done, by process.

    `size` is, of bets, the clients; of settlements the bets of the market; of odds the outcomes a
    second that were sent; of one market the open bets beside it. `heard_s` is how long it took from
    the last payout until every service had heard of all, `heard_cpu_us` the CPU until then.
    """

    round: int
    what: str
    size: int
    done: int
    per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: dict[str, float]
    others: dict[str, int]
    heard_s: float = 0
    heard_cpu_us: dict[str, float] = {}


class Round:
    """The rows of one round, by what and size."""

    def __init__(self, rows: Iterable[Row]) -> None:
        """Keep them in order."""
        self.rows = list(rows)

    def of(self, what: str) -> list[Row]:
        """Return the rows of a part in ascending size; raises KeyError when there are none."""
        found = sorted((row for row in self.rows if row.what == what), key=lambda row: row.size)
        if not found:
            raise KeyError(what)
        return found


def _odds_per_s(found: Round) -> float:
    """Return the most outcomes a second of which half were seen in time."""
    return max((r.per_s for r in found.of(ODDS) if r.p50_ms <= SEEN_MS_MAX), default=0.0)


def _growth(found: Round) -> float:
    few, *_, many = found.of(ONE_MARKET)
    return many.p50_ms / few.p50_ms


def _growth_of_cpu(found: Round) -> float:
    few, *_, many = found.of(ONE_MARKET)
    return sum(many.cpu_us.values()) / sum(few.cpu_us.values())


@dataclass(frozen=True, kw_only=True)
class Aim:
    """One aim: at least `target`, or with `at_most` not more; without one it is only told."""

    name: str
    text: str
    unit: str
    of: Callable[[Round], float]
    target: float | None = None
    at_most: bool = False

    def kept(self, value: float) -> bool:
        """Say whether a value is what is wanted."""
        if self.target is None:
            return True
        return value <= self.target if self.at_most else value >= self.target

    def shown(self, value: float) -> str:
        """Return a value for people."""
        return f"{value:,.0f} {self.unit}" if value >= 100 else f"{value:.2f} {self.unit}"

    @property
    def wanted(self) -> str:
        """Return what is wanted, in words."""
        if self.target is None:
            return "told only"
        return f"{'≤' if self.at_most else '≥'} {self.target:,g} {self.unit}"

    def verdict(self, value: float) -> str:
        """Return whether it is so, in words."""
        if self.target is None:
            return ""
        return "kept" if self.kept(value) else "not yet"


AIMS = (
    Aim(
        name="bets_per_s", text="bets placed through the gateway, 64 clients", unit="/s",
        of=lambda r: r.of(BETS)[0].per_s, target=1_500,
    ),
    Aim(
        name="bets_p99", text="p99 of those bets", unit="ms", of=lambda r: r.of(BETS)[0].p99_ms,
    ),
    Aim(
        name="settlements_per_s", text="bets settled and paid out", unit="/s",
        of=lambda r: r.of(SETTLEMENTS)[-1].per_s, target=5_000,
    ),
    Aim(
        name="vs_published_peer", text="that, to the best published peer", unit="x",
        of=lambda r: r.of(SETTLEMENTS)[-1].per_s / PUBLISHED_PEER,
    ),
    Aim(
        name="odds_per_s", text="outcomes seen by a WebSocket client, half of them within 50 ms",
        unit="/s", of=_odds_per_s, target=2_000,
    ),
    Aim(
        name="odds_p50", text="p50 from the feed's door to the client, at the lowest rate sent",
        unit="ms", of=lambda r: r.of(ODDS)[0].p50_ms, target=SEEN_MS_MAX, at_most=True,
    ),
    Aim(
        name="growth", text="settling one market beside 1 M open bets to beside 1 k", unit="x",
        of=_growth, target=1.5, at_most=True,
    ),
    Aim(
        name="growth_of_cpu", text="the same in CPU, of all processes", unit="x",
        of=_growth_of_cpu,
    ),
)  # fmt: skip
"""In the order in which they are told."""


class Results(msgspec.Struct, kw_only=True):
    """sportsbook.json: the aims first, each the median over the rounds, then on what, then rows."""

    aims: dict[str, float]
    computed: dict[str, str]
    verdicts: dict[str, str]
    quick: bool
    rounds: int
    seconds: float
    measured_at: datetime
    machine: dict[str, Any]
    versions: dict[str, str]
    rows: list[Row]


def aims(rows: Sequence[Row]) -> dict[str, float]:
    """Return the median over all rounds of each aim whose measurements are there."""
    rounds = [Round(r for r in rows if r.round == n) for n in sorted({row.round for row in rows})]
    found: dict[str, float] = {}
    for aim in AIMS:
        try:
            found[aim.name] = round(median(aim.of(one) for one in rounds), 2)
        except (KeyError, ValueError, ZeroDivisionError):
            continue  # not measured this time (`--only`)
    return found


def results(rows: list[Row], rounds: int, seconds: float, *, quick: bool) -> Results:
    """Return everything about a run."""
    found = aims(rows)
    measured = [aim for aim in AIMS if aim.name in found]
    return Results(
        aims=found,
        computed={aim.name: f"{aim.text}; {aim.wanted}" for aim in measured},
        verdicts={aim.name: v for aim in measured if (v := aim.verdict(found[aim.name]))},
        quick=quick,
        rounds=rounds,
        seconds=seconds,
        measured_at=datetime.now(UTC).replace(microsecond=0),
        machine=machine.machine(),
        versions=machine.versions(),
        rows=rows,
    )


def read(path: Path) -> Results:
    """Return the results of a file."""
    return msgspec.json.decode(path.read_bytes(), type=Results)


def write(found: Results, folder: Path = RESULTS) -> Path:
    """Write sportsbook.json; return its path."""
    return leaving.write_json(found, folder / NAME)


def leave(found: Results, folder: Path, *, readme: bool) -> None:
    """Write the file, and README's part if it is to be told; show the tables and say where."""
    path = write(found, folder)
    told = [str(path)] + (["README.md"] if readme and write_readme(found) else [])
    show(found, Console(width=120))
    print("wrote " + ", ".join(told))


def again() -> int:
    """Write README's part anew from the committed rows; exit code 0."""
    leave(read(RESULTS / NAME), RESULTS, readme=True)
    return 0


def write_readme(found: Results) -> bool:
    """Write README's part; say whether README has the marks for it."""
    return leaving.write_readme(README_PART, readme_part(found))


def readme_part(found: Results) -> str:
    """Return the aims as Markdown."""
    about = found.machine
    told = [aim for aim in AIMS if aim.name in found.aims]
    measured = (
        f"Medians of {found.rounds} rounds on {about['cores']} cores ({about['cpu']}), "
        "all processes and the load generator included. All rows: "
        "[sportsbook.json](tests/bench/results/sportsbook.json); again: `./just bench sportsbook`."
    )
    lines = [
        "| sportsbook | measured | wanted |",
        "| --- | --- | --- |",
        *(f"| {aim.text} | {aim.shown(found.aims[aim.name])} | {aim.wanted} |" for aim in told),
        "",
        measured,
    ]
    return "\n".join(lines)


def show(found: Results, console: Console) -> None:
    """Print the tables."""
    table = Table(title="medians of the rounds; CPU in microseconds of each thing done")
    for title in ("what", "size", "per s", "p50 ms", "p99 ms", "CPU", "CPU heard", "others"):
        table.add_column(title, justify="left" if title == "what" else "right", no_wrap=True)
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in found.rows:
        groups.setdefault((row.what, row.size), []).append(row)
    for (what, size), rows in groups.items():
        heard = median(sum(row.heard_cpu_us.values()) for row in rows)
        others = sum(sum(row.others.values()) for row in rows)
        table.add_row(
            what, f"{size:,}",
            f"{median(row.per_s for row in rows):,.0f}",
            f"{median(row.p50_ms for row in rows):.1f}",
            f"{median(row.p99_ms for row in rows):.1f}",
            f"{median(sum(row.cpu_us.values()) for row in rows):.0f}",
            f"{heard:.0f}" if heard else "",
            f"{others:,}" if others else "",
        )  # fmt: skip
    console.print(table)
    promises = Table(title="the aims")
    for title in ("aim", "of what", "measured", "wanted", ""):
        promises.add_column(title)
    for aim in AIMS:
        if aim.name in found.aims:
            value = found.aims[aim.name]
            promises.add_row(
                aim.name, aim.text, aim.shown(value), aim.wanted, aim.verdict(value)
            )  # fmt: skip
    console.print(promises)


def sentence(row: Row) -> str:
    """Return a row in words."""
    told = f"  {row.what} {row.size:,}: {row.per_s:,.0f} {UNITS[row.what]}/s"
    if row.p50_ms:
        told += f", p50 {row.p50_ms:.1f} ms, p99 {row.p99_ms:.1f} ms"
    told += f", CPU {sum(row.cpu_us.values()):.0f} us {_by(row.cpu_us)}"
    if row.heard_cpu_us:
        told += f"; all heard after {row.heard_s} s, {sum(row.heard_cpu_us.values()):.0f} us"
    return told + (f", others {row.others}" if row.others else "")


def _by(cpu_us: dict[str, float]) -> str:
    return "(" + ", ".join(f"{name} {value:.0f}" for name, value in cpu_us.items()) + ")"
