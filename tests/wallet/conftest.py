"""A player with money, and a second wallet, for every test of the wallet."""

from collections.abc import AsyncGenerator

import pytest

from svc import catalogue
from svc.mesh.runtime import Runtime
from svc.mesh.settings import Settings
from svc.wallet import contract as wallet
from tests.support.mesh import Operator, Services
from tests.support.platform import Platform
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


@pytest.fixture
async def other(platform: Platform, ann: Player) -> AsyncGenerator[Runtime]:
    """A second wallet on the same database and the same queue group."""
    del ann
    settings = Settings({**platform.settings, "BETMESH_RUN": str(platform.run_dir)})
    runtime = Runtime(catalogue.service("wallet"), settings)
    await runtime.start()
    yield runtime
    await runtime.stop()
