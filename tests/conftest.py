"""Fixtures that every test may ask for; helpers to import live in tests/support."""

from collections.abc import Generator

import pytest

from tests.support.platform import Platform, started_platform


@pytest.fixture(scope="session")
def platform() -> Generator[Platform]:
    """Real NATS, Postgres and Valkey for the whole run, migrated, with streams applied."""
    with started_platform() as started:
        yield started
