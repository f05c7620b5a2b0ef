"""A running gateway with the services behind it, and a logged-in player."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, cast

import grpc.aio
import httpx
import pytest

from proto.betmesh.wallet.v1 import wallet_pb2_grpc
from svc.mesh.clock import new_id
from tests.support.mesh import Services
from tests.support.platform import Platform

PASSWORD = "correct horse battery"


@dataclass(frozen=True)
class Player:
    """A player of the platform, logged in."""

    user_id: str
    email: str
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"}


@pytest.fixture(scope="session")
async def door(platform: Platform, services: Services) -> AsyncGenerator[httpx.AsyncClient]:
    """An HTTP client of a running gateway with identity behind it."""
    await services("identity", "gateway")
    async with httpx.AsyncClient(base_url=platform.settings["GATEWAY_URL"], timeout=20) as client:
        yield client


async def registered(door: httpx.AsyncClient) -> Player:
    """Open an account and log in, as any client does."""
    email = f"player-{new_id()}@betmesh-players.com"
    account = {
        "email": email,
        "phone": f"+4915{int(new_id().replace('-', ''), 16) % 10**9:09d}",
        "password": PASSWORD,
        "date_of_birth": "1990-05-17",
        "currency": "EUR",
    }
    answer = await door.post("/v1/users", json=account)
    assert answer.status_code == 201, answer.text
    user_id = answer.json()["user_id"]
    answer = await door.post("/v1/sessions", json={"email": email, "password": PASSWORD})
    assert answer.status_code == 201, answer.text
    return Player(user_id, email, answer.json()["access_token"])


@pytest.fixture
async def player(door: httpx.AsyncClient) -> Player:
    """A new player of this test alone."""
    return await registered(door)


@pytest.fixture
async def channel(
    platform: Platform, door: httpx.AsyncClient, services: Services
) -> AsyncGenerator[grpc.aio.Channel]:
    assert door.base_url
    await services("wallet")
    async with grpc.aio.insecure_channel(platform.settings["GATEWAY_GRPC"]) as opened:
        yield opened


@pytest.fixture
def wallet(channel: grpc.aio.Channel) -> Any:
    return cast("Any", wallet_pb2_grpc.WalletStub)(channel)


@pytest.fixture
def key(platform: Platform) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {platform.settings['GRPC_API_KEY']}"),)
