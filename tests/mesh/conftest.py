"""A broker of their own for the mesh's tests, and two small services on it."""

import asyncio
import os
from collections.abc import AsyncGenerator, Generator

import asyncpg
import pytest
from nats.aio.client import Client

from svc.generate.broker import broker_files
from svc.generate.topology import Topology
from svc.mesh.runtime import Runtime
from svc.platform import migrate, streams
from svc.platform.installation import ROOT, Installation
from svc.platform.ports import free_ports
from svc.platform.servers import forget, running_servers
from tests.mesh.pair import Memory, Pair, answering, asking, settings_of


@pytest.fixture(scope="session")
def ground() -> Generator[Installation]:
    """Servers whose broker knows only the two services of tests/mesh/pair.py."""
    run_dir = ROOT / ".run" / f"test-{os.getpid()}-mesh"
    memory = Memory()
    for path, text in broker_files(Topology([answering(memory), asking(memory)])).items():
        target = run_dir / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    try:
        permissions = run_dir / "jetstream" / "nats.conf"
        with running_servers(run_dir, free_ports(), permissions=permissions) as installation:
            asyncio.run(_deploy(installation))
            yield installation
    finally:
        forget(run_dir)


async def _deploy(installation: Installation) -> None:
    await migrate.migrate(installation)
    await streams.apply(installation, directory=installation.run_dir / "jetstream")
    connection = await asyncpg.connect(installation["CASINO_DATABASE_URL"])
    try:
        await connection.execute("CREATE TABLE effect (number bigint, event_id uuid UNIQUE)")
    finally:
        await connection.close()


@pytest.fixture
async def pair(ground: Installation) -> AsyncGenerator[Pair]:
    """The two services, fresh for each test."""
    memory = Memory()
    settings = settings_of(ground)
    found = Pair(
        Runtime(answering(memory), settings), Runtime(asking(memory), settings), memory, ground
    )
    await found.answering.start()
    await found.asking.start()
    try:
        yield found
    finally:
        memory.hold.set()
        await found.asking.stop()
        await found.answering.stop()


@pytest.fixture
async def client(pair: Pair) -> AsyncGenerator[Client]:
    """A connection as the operator, beside the running pair."""
    connection = await streams.connect(pair.installation, "operator")
    yield connection
    await connection.close()
