"""`just bench mesh`: calls, events, overload and lanes of the mesh, beside its peers.

The echoes of all contenders run on the same NATS and machine, interleaved in rounds. Sections:
echo, events, overload, lanes; `--only` takes those, and contenders: raw, grpc, mesh-together, ...
"""

import argparse
import asyncio
import dataclasses
import random
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from rich.console import Console

from svc.platform.errors import PlatformError
from svc.platform.installation import ROOT
from svc.platform.ports import HOST, free_ports
from tests.bench import events, mesh_events, mesh_overload, mesh_report
from tests.bench.measures import Cpu, Order, Row, per_transfer_us
from tests.bench.peers.moleculer import moleculer
from tests.bench.stage import BenchError, Child, Loader, Stage, staged

RESULTS = ROOT / "tests" / "bench" / "results"
UNFINISHED = ROOT / ".run" / "bench"
"""Where the results of runs lie that are not for README: quick ones, and parts."""
IN_FLIGHT = (1, 64, 256)

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is measured; `quick` is for seeing that everything works."""

    rounds: int
    seconds: float
    warm_s: float
    events: int
    event_s: float
    event_rounds: int
    low_events: int
    overload_s: float


FULL = Size(
    rounds=5, seconds=1.0, warm_s=0.3, events=20_000, event_s=5.0, event_rounds=3,
    low_events=100_000, overload_s=30.0,
)  # fmt: skip
QUICK = Size(
    rounds=1, seconds=0.4, warm_s=0.2, events=4_000, event_s=2.0, event_rounds=1,
    low_events=10_000, overload_s=5.0,
)  # fmt: skip


@dataclass(frozen=True)
class Contender:
    """One way to echo: its service side, and the driver of its caller.

    Moleculer brings both sides itself; its driver is the option they get.
    """

    server: tuple[str, ...]
    driver: str


CONTENDERS = {
    "mesh": Contender(("echo_server", "mesh"), "mesh-echo"),
    "mesh alone": Contender(("echo_server", "mesh"), "mesh-alone"),
    "mesh together": Contender(("echo_server", "mesh"), "mesh-together"),
    "raw": Contender(("echo_server", "raw"), "raw"),
    "nats_micro": Contender(("echo_server", "micro"), "micro"),
    "faststream": Contender(("faststream_echo",), "faststream-echo"),
    "moleculer": Contender((), "metrics"),
    "moleculer bare": Contender((), ""),
    "grpc": Contender(("grpc_echo",), "grpc-echo"),
}


class Bench:
    """One run of the benchmark on a stage."""

    def __init__(self, stage: Stage, size: Size, only: Sequence[str], say: Say) -> None:
        """`only` names sections, or single contenders of the echo; all when it is empty."""
        self.stage = stage
        self.size = size
        self.only = only
        self.say = say
        self.rows: list[Row] = []
        self.measured: list[dict[str, float]] = []
        self.absent: dict[str, str] = {}
        self.callees: dict[tuple[str, ...], Child] = {}

    def chosen(self, names: Sequence[str], section: str = "") -> list[str]:
        """Return which of these names are to be measured."""
        if not self.only or section in self.only:
            return list(names)
        return [name for name in names if name.replace(" ", "-") in self.only]

    async def run(self) -> None:
        """Measure what was chosen."""
        contenders = self.chosen(list(CONTENDERS), "echo")
        if contenders:
            await self.echoes(contenders)
        sections: Mapping[str, Callable[[], Awaitable[None]]] = {
            "events": self.events,
            "overload": self.overload,
            "lanes": self.lanes,
        }
        for name in self.chosen(list(sections)):
            await sections[name]()

    async def echoes(self, names: Sequence[str]) -> None:
        """Measure the echoes: all processes stay, idle until it is their turn."""
        async with AsyncExitStack() as stack:
            running: dict[str, tuple[Child, Loader]] = {}
            for name in names:
                self.say(f"starting {name}")
                try:
                    running[name] = await self.contender(name, stack)
                except moleculer.AbsentError as why:
                    self.absent[name] = str(why)
            for number in range(1, self.size.rounds + 1):
                order = list(running)
                # Interleaved: what disturbs the machine for a while disturbs all alike.
                random.Random(number).shuffle(order)
                for name in order:
                    for in_flight in IN_FLIGHT:
                        await self.echo(name, number, in_flight, *running[name])
        place = list(CONTENDERS)
        self.rows.sort(key=lambda row: (row.round, place.index(row.contender), row.in_flight))

    async def events(self) -> None:
        """Measure events end to end."""
        async with (
            mesh_events.prepared(self.stage) as environment,
            mesh_events.side(self.stage, "teller", environment) as teller,
            mesh_events.side(self.stage, "hearer", environment) as hearer,
        ):
            sides = mesh_events.Sides(self.stage, teller, hearer)
            for _ in range(self.size.event_rounds):
                found = await mesh_events.throughput(sides, self.size.events, self.say)
                found |= await mesh_events.latency(sides, self.size.event_s, self.say)
                self.measured.append(found)

    async def overload(self) -> None:
        """Measure what a service answers when much more is asked than it can serve."""
        self.measured.append(
            await mesh_overload.overload(self.stage, self.size.overload_s, self.say)
        )

    async def lanes(self) -> None:
        """Measure whether events that have time hold up those that have none."""
        async with mesh_events.prepared(self.stage) as environment:
            found = await mesh_events.lanes(
                self.stage, environment, self.size.low_events, self.size.event_s, self.say
            )
            self.measured.append(found)

    async def contender(self, name: str, stack: AsyncExitStack) -> tuple[Child, Loader]:
        """Run both sides of one contender until the stack ends.

        Contenders with the same callee share it: two instances would share the calls of both, and
        the CPU of one be read.
        """
        found = CONTENDERS[name]
        if not found.server:
            options = [found.driver] if found.driver else []
            return await stack.enter_async_context(moleculer.both_sides(self.stage, *options))
        address = f"{HOST}:{free_ports()['GATEWAY_GRPC_PORT']}"
        child = self.callees.get(found.server)
        if child is None:
            options = found.server if len(found.server) > 1 else (*found.server, address)
            child = await stack.enter_async_context(self.stage.peer(*options))
            self.callees[found.server] = child
        loader = await stack.enter_async_context(self.stage.generator(found.driver, address))
        return child, loader

    async def echo(
        self, name: str, number: int, in_flight: int, child: Child, loader: Loader
    ) -> None:
        """Measure one contender once."""
        groups = {"service": [child.pid], "client": [loader.child.pid]}
        cpu = Cpu({**groups, "nats": self.stage.servers["nats"]})
        before = cpu.read()
        taken = await loader.run(
            Order(
                in_flight=in_flight, seconds=self.size.seconds, warm_s=self.size.warm_s, plain=True
            )
        )
        await asyncio.sleep(0.05)
        row = Row(
            round=number, contender=name, in_flight=in_flight,
            throughput=round(taken.answered / taken.seconds, 1), p50_ms=taken.p50_ms,
            p99_ms=taken.p99_ms, cpu_us=per_transfer_us(before, cpu.read(), taken.asked),
            answered=taken.answered, refused=taken.refused, failed=taken.failed, settled_s=0.0,
            failure=taken.failure,
        )  # fmt: skip
        self.rows.append(row)
        failed = f", {row.failed} failed ({row.failure})" if row.failed else ""
        self.say(
            f"{number}/{self.size.rounds} {name}, {in_flight} in flight: {row.throughput:,.0f}/s, "
            f"p99 {row.p99_ms:.2f} ms, CPU {sum(row.cpu_us.values()):.0f} us{failed}"
        )


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark; exit code 1 when it could not be run."""
    asked = _parser().parse_args(arguments)
    # What is not a terminal, such as a log, has room for the whole table.
    console = Console(width=None if sys.stdout.isatty() else 140)
    if asked.again:
        found = mesh_report.read(RESULTS / "mesh.json")
        mesh_report.write_readme(found)
        mesh_report.show(found, console)
        return 0
    size = QUICK if asked.quick else FULL
    chosen = {"rounds": asked.rounds, "seconds": asked.seconds}
    size = dataclasses.replace(size, **{k: v for k, v in chosen.items() if v is not None})
    try:
        with staged(events.services()) as stage:
            bench = Bench(stage, size, asked.only, lambda text: console.print(text, markup=False))
            asyncio.run(bench.run())
    except (BenchError, PlatformError) as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 1
    found = mesh_report.results(
        bench.rows, bench.measured, bench.absent, rounds=size.rounds, seconds=size.seconds,
        quick=asked.quick,
    )  # fmt: skip
    mesh_report.show(found, console)
    whole = not asked.quick and not asked.only
    written = [str(mesh_report.write(found, RESULTS if whole else UNFINISHED).relative_to(ROOT))]
    if whole and mesh_report.write_readme(found):
        written.append("README.md")
    console.print("wrote " + ", ".join(written))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="just bench mesh", description=__doc__)
    parser.add_argument("--rounds", type=int, help=f"default {FULL.rounds}")
    parser.add_argument("--seconds", type=float, help="per measurement of an echo")
    parser.add_argument("--quick", action="store_true", help="see that everything works")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME",
        help="sections (echo, events, overload, lanes) or contenders (raw, grpc, ...)",
    )  # fmt: skip
    parser.add_argument("--again", action="store_true", help="measure nothing: write README anew")
    return parser
