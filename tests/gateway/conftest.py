"""A running gateway with the services behind it, and a logged-in player."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass

import httpx
import pytest

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
