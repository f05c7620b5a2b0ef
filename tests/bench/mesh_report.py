"""What a run of the mesh's benchmark leaves: tables on the terminal, mesh.json, README's part."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from tests.bench import leaving, machine
from tests.bench.measures import Row
from tests.bench.mesh_ratios import PROMISES, figure, middle, ratios
from tests.bench.peers.moleculer import moleculer
from tests.bench.ratios import medians

README_PART = "mesh-bench"
CPU = ("service", "client", "nats")


class Results(msgspec.Struct, kw_only=True):
    """mesh.json: the ratios and figures first and how each was computed, then every row.

    `measured` holds the figures of each round; `figures` their medians. `absent` names the peers
    that could not be measured here, and why.
    """

    ratios: dict[str, float]
    figures: dict[str, float]
    computed: dict[str, str]
    verdicts: dict[str, str]
    absent: dict[str, str]
    quick: bool
    rounds: int
    seconds: float
    measured_at: datetime
    machine: dict[str, Any]
    versions: dict[str, str]
    measured: list[dict[str, float]]
    rows: list[Row]


def results(
    rows: list[Row],
    measured: list[dict[str, float]],
    absent: dict[str, str],
    *,
    rounds: int,
    seconds: float,
    quick: bool,
) -> Results:
    """Return everything about a run."""
    told = ratios(rows), middle(measured)
    every = {**told[0], **told[1]}
    promised = {name: PROMISES[name] for name in every if name in PROMISES}
    return Results(
        ratios=told[0],
        figures=told[1],
        computed={name: f"{p.text}; {p.wanted}" for name, p in promised.items()},
        verdicts={name: v for name, p in promised.items() if (v := p.verdict(every[name]))},
        absent=absent,
        quick=quick,
        rounds=rounds,
        seconds=seconds,
        measured_at=datetime.now(UTC).replace(microsecond=0),
        machine=machine.machine(),
        versions={**machine.versions(), **moleculer.versions()},
        measured=measured,
        rows=rows,
    )


def read(path: Path) -> Results:
    """Return the results of a file."""
    return msgspec.json.decode(path.read_bytes(), type=Results)


def write(found: Results, folder: Path) -> Path:
    """Write mesh.json; return its path."""
    return leaving.write_json(found, folder / "mesh.json")


def write_readme(found: Results) -> bool:
    """Write README's part; say whether README has the marks for it."""
    return leaving.write_readme(README_PART, readme_part(found))


def told(found: Results) -> list[tuple[str, str, str, str]]:
    """Return of each promise what it is, what was measured, what is wanted, and the verdict."""
    every = {**found.ratios, **found.figures}
    return [
        (p.text, figure(every[name], p.unit), p.wanted, found.verdicts.get(name, ""))
        for name, p in PROMISES.items()
        if name in every
    ]


def readme_part(found: Results) -> str:
    """Return echoes and promises as Markdown."""
    about = found.machine
    lines = [
        "| echo | 1 in flight | 64 | 256 | p99 at 256 | CPU of a call |",
        "| --- | --- | --- | --- | --- | --- |",
        *_echo_lines(found.rows),
        "",
        "| | measured | wanted |",
        "| --- | --- | --- |",
        *(f"| {text} | {value} | {wanted} |" for text, value, wanted, _ in told(found)),
        "",
        (
            f"Medians of {found.rounds} interleaved rounds on {about['cores']} cores "
            f"({about['cpu']}), load generator included; the mesh with deadline, caller, "
            "typed bodies and metrics. Its calls of one moment share messages, up to 32 in each; "
            "those of `mesh alone` do not (as the peers' do not), of `mesh together` (batchable) "
            "hundreds do. CPU of caller, callee and broker. All rows: "
            "[mesh.json](tests/bench/results/mesh.json); again: `./just bench mesh`."
        ),
        *(f"Not here: {name} ({why})." for name, why in found.absent.items()),
    ]
    return "\n".join(lines)


def _echo_lines(rows: list[Row]) -> list[str]:
    found = {(row.contender, row.in_flight): row for row in medians(rows)}
    lines: list[str] = []
    for name in {row.contender: None for row in rows}:
        rates = [found.get((name, count)) for count in (1, 64, 256)]
        many = rates[-1]
        if many is not None:
            told_rates = " | ".join(f"{row.throughput:,.0f}/s" if row else "" for row in rates)
            cpu = sum(many.cpu_us.values())
            lines.append(f"| {name} | {told_rates} | {many.p99_ms:.1f} ms | {cpu:.0f} us |")
    return lines


def show(found: Results, console: Console) -> None:
    """Print the tables."""
    if found.rows:
        console.print(_echo_table(found.rows))
    table = Table(title="the promises")
    for title in ("of what", "measured", "wanted", ""):
        table.add_column(title)
    for line in told(found):
        table.add_row(*line)
    console.print(table)
    for name, why in found.absent.items():
        console.print(f"not measured: {name} ({why})", markup=False)
    failed = sum(row.failed for row in found.rows)
    if failed:
        console.print(f"{failed:,} calls had no answer: their contenders' figures say little")


def _echo_table(rows: list[Row]) -> Table:
    table = Table(title="echoes, medians of the rounds; to the right CPU microseconds per call")
    for title in ("contender", "at once", "per s", "p50 ms", "p99 ms", *CPU, "all", "failed"):
        side = "left" if title == "contender" else "right"
        table.add_column(title, justify=side, no_wrap=True)
    found = medians(rows)
    place = list(dict.fromkeys(row.contender for row in rows))
    for row in sorted(found, key=lambda row: (place.index(row.contender), row.in_flight)):
        table.add_row(
            row.contender,
            str(row.in_flight),
            f"{row.throughput:,.0f}",
            f"{row.p50_ms:.2f}",
            f"{row.p99_ms:.2f}",
            *(f"{row.cpu_us[name]:.0f}" for name in CPU),
            f"{sum(row.cpu_us.values()):.0f}",
            f"{row.failed:,}" if row.failed else "",
        )
    return table
