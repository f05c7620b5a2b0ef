"""Fixtures that every test may ask for; helpers to import live in tests/support."""

from collections.abc import AsyncGenerator, Generator

import pytest

from tests.support.mesh import Operator, Services
from tests.support.platform import Platform, started_platform


@pytest.fixture(scope="session")
def platform() -> Generator[Platform]:
    """Real NATS, Postgres and Valkey for the whole run, migrated, with streams applied."""
    with started_platform() as started:
        yield started


@pytest.fixture(scope="session")
async def services(platform: Platform) -> AsyncGenerator[Services]:
    """Runs services inside this process: `await services("wallet")`; they stay for the session."""
    running = Services(platform)
    yield running
    await running.stop_all()


@pytest.fixture(scope="session")
async def operator(platform: Platform) -> AsyncGenerator[Operator]:
    """Calls any service, publishes as its owner, and waits for events."""
    async with platform.nats("operator") as connection:
        found = Operator(platform, connection)
        await found.caller.start()
        async with found.stack:
            yield found
