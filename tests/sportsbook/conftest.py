"""Fixtures of the sportsbook's tests: the service with the real wallet, and a fresh event."""

from collections.abc import AsyncGenerator

import httpx
import pytest

from tests.sportsbook.house_door import Account, Door
from tests.sportsbook.match import Match
from tests.sportsbook.players import Player
from tests.support.mesh import Operator, Services
from tests.support.platform import Platform


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


@pytest.fixture(scope="package")
async def door(platform: Platform, services: Services) -> AsyncGenerator[Door]:
    """The public doors, with the services behind them."""
    await services("identity", "gateway", "sportsbook", "wallet")
    settings = platform.settings
    async with httpx.AsyncClient(base_url=settings["GATEWAY_URL"], timeout=20) as client:
        door = Door(client, settings["BETRADAR_TOKEN"])
        door.staff = await door.log_in(settings["ADMIN_EMAIL"], settings["ADMIN_PASSWORD"])
        yield door


@pytest.fixture(scope="package")
async def account(door: Door, operator: Operator) -> Account:
    """A player with a million, who strikes all the bets of the tables."""
    account = await Account.opened(door)
    await account.is_given(operator, 100_000_000)
    return account
