"""A player with money, for every test of the wallet."""

from collections.abc import AsyncGenerator

import pytest

from svc.wallet import contract as wallet
from tests.support.mesh import Operator, Services
from tests.wallet.player import Player


@pytest.fixture
async def ann(services: Services, operator: Operator) -> AsyncGenerator[Player]:
    """Ann has 100 in cash; after each test the whole ledger is still sound."""
    await services("wallet")
    player = Player(operator)
    await player.give(100)
    yield player
    report = await operator.call(wallet.AUDIT, wallet.Audit())
    assert report.violations == dict.fromkeys(report.violations, 0)
    assert report.healthy
