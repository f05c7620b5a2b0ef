"""Real servers for a test run: fresh, on free ports, below `.run/test-<pid>`, gone afterwards."""

import contextlib
import os
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from svc.mesh.connection import Connection
from svc.platform import streams, up
from svc.platform.installation import ROOT, Installation, prepare
from svc.platform.ports import free_ports
from svc.platform.servers import Servers, forget, running_servers
from svc.platform.tools import is_test_run_alive


@dataclass(frozen=True)
class Platform:
    """Where the servers of this test run are, and with which credentials."""

    installation: Installation

    @property
    def run_dir(self) -> Path:
        """The run directory; `BETMESH_RUN` names it while the fixture lives."""
        return self.installation.run_dir

    @property
    def settings(self) -> Mapping[str, str]:
        """Every address and secret, by the names of settings.env."""
        return self.installation.values

    def environment(self) -> dict[str, str]:
        """Environment for a subprocess such as `python -m svc run wallet`."""
        return up.environment(self.installation)

    def seed_file(self, user: str) -> Path:
        """The nkey seed of a NATS user: a service, operator, observer, deploy or system."""
        return self.run_dir / "nats" / f"{user}.nk"

    @asynccontextmanager
    async def nats(self, user: str = "operator") -> AsyncGenerator[Connection]:
        """A connection to the broker with that user's own rights and inbox."""
        client = await streams.connect(self.installation, user)
        try:
            yield client
        finally:
            await client.close()

    @asynccontextmanager
    async def database(
        self, service: str | None = None
    ) -> AsyncGenerator["asyncpg.Connection[asyncpg.Record]"]:
        """A connection as the service's role, or as the reader without one."""
        key = f"{service.upper()}_DATABASE_URL" if service else "DATABASE_URL"
        connection = await asyncpg.connect(self.settings[key])
        try:
            yield connection
        finally:
            await connection.close()


@contextmanager
def started_platform() -> Generator[Platform]:
    """Servers with databases migrated and streams applied; a missing server is a failure."""
    sweep(ROOT / ".run")
    run_dir = ROOT / ".run" / f"test-{os.getpid()}"
    try:
        with running_servers(run_dir, free_ports()) as installation:
            up.deploy(installation)
            with _environment_of(installation):
                yield Platform(installation)
    finally:
        forget(run_dir)


def sweep(directory: Path) -> None:
    """Stop and remove what test runs left that were killed."""
    for left in directory.glob("test-*"):
        if not is_test_run_alive(left):
            with contextlib.suppress(FileNotFoundError):  # another run sweeps too
                Servers(prepare(left, {})).stop()
                forget(left)


@contextmanager
def _environment_of(installation: Installation) -> Generator[None]:
    """Code under test in this process finds this installation, not the developer's."""
    before = dict(os.environ)
    for key in installation.values:
        os.environ.pop(key, None)
    os.environ["BETMESH_RUN"] = str(installation.run_dir)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
