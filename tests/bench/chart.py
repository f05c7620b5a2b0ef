"""The chart of the benchmark, as SVG by hand: throughput by calls in flight, on two log scales."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from tests.bench.measures import Row
from tests.bench.ratios import medians

if TYPE_CHECKING:
    from tests.bench.report import Results

WIDTH, HEIGHT = 860, 460
LEFT, RIGHT, TOP, BOTTOM = 70, 140, 56, 56
LINES = {
    "wallet": "betmesh wallet",
    "echo": "empty NATS echo",
    "grpc": "gRPC server",
    "http": "HTTP server",
    "faststream": "FastStream",
    "pgbench": "pgbench",
}
"""The contenders in the chart, most important first, and what they are called there."""
COLOURS = ("#0072b2", "#8c8c8c", "#d55e00", "#e69f00", "#009e73", "#cc79a7")
"""Told apart by people with any colour vision."""
IN_FLIGHT = (1, 16, 64, 256, 1024)
LABEL_GAP = 15
XMLNS = 'xmlns="http://www.w3.org/2000/svg"'
STYLE = """
  text { font: 12px system-ui, sans-serif; fill: #24292f }
  .title { font-size: 15px; font-weight: 600 }
  .axis { stroke: #8c959f; stroke-width: 1 }
  .grid { stroke: #8c959f; stroke-opacity: .25; stroke-width: 1 }
  .line { fill: none; stroke-width: 2 }
  .wallet { stroke-width: 3.5 }
  @media (prefers-color-scheme: dark) { text { fill: #e6edf3 } }
"""


class Scale:
    """A logarithmic scale from values to pixels."""

    def __init__(self, low: float, high: float, begin: float, end: float) -> None:
        """Map `low` to `begin` and `high` to `end`."""
        self.low, self.begin = math.log10(low), begin
        self.step = (end - begin) / max(math.log10(high) - self.low, 1e-9)

    def __call__(self, value: float) -> float:
        """Return where a value lies, in pixels."""
        return round(self.begin + (math.log10(max(value, 1e-9)) - self.low) * self.step, 1)


def svg(found: "Results") -> str:
    """Return the chart of some results."""
    rows = [row for row in medians(found.rows) if row.contender in LINES and row.throughput > 0]
    low = 10 ** math.floor(math.log10(min((row.throughput for row in rows), default=100)))
    high = 10 ** math.ceil(math.log10(max((row.throughput for row in rows), default=10_000)))
    across = Scale(IN_FLIGHT[0], IN_FLIGHT[-1], LEFT, WIDTH - RIGHT)
    up = Scale(low, high, HEIGHT - BOTTOM, TOP)
    title = "Durable transfers per second, by calls in flight"
    parts = [
        f'<svg {XMLNS} viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">',
        f"<title>{title}</title>",
        f"<style>{STYLE}</style>",
        f'<text class="title" x="{LEFT}" y="24">{title}</text>',
        f'<text x="{LEFT}" y="42">{escape(_about(found))}</text>',
        *_axes(across, up, low, high),
        *_lines(rows, across, up),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _about(found: "Results") -> str:
    return (
        "servers and pgbench: a transaction per call; "
        f"medians of {found.rounds} interleaved rounds, {found.machine['cores']} cores, load too"
    )


def _axes(across: Scale, up: Scale, low: float, high: float) -> list[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts: list[str] = []
    value = low
    while value <= high:
        parts.append(
            f'<line class="grid" x1="{LEFT}" y1="{up(value)}" x2="{right}" y2="{up(value)}"/>'
            f'<text x="{LEFT - 8}" y="{up(value) + 4}" text-anchor="end">{value:,.0f}</text>'
        )
        value *= 10
    parts += [
        f'<text x="{across(count)}" y="{bottom + 20}" text-anchor="middle">{count}</text>'
        for count in IN_FLIGHT
    ]
    middle = (LEFT + right) / 2
    return [
        *parts,
        f'<line class="axis" x1="{LEFT}" y1="{bottom}" x2="{right}" y2="{bottom}"/>',
        f'<text x="{middle}" y="{bottom + 42}" text-anchor="middle">calls in flight</text>',
    ]


def _lines(rows: Sequence[Row], across: Scale, up: Scale) -> list[str]:
    parts: list[str] = []
    labels: list[tuple[float, str, str]] = []
    for (contender, label), colour in zip(LINES.items(), COLOURS, strict=True):
        points = sorted(
            (row.in_flight, row.throughput) for row in rows if row.contender == contender
        )
        if not points:
            continue
        path = " ".join(f"{across(x)},{up(y)}" for x, y in points)
        thick = " wallet" if contender == "wallet" else ""
        parts.append(f'<polyline class="line{thick}" stroke="{colour}" points="{path}"/>')
        parts += [
            f'<circle cx="{across(x)}" cy="{up(y)}" r="3.5" fill="{colour}">'
            f"<title>{escape(label)}: {y:,.0f}/s at {x}</title></circle>"
            for x, y in points
        ]
        labels.append((up(points[-1][1]), label, colour))
    return [*parts, *_labels(labels)]


def _labels(labels: list[tuple[float, str, str]]) -> list[str]:
    """Write each name beside the end of its line, moved down where two would overlap."""
    parts: list[str] = []
    free = 0.0
    for height, label, colour in sorted(labels):
        y = max(height, free)
        free = y + LABEL_GAP
        parts.append(
            f'<text x="{WIDTH - RIGHT + 12}" y="{y + 4}" style="fill:{colour}">'
            f"{escape(label)}</text>"
        )
    return parts
