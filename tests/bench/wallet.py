"""`just bench wallet`: the wallet over the mesh beside what it replaces, interleaved, in rounds."""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from svc.mesh.caller import Caller
from svc.mesh.clock import new_id
from svc.platform import streams
from svc.platform.ports import HOST, free_ports
from svc.wallet.contract import AUDIT, Audit
from tests.bench import load_wallet, machine, pgbench
from tests.bench.acknowledged import compared
from tests.bench.measures import Cpu, Order, Quiet, Row, Taken, per_transfer_us
from tests.bench.peers import ledger
from tests.bench.players import OPENING
from tests.bench.ratios import PGBENCH_CLIENTS
from tests.bench.stage import TEMPLATE, Child, Loader, Stage, keep
from tests.support.mesh import nobodys_work

WALLET_IN_FLIGHT = (1, 16, 64, 256, 1024)
PEER_IN_FLIGHT = (1, 16, 64, 256)
GROWN_IN_FLIGHT = 256
REFUSED_SHARE = 0.3
AUDIT_WAIT_S = 120.0
AUDITED_ENTRIES_MAX = 1_000_000
"""An audit reads every row: of larger ledgers it would take longer than all measurements."""
NOT_IN_THE_CHAIN = "batch_chain_is_broken"
PEERS = "peers"
RUN = "wallet_run"
MANY = "wallet_many"
LONG = "wallet_long"


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is measured; `quick` is for seeing that everything works."""

    rounds: int
    seconds: float
    warm_s: float
    players: int
    many_players: int
    entries: int
    quiet_s_max: float


FULL = Size(
    rounds=5, seconds=4.0, warm_s=1.0, players=10_000, many_players=1_000_000,
    entries=10_000_000, quiet_s_max=60.0,
)  # fmt: skip
QUICK = Size(
    rounds=1, seconds=1.0, warm_s=0.3, players=1_000, many_players=20_000, entries=100_000,
    quiet_s_max=5.0,
)  # fmt: skip

Say = Callable[[str], None]


@dataclass
class Findings:
    """All that was measured, and every promise of the ledger that was found broken."""

    rows: list[Row] = field(default_factory=list[Row])
    acknowledged: int = 0
    broken: list[str] = field(default_factory=list[str])
    settings: dict[str, str] = field(default_factory=dict[str, str])


class Bench:
    """One run of the benchmark on a stage."""

    def __init__(self, stage: Stage, size: Size, say: Say, measured: Say) -> None:
        """`say` tells what is being done, `measured` is told after each measurement."""
        self.stage = stage
        self.size = size
        self.say = say
        self.measured = measured
        self.round = 0
        self.found = Findings()

    def sections(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """Return what one round consists of, by name; their order changes from round to round."""
        return {
            "wallet": self.wallet,
            "grpc": lambda: self.peer("grpc", "grpc_server", "transaction"),
            "grpc one statement": lambda: self.peer("grpc", "grpc_server", "statement"),
            "http": lambda: self.peer("http", "http_server"),
            "faststream": lambda: self.peer("faststream", "faststream_server"),
            "pgbench": self.pgbench,
            "echo": lambda: self.echo("raw", {"echo": (256, 1024), "raw": (64, 256, 1024)}),
            "mesh": lambda: self.echo("mesh", {"mesh-alone": (64, 256)}),
            "wallet empty": lambda: self.grown("empty"),
            "wallet accounts_1m": lambda: self.grown("accounts_1m"),
            "wallet entries_10m": lambda: self.grown("entries_10m"),
            "wallet hot_account": lambda: self.grown("hot_account"),
            "wallet refusals_30": lambda: self.grown("refusals_30"),
            "wallet processes_2": lambda: self.grown("processes_2"),
            "wallet partitions_2": lambda: self.grown("partitions_2"),
        }

    def measurements(self, only: Sequence[str]) -> int:
        """Return how many measurements the chosen sections make in all rounds."""
        sizes = {
            "wallet": len(WALLET_IN_FLIGHT), "grpc": len(PEER_IN_FLIGHT), "grpc one statement": 2,
            "http": len(PEER_IN_FLIGHT), "faststream": len(PEER_IN_FLIGHT),
            "pgbench": len(PGBENCH_CLIENTS), "echo": 5, "mesh": 2,
        }  # fmt: skip
        return self.size.rounds * sum(sizes.get(name, 1) for name in self.chosen(only))

    def chosen(self, only: Sequence[str]) -> list[str]:
        """Return the names of the sections to measure: all, or those that begin like these."""
        every = self.sections()
        return [name for name in every if not only or name.startswith(tuple(only))]

    async def run(self, only: Sequence[str] = ()) -> Findings:
        """Prepare the databases, then measure round after round."""
        chosen = self.chosen(only)
        await self.prepare(chosen)
        for number in range(1, self.size.rounds + 1):
            self.round = number
            # Interleaved: what disturbs the machine for a while disturbs all alike.
            random.Random(self.round).shuffle(chosen)
            for name in chosen:
                self.say(f"round {self.round}/{self.size.rounds}: {name}")
                await self.sections()[name]()
        return self.found

    # What has to be there before.

    async def prepare(self, chosen: Sequence[str]) -> None:
        """Make the databases that are copied or used in each round."""
        async with self.stage.database("postgres") as admin:
            self.found.settings = await machine.settings(admin)
        await self.stage.create(PEERS)
        async with self.stage.database(PEERS, "wallet") as connection:
            await ledger.prepare(connection, self.size.players, OPENING)
        if any(name.startswith("wallet") for name in chosen):
            await self.open_players()
        if "wallet accounts_1m" in chosen:
            self.say(f"opening {self.size.many_players:,} wallets by SQL")
            await self.stage.create(MANY, TEMPLATE)
            async with self.stage.database(MANY) as connection:
                await load_wallet.open_players(
                    connection, self.size.players, self.size.many_players
                )
                await tidy(connection)
        if "wallet entries_10m" in chosen:
            self.say(f"writing {self.size.entries:,} entries by SQL")
            await self.stage.create(LONG, TEMPLATE)
            async with self.stage.database(LONG) as connection:
                await load_wallet.add_entries(connection, self.size.players, self.size.entries)
                await tidy(connection)

    async def open_players(self) -> None:
        """Open the players' wallets through the wallet's own door, in the database to copy."""
        self.say(f"opening {self.size.players:,} wallets through the wallet's door")
        async with (
            self.stage.wallet(TEMPLATE) as wallet,
            self.stage.generator("opening") as loader,
        ):
            await loader.run(Order(in_flight=256, seconds=300, opening=self.size.players))
            await self.quiet(self.cpu([wallet], loader))
        async with self.stage.database(TEMPLATE) as connection:
            await tidy(connection)

    # The contenders.

    async def wallet(self) -> None:
        """Measure this wallet over the mesh, on a fresh ledger, and check what it promised."""
        await self.stage.create(RUN, TEMPLATE)
        async with self.running_wallet(RUN) as (children, loader):
            for in_flight in WALLET_IN_FLIGHT:
                order = self.order(in_flight, self.size.players, log=str(self.log))
                await self.measure("wallet", order, children, loader)
            await self.check(RUN)
            await self.audit()

    async def grown(self, variant: str) -> None:
        """Measure this wallet under one changed circumstance, 256 in flight."""
        database = {"accounts_1m": MANY, "entries_10m": LONG}.get(variant, RUN)
        if database == RUN:
            await self.stage.create(RUN, TEMPLATE)
        players = {"accounts_1m": self.size.many_players, "hot_account": 1}.get(
            variant, self.size.players
        )
        order = self.order(
            GROWN_IN_FLIGHT, players,
            refused_share=REFUSED_SHARE if variant == "refusals_30" else 0.0, log=str(self.log),
        )  # fmt: skip
        processes = 2 if variant in {"processes_2", "partitions_2"} else 1
        divided = variant == "partitions_2"
        running = self.running_wallet(database, processes, divided=divided)
        async with running as (children, loader):
            await self.measure(f"wallet {variant}", order, children, loader)
            await self.check(database)
            if self.size.entries <= AUDITED_ENTRIES_MAX:
                await self.audit(loaded=database != RUN)

    async def peer(self, driver: str, server: str, form: str = "") -> None:
        """Measure one of the designs that the wallet replaces."""
        one = form == "statement"
        name = f"{driver} one statement" if one else driver
        async with self.stage.database(PEERS, "wallet") as connection:
            await ledger.empty(connection)
        address = f"{HOST}:{free_ports()['GATEWAY_GRPC_PORT']}"
        arguments = [self.stage.url(PEERS), *([form] if form else [])]
        if driver != "faststream":
            arguments.insert(0, address)
        async with (
            self.stage.peer(server, *arguments) as child,
            self.stage.generator(driver, address) as loader,
        ):
            for in_flight in (1, 256) if one else PEER_IN_FLIGHT:
                order = self.order(in_flight, self.size.players)
                await self.measure(name, order, [child], loader)

    async def echo(self, kind: str, points: dict[str, tuple[int, ...]]) -> None:
        """Measure echoes that touch no database."""
        async with self.stage.peer("echo_server", kind) as child:
            for driver, numbers in points.items():
                async with self.stage.generator(driver) as loader:
                    for in_flight in numbers:
                        name = "mesh" if driver == "mesh-alone" else driver
                        await self.measure(name, self.order(in_flight), [child], loader)

    async def pgbench(self) -> None:
        """Measure pgbench with one statement per transfer."""
        url = self.stage.url(PEERS)
        for clients in PGBENCH_CLIENTS:
            async with self.stage.database(PEERS, "wallet") as connection:
                await ledger.empty(connection)
            cpu = Cpu(self.stage.servers)
            before = cpu.read()
            taken, own = await pgbench.run(url, clients, self.size.seconds, self.size.players)
            settled = await self.quiet(cpu)
            used = {"service": 0.0, "client": 0.0, **before}, {
                "service": 0.0, "client": own, **cpu.read(),
            }  # fmt: skip
            self.keep("pgbench", clients, taken, per_transfer_us(*used, taken.asked), settled)

    # How one thing is measured.

    @asynccontextmanager
    async def running_wallet(
        self, database: str, processes: int = 1, *, divided: bool = False
    ) -> AsyncGenerator[tuple[list[Child], Loader]]:
        """Run wallets on a database, and who asks them; if `divided`, each owns a partition."""
        # Read by each wallet and by the generator.
        self.stage.environment["WALLET_PARTITIONS"] = str(processes if divided else 1)
        await self.stage.forget_events()
        async with AsyncExitStack() as stack:
            children = [
                await stack.enter_async_context(self.stage.wallet(database, number))
                for number in range(processes)
            ]
            loader = await stack.enter_async_context(self.stage.generator("mesh"))
            yield children, loader

    def order(
        self, in_flight: int, players: int = 1, *, refused_share: float = 0.0, log: str = ""
    ) -> Order:
        """Return an order of this run's size."""
        return Order(
            in_flight=in_flight, seconds=self.size.seconds, warm_s=self.size.warm_s,
            players=players, refused_share=refused_share, log=log, seed=self.round,
        )  # fmt: skip

    def cpu(self, children: Sequence[Child], loader: Loader) -> Cpu:
        """Return the clock of all processes that take part."""
        groups = {"service": [child.pid for child in children], "client": [loader.child.pid]}
        return Cpu({**groups, **self.stage.servers})

    async def measure(
        self, contender: str, order: Order, children: Sequence[Child], loader: Loader
    ) -> None:
        """Carry out an order, wait until all that followed from it is done, and keep the row."""
        cpu = self.cpu(children, loader)
        before = cpu.read()
        taken = await loader.run(order)
        settled = await self.quiet(cpu)
        used = per_transfer_us(before, cpu.read(), taken.asked)
        self.keep(contender, order.in_flight, taken, used, settled)

    async def quiet(self, cpu: Cpu) -> float:
        """Wait until nothing works any more; return how many seconds something did."""
        waiting = Quiet(cpu, self.size.quiet_s_max)
        await asyncio.sleep(0.05)
        while not waiting.look():  # noqa: ASYNC110  # other processes tell us of no event
            await asyncio.sleep(0.05)
        return waiting.settled_s

    def keep(
        self, contender: str, in_flight: int, taken: Taken, cpu_us: dict[str, float], settled: float
    ) -> None:
        """Keep one row."""
        row = Row(
            round=self.round, contender=contender, in_flight=in_flight,
            throughput=round(taken.answered / taken.seconds, 1), p50_ms=taken.p50_ms,
            p99_ms=taken.p99_ms, cpu_us=cpu_us, answered=taken.answered, refused=taken.refused,
            failed=taken.failed, settled_s=settled, failure=taken.failure,
        )  # fmt: skip
        self.found.rows.append(row)
        failed = f", {taken.failed} failed ({taken.failure})" if taken.failed else ""
        self.measured(
            f"{contender}, {in_flight} in flight: {row.throughput:,.0f}/s, "
            f"p50 {row.p50_ms:.2f} ms, p99 {row.p99_ms:.2f} ms{failed}"
        )

    @property
    def log(self) -> Path:
        """Return where the load generator keeps what it was told."""
        return self.stage.installation.run_dir / "acknowledged.jsonl"

    async def check(self, database: str) -> None:
        """Compare what the callers were told with the ledger."""
        async with self.stage.database(database) as connection:
            count, broken = await compared(connection, self.log)
        self.found.acknowledged += count
        self.found.broken += broken
        if broken:
            keep(self.log, f"acknowledged-{self.round}.jsonl")
        await asyncio.to_thread(self.log.unlink)

    async def audit(self, *, loaded: bool = False) -> None:
        """Let the wallet check its own invariants, as an operator would.

        Rows that were `loaded` by SQL stand in no batch, which the chain's check rightly reports
        (once, for all of them): there it is left out.
        """
        client = await streams.connect(self.stage.installation, "operator")
        try:
            caller = Caller(client, "operator", new_id().replace("-", ""))
            await caller.start()
            report = await caller.call(AUDIT, Audit(), AUDIT_WAIT_S, nobodys_work())
        finally:
            await client.close()
        self.found.broken += [
            f"audit: {name} {count} times"
            for name, count in report.violations.items()
            if count and not (loaded and name == NOT_IN_THE_CHAIN and count == 1)
        ]


async def tidy(connection: load_wallet.Connection) -> None:
    """Leave no work of the loading for the measurements."""
    await connection.execute("VACUUM (ANALYZE)")
    await connection.execute("CHECKPOINT")
