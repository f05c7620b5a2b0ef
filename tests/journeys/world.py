"""A platform under test as a whole, and a player's journey through it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx

from svc.demo.client import Client, person, until
from svc.demo.flows import World
from svc.demo.wiretap import Wiretap
from svc.mesh.clock import new_id
from svc.platform.fleet import Fleet
from svc.platform.installation import Installation

DEPOSIT = 10_000


@dataclass
class Platform:
    """Everything that runs, with the wiretap that has listened from the start."""

    installation: Installation
    fleet: Fleet
    wiretap: Wiretap

    @asynccontextmanager
    async def world(self) -> AsyncGenerator[World]:
        """Return clients of the gateway and of the outside programs."""
        url = self.installation["GATEWAY_URL"]
        async with (
            Client(url) as player,
            Client(url) as operator,
            httpx.AsyncClient(timeout=15, trust_env=False) as outside,
        ):
            yield World(player, operator, dict(self.installation.values), outside)

    async def restart(self, name: str) -> None:
        """Start a service again and wait until it is ready."""
        self.fleet.start([name])
        await asyncio.to_thread(self.fleet.wait_ready, [name])

    async def rows(self, service: str, query: str, *arguments: object) -> list[asyncpg.Record]:
        """Read a service's database as the reader role."""
        url = self.installation["DATABASE_URL"].rsplit("/", 1)[0] + "/" + service
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetch(query, *arguments)
        finally:
            await connection.close()


async def new_player(world: World) -> None:
    """Register and log in, and wait for the wallet to be open."""
    world.account = person()
    answer = await world.player.ask("POST", "/v1/users", world.account, expect=201)
    world.user_id = answer["user_id"]
    await world.player.log_in(world.account["email"], world.account["password"])

    async def opened() -> bool:
        found = await world.player.http.get(
            "/v1/wallet", headers={"Authorization": f"Bearer {world.player.token}"}
        )
        return found.is_success

    await until("an open wallet", opened)


async def deposited(world: World, amount: int = DEPOSIT) -> None:
    """Pay money in and wait until it can be played with; minor units."""
    before = (await world.player.balance())["cash"]
    body = {"amount": amount, "currency": "EUR", "method": "card_ok"}
    key = new_id()

    async def taken() -> bool:
        # A service that has not heard of a new player yet says so with 503 and Retry-After.
        answer = await world.player.http.post(
            "/v1/deposits",
            json=body,
            headers={"Authorization": f"Bearer {world.player.token}", "Idempotency-Key": key},
        )
        assert answer.status_code in {202, 503}, answer.text
        return answer.is_success

    await until("a deposit taken in", taken)

    async def credited() -> bool:
        return (await world.player.balance())["cash"] >= before + amount

    await until("the deposit in the wallet", credited)


async def operator(world: World) -> None:
    """Log the operator in."""
    await world.operator.log_in(world.settings["ADMIN_EMAIL"], world.settings["ADMIN_PASSWORD"])


async def audit(world: World) -> dict[str, Any]:
    """Return the ledger's own check of its invariants."""
    return await world.operator.ask("GET", "/v1/admin/wallet/audit")
