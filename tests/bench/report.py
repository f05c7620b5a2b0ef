"""What a run of the benchmark leaves: a table on the terminal, wallet.json, and README's part."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from tests.bench import chart, leaving, machine
from tests.bench.measures import Row
from tests.bench.ratios import RATIOS, medians, ratios
from tests.bench.wallet import Findings, Size

RESULTS = Path(__file__).parent / "results"
README_PART = "wallet-bench"
CPU = ("service", "client", "postgres", "nats")
TEN = 10
"""From here on one decimal is enough."""


class Results(msgspec.Struct, kw_only=True):
    """wallet.json: the ratios first, then on what, then every row."""

    ratios: dict[str, float]
    quick: bool
    rounds: int
    seconds: float
    players: int
    measured_at: datetime
    acknowledged: int
    broken: list[str]
    machine: dict[str, Any]
    versions: dict[str, str]
    postgres: dict[str, str]
    rows: list[Row]


def results(found: Findings, size: Size, *, quick: bool) -> Results:
    """Return everything about a run."""
    return Results(
        ratios=ratios(found.rows),
        quick=quick,
        rounds=size.rounds,
        seconds=size.seconds,
        players=size.players,
        measured_at=datetime.now(UTC).replace(microsecond=0),
        acknowledged=found.acknowledged,
        broken=found.broken,
        machine=machine.machine(),
        versions=machine.versions(),
        postgres=found.settings,
        rows=found.rows,
    )


def read(path: Path) -> Results:
    """Return the results of a file."""
    return msgspec.json.decode(path.read_bytes(), type=Results)


def write(found: Results, folder: Path = RESULTS) -> list[Path]:
    """Write wallet.json and wallet.svg; return their paths."""
    path, picture = leaving.write_json(found, folder / "wallet.json"), folder / "wallet.svg"
    picture.write_text(chart.svg(found))
    return [path, picture]


def write_readme(found: Results) -> bool:
    """Write README's part; say whether README has the marks for it."""
    return leaving.write_readme(README_PART, readme_part(found))


def readme_part(found: Results) -> str:
    """Return the chart and the promises as Markdown."""
    about = found.machine
    picture = "tests/bench/results/wallet.svg"
    told = (
        f"Medians of {found.rounds} interleaved rounds on {about['cores']} cores "
        f"({about['cpu']}), load generator included, every commit on disk; "
        f"{found.acknowledged:,} acknowledged answers compared with the ledger, "
        f"{len(found.broken)} broken. All rows: "
        "[wallet.json](tests/bench/results/wallet.json); again: `./just bench wallet`."
    )
    lines = [
        f"![Durable transfers per second, by calls in flight]({picture})",
        "",
        "| | measured | wanted |",
        "| --- | --- | --- |",
        *(
            f"| {ratio.text} | {figure(found.ratios[ratio.name])} | {ratio.wanted} |"
            for ratio in RATIOS
            if ratio.name in found.ratios
        ),
        "",
        told,
    ]
    return "\n".join(lines)


def figure(value: float) -> str:
    """Return a ratio for people."""
    return f"{value:.1f} x" if value >= TEN else f"{value:.2f} x"


def show(found: Results, console: Console) -> None:
    """Print the tables."""
    table = Table(title="medians of the rounds; to the right CPU microseconds per transfer")
    for title in ("contender", "at once", "per s", "p50 ms", "p99 ms", "to gRPC", *CPU, "failed"):
        side = "left" if title == "contender" else "right"
        table.add_column(title, justify=side, no_wrap=True)
    rows = medians(found.rows)
    grpc = {row.in_flight: row.throughput for row in rows if row.contender == "grpc"}
    for row in rows:
        beside = grpc.get(row.in_flight)
        table.add_row(
            row.contender,
            str(row.in_flight),
            f"{row.throughput:,.0f}",
            f"{row.p50_ms:.2f}",
            f"{row.p99_ms:.2f}",
            f"{row.throughput / beside:.1f} x" if beside else "",
            *(f"{row.cpu_us[name]:.0f}" for name in CPU),
            f"{row.failed:,}" if row.failed else "",
        )
    console.print(table)
    _show_promises(found, console)
    console.print(
        f"{found.acknowledged:,} acknowledged answers compared with the ledger: "
        f"{len(found.broken)} broken"
    )
    for sentence in found.broken[:20]:
        console.print(f"  {sentence}", markup=False)
    failed = sum(row.failed for row in found.rows)
    if failed:
        console.print(f"{failed:,} calls had no answer: their contenders' figures say little")


def _show_promises(found: Results, console: Console) -> None:
    promises = Table(title="the promises")
    for title in ("ratio", "of what", "measured", "wanted", ""):
        promises.add_column(title)
    for ratio in RATIOS:
        if ratio.name not in found.ratios:
            continue
        value = found.ratios[ratio.name]
        promises.add_row(
            ratio.name, ratio.text, figure(value),
            ratio.wanted,
            "" if ratio.target is None else "kept" if ratio.kept(value) else "not yet",
        )  # fmt: skip
    console.print(promises)
