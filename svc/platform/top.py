"""`just top`: who talks to whom, and what every endpoint and consumer does, from the broker alone.

Endpoints tell their counts by `$SRV.STATS` (ADR-32), and rates are what changed between two looks;
services tell their edges of the last minute by `$SRV.EDGES`; the streams tell how far each consumer
is. Nothing is asked of Prometheus or of the services' HTTP.
"""

import argparse
import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from nats.aio.client import Client
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from svc.mesh.discovery import survey
from svc.mesh.edges import GOOD, Key, Sum, quantile_ms, sums_of
from svc.mesh.observed import EVENT, Report
from svc.platform import operate
from svc.platform.installation import Installation, prepare_default

ASK_S = 0.5
"""How long a look waits for the services' answers."""
EVERY_S = 2.0
FILE_WIDTH = 160
MS = 1_000_000
EDGES_MAX = 20
"""So many edges leave room for endpoints and consumers on a screen."""


@dataclass
class Endpoint:
    """The sums of one endpoint over all instances of its service."""

    requests: int = 0
    errors: int = 0
    shed: int = 0
    late: int = 0
    in_flight: int = 0
    busy_ns: int = 0


@dataclass
class Look:
    """What was seen at one moment."""

    at: float
    instances: dict[str, int] = field(default_factory=lambda: defaultdict[str, int](int))
    endpoints: dict[str, Endpoint] = field(
        default_factory=lambda: defaultdict[str, Endpoint](Endpoint)
    )
    edges: dict[Key, Sum] = field(default_factory=dict[Key, Sum])
    consumers: dict[tuple[str, str], dict[str, Any]] = field(
        default_factory=dict[tuple[str, str], dict[str, Any]]
    )


def top(words: Sequence[str], installation: Installation | None = None) -> int:
    """Show it until Ctrl-C, or once."""
    parser = argparse.ArgumentParser(prog="just top", description=top.__doc__)
    parser.add_argument("--once", action="store_true", help="print one look and end")
    parser.add_argument("--all", action="store_true", help="also what does nothing")
    arguments = parser.parse_args(words)
    found = installation or prepare_default()
    asyncio.run(_run(found, once=arguments.once, everything=arguments.all))
    return 0


async def _run(installation: Installation, *, once: bool, everything: bool) -> None:
    async with operate.operator(installation) as client:
        before = await look(client)
        if once:
            await asyncio.sleep(ASK_S)
            now = await look(client)
            console = Console()
            if not console.is_terminal:  # nobody turns a file's lines: names stay whole there
                console = Console(width=max(console.width, FILE_WIDTH))
            console.print(shown(before, now, everything=True))
            return
        with Live(Text("looking …"), screen=True, auto_refresh=False) as live:
            while True:
                await asyncio.sleep(EVERY_S)
                now = await look(client)
                live.update(shown(before, now, everything=everything), refresh=True)
                before = now


async def look(client: Client) -> Look:
    """Ask all services and all consumers how they fare."""
    found = Look(time.monotonic())
    stats, told = await asyncio.gather(
        survey(client, "operator", "$SRV.STATS", ASK_S),
        survey(client, "operator", "$SRV.EDGES", ASK_S),
    )
    found.edges = sums_of(msgspec.convert(answer, Report) for answer in told)
    for answer in stats:
        found.instances[answer["name"]] += 1
        for endpoint in answer["endpoints"]:
            sums = found.endpoints[endpoint["subject"]]
            data: dict[str, Any] = endpoint.get("data") or {}
            sums.requests += endpoint["num_requests"]
            sums.errors += endpoint["num_errors"]
            sums.busy_ns += endpoint["processing_time"]
            sums.shed += data.get("shed", 0)
            sums.late += data.get("late", 0)
            sums.in_flight += data.get("in_flight", 0)
    streams: list[str] = (await operate.jetstream(client, "STREAM.NAMES"))["streams"] or []
    asked = (operate.jetstream(client, f"CONSUMER.LIST.{name}") for name in streams)
    for page in await asyncio.gather(*asked):
        consumers: list[dict[str, Any]] = page.get("consumers") or []
        for consumer in consumers:
            if "durable_name" in consumer["config"]:
                found.consumers[consumer["stream_name"], consumer["name"]] = consumer
    return found


def shown(before: Look, now: Look, *, everything: bool) -> RenderableType:
    """Return both tables: endpoints with rates since the look before, and consumers."""
    seconds = max(now.at - before.at, 0.001)
    running = sum(now.instances.values())
    head = Text(f"{running} instances of {len(now.instances)} services, rates of {seconds:.1f} s")
    return Group(
        head,
        _edges(now, everything),
        _endpoints(before, now, seconds, everything),
        _consumers(now, everything),
    )


def _edges(now: Look, everything: bool) -> Table:
    """Return the edges of the last minute, the busiest first; one that did nothing is left out."""
    table = Table(box=None, pad_edge=False)
    table.add_column("edge, last minute", no_wrap=True)
    for name in ("a second", "errors", "open", "p50 ms", "p99 ms"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("errors by name", overflow="fold")
    seen = [
        (edge, key) for key, edge in now.edges.items() if edge.rate or edge.in_flight or everything
    ]
    seen.sort(key=lambda pair: (-pair[0].rate, pair[1]))
    for edge, (kind, source, target, name) in seen if everything else seen[:EDGES_MAX]:
        arrow = "~>" if kind == EVENT else "->"
        errors = {name: times for name, times in edge.outcomes.items() if name not in GOOD}
        table.add_row(
            f"{source} {arrow} {target}" + (f" {name}" if name != target else ""),
            f"{edge.rate:.1f}",
            f"{edge.errors:.1f}",
            str(edge.in_flight),
            _ms(quantile_ms(edge.buckets, 0.5)),
            _ms(quantile_ms(edge.buckets, 0.99)),
            ", ".join(f"{name} {times}" for name, times in sorted(errors.items())),
        )
    return table


def _ms(milliseconds: float | None) -> str:
    return "" if milliseconds is None else f"{milliseconds:.1f}"


def _endpoints(before: Look, now: Look, seconds: float, everything: bool) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("endpoint")
    for name in ("calls/s", "errors/s", "shed", "late", "in flight", "mean ms"):
        table.add_column(name, justify="right")
    rows: list[tuple[float, tuple[str, ...]]] = []
    for subject, sums in now.endpoints.items():
        # A service that began anew counts from zero.
        old = before.endpoints.get(subject, Endpoint())
        old = old if old.requests <= sums.requests else Endpoint()
        calls = sums.requests - old.requests
        if not calls and not sums.in_flight and not everything:
            continue
        mean = (sums.busy_ns - old.busy_ns) / calls / MS if calls else 0.0
        rates = f"{calls / seconds:.1f}", f"{(sums.errors - old.errors) / seconds:.1f}"
        counts = str(sums.shed), str(sums.late), str(sums.in_flight), f"{mean:.2f}"
        rows.append((calls, (subject, *rates, *counts)))
    for _, row in sorted(rows, key=lambda entry: (-entry[0], entry[1][0])):
        table.add_row(*row)
    return table


def _consumers(now: Look, everything: bool) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("consumer")
    for name in ("waiting", "in work", "redelivered"):
        table.add_column(name, justify="right")
    for (stream, name), info in sorted(now.consumers.items()):
        numbers = info["num_pending"], info["num_ack_pending"], info["num_redelivered"]
        if any(numbers) or everything:
            table.add_row(f"{stream} > {name}", *map(str, numbers))
    return table
