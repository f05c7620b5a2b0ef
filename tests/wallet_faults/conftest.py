"""Servers that these tests may kill, apart from those of all others."""

from collections.abc import Generator

import pytest

from tests.wallet_faults.stand import Stand, standing


@pytest.fixture(scope="package")
def stand() -> Generator[Stand]:
    """Servers of their own, once for all tests of this folder."""
    with standing() as started:
        yield started
