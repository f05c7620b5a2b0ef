"""Fixtures of the sportsbook's tests: the service with the real wallet, and a fresh event."""

import pytest

from tests.sportsbook.match import Match
from tests.sportsbook.players import Player
from tests.support.mesh import Operator, Services


@pytest.fixture
async def match(services: Services, operator: Operator) -> Match:
    """An event that the feed has not told of yet."""
    await services("sportsbook", "wallet")
    return Match(operator)


@pytest.fixture
async def player(match: Match, operator: Operator) -> Player:
    """A player with 100.00 EUR."""
    assert match
    return await Player(operator).with_money(10_000)
