"""A player's balance on a WebSocket: the truth first, then each change from the wallet's cache."""

from typing import Any

import httpx
import msgspec
import pytest
from websockets.asyncio.client import connect

from svc.gateway.balances import newer_only
from svc.generate.broker import bucket
from svc.mesh.clock import new_id
from svc.mesh.types import AMOUNT_MAX
from svc.wallet import contract as wallet
from tests.gateway.conftest import Player
from tests.gateway.test_sockets import closing, frame, protocols
from tests.support.mesh import Operator, Services
from tests.support.platform import Platform


@pytest.fixture
async def address(platform: Platform, door: httpx.AsyncClient, services: Services) -> str:
    """Where the WebSocket is, with the wallet running."""
    assert door.base_url
    await services("wallet")
    return platform.settings["GATEWAY_URL"].replace("http", "ws", 1) + "/ws/wallet"


async def pay_in(operator: Operator, player: Player, amount: int) -> None:
    transfer = wallet.Transfer(
        transfer_id=new_id(), user_id=player.user_id, amount=amount, currency="EUR",
        kind="deposit", reference="test",
    )  # fmt: skip
    await operator.call(wallet.CREDIT_BALANCE, transfer)


async def test_the_balance_comes_first_and_then_each_change_of_it(
    address: str, player: Player, operator: Operator
) -> None:
    await pay_in(operator, player, 5)
    async with connect(address, subprotocols=protocols(player)) as socket:
        assert (await frame(socket))["cash"] == 5
        await pay_in(operator, player, 2)
        told: dict[str, Any] = await frame(socket)
        assert (told["user_id"], told["cash"], told["version"]) == (player.user_id, 7, 2)


async def test_nobody_sees_a_balance_without_a_token(address: str) -> None:
    async with connect(address) as socket:
        assert (await closing(socket))[0] == 4401


def balance(version: int, amount: int = 1) -> str:
    money = wallet.Balance(
        user_id=new_id(), currency="EUR", cash=amount, bonus=amount, held=amount,
        available=-amount, debt=amount, version=version,
    )  # fmt: skip
    return msgspec.json.encode(money).decode()


def test_an_older_balance_is_never_shown_after_a_newer_one() -> None:
    newer = newer_only()
    came = [balance(3), balance(2), balance(3), "", balance(4)]
    assert [newer(text) for text in came] == [True, False, False, False, True]


def test_the_bucket_has_room_for_a_million_balances() -> None:
    subject, overhead = len(f"$KV.wallet.{new_id()}"), 40
    largest = len(balance(10**9, AMOUNT_MAX))
    assert bucket("wallet")["max_bytes"] >= 1_000_000 * (subject + overhead + largest)
