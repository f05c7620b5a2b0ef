"""Fixtures that every test may ask for; helpers to import live in tests/support."""

import re
from collections.abc import AsyncGenerator, Generator

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests.support import workers
from tests.support.doubles import Stage
from tests.support.mesh import Operator, Services
from tests.support.platform import Platform, started_platform

A_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name fresh ids alike: the processes that share the tests must know them by the same names."""
    return "fresh-id" if isinstance(val, str) and A_UUID.fullmatch(val) else None


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Say how many processes run the tests; 0 runs them in this one."""
    return workers.count(config)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Give whole folders to the processes."""
    return workers.Folders(config, log)


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


@pytest.fixture
async def stage(platform: Platform, services: Services) -> AsyncGenerator[Stage]:
    """Plays the services around the one under test: see tests/support/doubles.py."""
    found = Stage(platform, services)
    yield found
    await found.close()
