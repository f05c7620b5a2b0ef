"""The SMS and e-mail provider as a program of its own, which a test can stop, start and fault."""

import asyncio
import contextlib
import random
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from datetime import date
from typing import Any

import httpx
import pytest

from svc.casino import contract as casino
from svc.identity import contract as identity
from svc.mesh.clock import new_id
from svc.notification.contract import LIST_MESSAGES, InboxOf, Message
from tests.support.mesh import Operator, Services
from tests.support.platform import Platform
from tests.support.waiting import until


class Provider:
    """The provider's process and what it says of itself."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.url = platform.settings["SMS_PROVIDER_URL"]
        self.client = httpx.AsyncClient(base_url=self.url, trust_env=False)
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it and wait until it answers."""
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "svc.outside.sms_provider", env=self.platform.environment()
        )

        async def answers() -> bool:
            with contextlib.suppress(httpx.TransportError):
                return (await self.client.get("/simulate/messages")).status_code == 200
            return False

        await until(answers)

    async def stop(self) -> None:
        """Stop it; it forgets everything."""
        if self.process is not None:
            self.process.terminate()
            await self.process.wait()
            self.process = None

    async def faults(self, **switches: object) -> None:
        """Set the switches; none heals everything."""
        answer = await self.client.post("/simulate/faults", json=switches)
        answer.raise_for_status()

    async def messages(self, to: str) -> list[dict[str, Any]]:
        """Return what was received for an address, oldest first."""
        answer = await self.client.get("/simulate/messages", params={"to": to})
        items: list[dict[str, Any]] = answer.json()["items"]
        return items


@dataclass(frozen=True)
class User:
    """A registered user and their addresses."""

    user_id: str
    email: str
    phone: str


Register = Callable[..., Awaitable[User]]


def payout(user_id: str, amount: int) -> casino.CasinoPayoutComplete:
    return casino.CasinoPayoutComplete(
        round_id=new_id(),
        session_id=new_id(),
        user_id=user_id,
        game_id="slots",
        stake=100,
        payout=amount,
        currency="EUR",
        transfer_id=new_id(),
        stake_transfer_id=new_id(),
    )


async def inbox(operator: Operator, user: User, count: int) -> list[Message]:
    """Wait until a user has so many in-app messages and return them, newest first."""
    found: list[Message] = []

    async def there() -> bool:
        page = await operator.call(LIST_MESSAGES, InboxOf(user_id=user.user_id))
        found[:] = page.items
        return len(found) >= count

    await until(there)
    return found


async def received(provider: Provider, to: str, count: int = 1) -> list[str]:
    """Wait until the provider has so many messages for an address and return their bodies."""
    found: list[str] = []

    async def there() -> bool:
        found[:] = [message["body"] for message in await provider.messages(to)]
        return len(found) >= count

    await until(there)
    return found


@pytest.fixture(scope="session")
async def provider(platform: Platform) -> AsyncGenerator[Provider]:
    running = Provider(platform)
    await running.start()
    yield running
    await running.stop()
    await running.client.aclose()


@pytest.fixture
async def register(
    services: Services, operator: Operator, provider: Provider
) -> Callable[..., Awaitable[User]]:
    """Register a real user with identity; notification, localization and the gateway run."""
    assert provider.process is not None
    await services("identity", "localization", "notification", "gateway")

    async def one(*, locale: str = "de", opt_in: bool = False, phone: str | None = None) -> User:
        number = f"{random.randrange(10**8):08}1"
        request = identity.Register(
            email=f"user{number}@players.example",
            phone=phone or f"+49151{number}",
            password="correct horse battery",
            date_of_birth=date(1990, 1, 1),
            currency="EUR",
            locale=locale,
            marketing_opt_in=opt_in,
        )
        found = await operator.call(identity.REGISTER, request)
        return User(found.user_id, request.email, request.phone)

    return one
