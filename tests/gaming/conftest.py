"""A currency for each test, so that no test sees the games of another."""

import random

import pytest

USED: set[str] = {"EUR", "USD", "BRL"}


@pytest.fixture
def currency() -> str:
    """A currency that no other test of this run uses."""
    while True:
        code = "".join(random.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ", k=3))
        if code not in USED:
            USED.add(code)
            return code
