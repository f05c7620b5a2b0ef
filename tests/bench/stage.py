"""The stage of a benchmark: real servers of its own, databases to copy, processes to measure."""

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import httpx
import msgspec

from svc import catalogue
from svc.generate.broker import broker_files
from svc.generate.topology import Topology
from svc.mesh.service import Service
from svc.platform import streams, up
from svc.platform.daemon import Daemon
from svc.platform.installation import ROOT, Installation
from svc.platform.ports import HOST, free_ports
from svc.platform.servers import forget, running_servers
from tests.bench import echo
from tests.bench.measures import Order, Taken
from tests.support.platform import sweep

READY_S_MAX = 30
STOP_S_MAX = 60
"""A wallet publishes what it has committed before it goes."""
ORDER_S_SPARE = 120
LOG_TAIL_LINES = 15
TEMPLATE = "wallet"
"""The database that is copied for each measurement."""


class BenchError(Exception):
    """The benchmark cannot go on; the text says why."""


@contextmanager
def staged(own: Sequence[Service] = ()) -> Generator["Stage"]:
    """Start fresh servers on free ports, gone afterwards; the broker also knows the echoes.

    And services of the benchmark's own, with the streams and consumers that they need.
    """
    sweep(ROOT / ".run")
    run_dir = ROOT / ".run" / f"test-{os.getpid()}"
    every = [*catalogue.services(), echo.answering(), echo.asking(), *own]
    for path, text in broker_files(Topology(every)).items():
        target = run_dir / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    jetstream = run_dir / "jetstream"
    try:
        with running_servers(
            run_dir, free_ports(), permissions=jetstream / "nats.conf"
        ) as installation:
            up.deploy(installation)
            if own:
                asyncio.run(streams.apply(installation, directory=jetstream))
            yield Stage(installation)
    finally:
        forget(run_dir)


class Child:
    """One process of a contender."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        """Keep the process and where it writes its log."""
        self.process = process
        self.log = log

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self.process.pid

    def tail(self) -> str:
        """Return the last lines of its log."""
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join([f"{self.log}:", *lines[-LOG_TAIL_LINES:]])

    async def line(self, within_s: float) -> bytes:
        """Return the next line of its standard output; raises BenchError when there is none."""
        assert self.process.stdout is not None
        try:
            async with asyncio.timeout(within_s):
                found = await self.process.stdout.readline()
        except TimeoutError:
            found = b""
        if not found:
            raise BenchError(f"no answer within {within_s} s\n{self.tail()}")
        return found

    async def stop(self) -> None:
        """End it (SIGTERM), kill it when it does not."""
        if self.process.returncode is not None:
            return
        self.process.terminate()
        try:
            async with asyncio.timeout(STOP_S_MAX):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()


class Loader:
    """A load generator: a process that takes orders."""

    def __init__(self, child: Child) -> None:
        """Talk to this process."""
        self.child = child

    async def run(self, order: Order) -> Taken:
        """Give an order and return what was seen; raises BenchError when the process fails."""
        assert self.child.process.stdin is not None
        self.child.process.stdin.write(msgspec.json.encode(order) + b"\n")
        await self.child.process.stdin.drain()
        line = await self.child.line(order.seconds + order.warm_s + ORDER_S_SPARE)
        return msgspec.json.decode(line, type=Taken)


class Stage:
    """The servers of one benchmark, and the processes started on them."""

    def __init__(self, installation: Installation) -> None:
        """Use the servers of this installation."""
        self.installation = installation
        self.environment = up.environment(installation)
        self.servers = {
            name: [found.pid]
            for name in ("postgres", "nats")
            if (found := Daemon(name, installation.run_dir).process()) is not None
        }

    def url(self, database: str, role: str = "wallet") -> str:
        """Return the address of a database, as the wallet's role or as `admin`."""
        key = "ADMIN_DATABASE_URL" if role == "admin" else f"{role.upper()}_DATABASE_URL"
        return urlsplit(self.installation[key])._replace(path=f"/{database}").geturl()

    @asynccontextmanager
    async def database(
        self, name: str, role: str = "admin"
    ) -> AsyncGenerator["asyncpg.Connection[asyncpg.Record]"]:
        """Connect to a database; statements may take as long as they need."""
        connection = await asyncpg.connect(self.url(name, role))
        try:
            yield connection
        finally:
            await connection.close()

    async def create(self, name: str, template: str = "template1") -> None:
        """Make a database of the wallet's role, a copy of another that nobody uses now."""
        async with self.database("postgres") as admin:
            await admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            await admin.execute(f"CREATE DATABASE {name} OWNER wallet TEMPLATE {template}")

    async def drop(self, name: str) -> None:
        """Remove a database."""
        async with self.database("postgres") as admin:
            await admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    async def forget_events(self) -> None:
        """Empty the wallet's stream and bucket, which nobody reads here."""
        client = await streams.connect(self.installation, "deploy")
        try:
            for stream in ("WALLET", "KV_wallet"):
                await client.jetstream().purge_stream(stream)
        finally:
            await client.close()

    @asynccontextmanager
    async def process(
        self,
        name: str,
        command: Sequence[str],
        extra: Mapping[str, str] | None = None,
        *,
        program: str = sys.executable,
        directory: Path = ROOT,
    ) -> AsyncGenerator[Child]:
        """Run a process for as long as the block lasts."""
        log = self.installation.run_dir / "logs" / f"bench-{name}.log"
        with log.open("ab") as file:
            started = await asyncio.create_subprocess_exec(
                program,
                *command,
                cwd=directory,
                env={**self.environment, **(extra or {})},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
            )
        child = Child(started, log)
        try:
            yield child
        finally:
            await child.stop()

    @asynccontextmanager
    async def wallet(self, database: str, number: int = 0) -> AsyncGenerator[Child]:
        """Run a wallet as `just up` does, on this database; its other instances beside it."""
        port = free_ports()["WALLET_PORT"]
        extra = {"WALLET_DATABASE_URL": self.url(database), "WALLET_PORT": port}
        if self.environment.get("WALLET_PARTITIONS", "1") != "1":
            extra["WALLET_PARTITION"] = str(number)
        command = ("-m", "svc", "run", "wallet")
        async with self.process(f"wallet-{number}", command, extra) as child:
            await _ready(child, f"http://{HOST}:{port}/readyz")
            yield child

    @asynccontextmanager
    async def peer(self, name: str, *arguments: str) -> AsyncGenerator[Child]:
        """Run the service side of another contender, which says `ready` when it is."""
        command = ("-m", f"tests.bench.peers.{name}", *arguments)
        async with self.process(name, command) as child:
            await child.line(READY_S_MAX)
            yield child

    @asynccontextmanager
    async def generator(self, driver: str, address: str = "") -> AsyncGenerator[Loader]:
        """Run a load generator that asks in this driver's way."""
        command = ("-m", "tests.bench.generator", driver, address)
        async with self.process(f"generator-{driver}", command) as child:
            await child.line(READY_S_MAX)
            yield Loader(child)


async def _ready(child: Child, url: str) -> None:
    deadline = time.monotonic() + READY_S_MAX
    async with httpx.AsyncClient(timeout=2, trust_env=False) as client:
        while time.monotonic() < deadline and child.process.returncode is None:
            try:
                if (await client.get(url)).is_success:
                    return
            except httpx.HTTPError:
                pass
            await asyncio.sleep(0.05)
    raise BenchError(f"the wallet does not become ready\n{child.tail()}")


def keep(source: Path, name: str) -> None:
    """Keep a file of the run directory beside the results, for who looks for a cause."""
    target = ROOT / ".run" / "bench"
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target / name)
