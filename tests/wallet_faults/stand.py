"""Servers of their own for tests that kill them, and wallets as processes that can be killed."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from urllib.parse import urlsplit

import asyncpg
import httpx
import psutil

from svc.platform import ready, streams, up
from svc.platform.errors import PlatformError
from svc.platform.installation import ROOT, Installation
from svc.platform.ports import DATABASES, free_ports
from svc.platform.servers import Servers, forget, running_servers
from tests.support.mesh import Operator
from tests.support.platform import Platform

READY_S_MAX = 30.0
POLL_S = 0.02
LOG_TAIL_LINES = 25
AS_IT_IS = ("svc", "run", "wallet")
"""How a wallet runs everywhere."""


class Wallet:
    """One wallet process, started, killed and started again."""

    def __init__(
        self, installation: Installation, module: Sequence[str] = AS_IT_IS, number: int = 0
    ) -> None:
        """Nothing runs yet; `module` is what `python -m` gets."""
        self.installation = installation
        self.command = [sys.executable, "-m", *module]
        self.log = installation.run_dir / "logs" / f"wallet-{number}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it is ready. Raises PlatformError with the end of its log."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, cwd=ROOT, env=up.environment(self.installation),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + READY_S_MAX
        with httpx.Client(timeout=2, trust_env=False) as client:
            while not ready.is_ready(client, self.installation, "wallet"):
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise PlatformError(f"the wallet does not become ready:\n{self.tail()}")
                time.sleep(POLL_S)

    def kill(self) -> None:
        """End it as a crash would, in the middle of whatever it does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def tail(self) -> str:
        """Return the last lines of its log."""
        with suppress(OSError):
            lines = self.log.read_text(errors="replace").splitlines()
            return "\n".join(lines[-LOG_TAIL_LINES:])
        return "no log"


class Stand:
    """NATS, Postgres and Valkey that nobody else uses."""

    def __init__(self, installation: Installation) -> None:
        """Use these servers; the migrated database is copied for each test."""
        self.installation = installation
        self.servers = Servers(installation)

    def url(self, database: str, role: str = "admin") -> str:
        """Return the address of a database for a role."""
        return (
            urlsplit(self.installation[f"{role.upper()}_DATABASE_URL"])
            ._replace(path=f"/{database}")
            .geturl()
        )

    @asynccontextmanager
    async def database(
        self, name: str, role: str = "admin"
    ) -> AsyncGenerator["asyncpg.Connection[asyncpg.Record]"]:
        """Connect to a database."""
        connection = await asyncpg.connect(self.url(name, role), timeout=10)
        try:
            yield connection
        finally:
            await connection.close()

    async def forget_others(self) -> None:
        """Remove every other service's database: Postgres syncs every file when it recovers."""
        async with self.database("postgres") as admin:
            for name in DATABASES:
                if name != "wallet":
                    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")

    async def fresh(self, name: str) -> None:
        """Make a database of an empty ledger, and empty the wallet's stream."""
        async with self.database("postgres") as admin:
            await admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            await admin.execute(f"CREATE DATABASE {name} OWNER wallet TEMPLATE wallet")
        client = await streams.connect(self.installation, "deploy")
        try:
            await client.jetstream().purge_stream("WALLET")
        finally:
            await client.close()

    @contextmanager
    def wallets(
        self,
        database: str,
        count: int = 1,
        module: Sequence[str] = AS_IT_IS,
        *,
        divided: bool = False,
    ) -> Generator[list[Wallet]]:
        """Run wallets on a database for as long as the block lasts.

        If they are `divided`, each owns a partition of the players.
        """
        running: list[Wallet] = []
        try:
            for number in range(count):
                values = {
                    **self.installation.values,
                    "WALLET_DATABASE_URL": self.url(database, "wallet"),
                    "WALLET_PORT": free_ports()["WALLET_PORT"],
                }
                if divided:
                    values["WALLET_PARTITIONS"] = str(count)
                    values["WALLET_PARTITION"] = str(number)
                own = replace(self.installation, values=values)
                running.append(Wallet(own, module, number))
                running[-1].start()
            yield running
        finally:
            # Nothing is to be kept, so nobody waits for what a wallet does before it ends.
            for wallet in running:
                wallet.kill()

    def kill_postgres(self) -> None:
        """End Postgres, its postmaster and all children, as a loss of power to it would."""
        postmaster = self.servers.postgres.daemon.process()
        assert postmaster is not None
        # Children that outlived their postmaster would still commit.
        processes = [postmaster, *postmaster.children(recursive=True)]
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        for process in processes:
            while _runs(process):
                time.sleep(POLL_S)

    def start_postgres(self) -> None:
        """Start Postgres again: returns when it has recovered."""
        self.servers.start()

    @asynccontextmanager
    async def operator(self) -> AsyncGenerator[Operator]:
        """Connect as who may call everything."""
        platform = Platform(self.installation)
        async with AsyncExitStack() as stack:
            connection = await stack.enter_async_context(platform.nats("operator"))
            operator = Operator(platform, connection)
            await operator.caller.start()
            yield operator


def _runs(process: psutil.Process) -> bool:
    """Tell whether it still does something; whoever adopted it may take a second to bury it."""
    with suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


@contextmanager
def standing() -> Generator[Stand]:
    """Start the servers, migrated and with streams; gone afterwards."""
    run_dir = ROOT / ".run" / f"test-{os.getpid()}-wallet-faults"
    try:
        with running_servers(run_dir, free_ports()) as installation:
            up.deploy(installation)
            stand = Stand(installation)
            asyncio.run(stand.forget_others())
            yield stand
    finally:
        forget(run_dir)
