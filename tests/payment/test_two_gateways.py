"""One Idempotency-Key, a hundred requests, two gateways of which one is killed: one effect."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import httpx
import pytest

from svc.mesh.clock import new_id
from svc.platform.installation import ROOT
from svc.platform.ports import free_ports
from tests.gateway.conftest import registered
from tests.payment.support import Shop
from tests.support.waiting import until

REQUESTS = 100
RICH, AMOUNT = 10_000, 700


@dataclass(frozen=True)
class Door:
    """A gateway as a process of its own."""

    process: asyncio.subprocess.Process
    client: httpx.AsyncClient

    async def ready(self) -> bool:
        assert self.process.returncode is None
        try:
            return (await self.client.get("/readyz")).status_code == 200
        except httpx.TransportError:
            return False

    async def end(self) -> None:
        await self.client.aclose()
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


@pytest.fixture
async def doors(shop: Shop) -> AsyncGenerator[list[Door]]:
    await shop.services("identity")
    found: list[Door] = []
    try:
        for _ in range(2):
            ports = free_ports()
            moved = {name: ports[name] for name in ("GATEWAY_PORT", "GATEWAY_GRPC_PORT")}
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "svc", "run", "gateway"),
                cwd=ROOT,
                env={**shop.platform.environment(), **moved},
                stderr=asyncio.subprocess.DEVNULL,
            )
            url = f"http://127.0.0.1:{moved['GATEWAY_PORT']}"
            limits = httpx.Limits(max_connections=REQUESTS)
            client = httpx.AsyncClient(base_url=url, timeout=20, limits=limits)
            found.append(Door(process, client))
        for door in found:
            await until(door.ready, within_s=40)
        yield found
    finally:
        for door in found:
            await door.end()


async def test_a_hundred_requests_with_one_key_have_one_effect_though_a_gateway_is_killed(
    shop: Shop, doors: list[Door]
) -> None:
    killed, other = doors
    player = await registered(other.client)
    await until(lambda: shop.is_known(player.user_id))
    await shop.deposit(player.user_id, RICH)
    await shop.has(player.user_id, cash=RICH)
    headers = {**player.headers, "idempotency-key": new_id()}
    body = {"amount": AMOUNT, "currency": "EUR", "method": "bank_ok"}

    async def ask(door: Door) -> httpx.Response:
        """Ask as a client does: at another door, with the same key, when one is gone."""
        with contextlib.suppress(httpx.TransportError):
            return await door.client.post("/v1/withdrawals", json=body, headers=headers)
        return await other.client.post("/v1/withdrawals", json=body, headers=headers)

    # The provider is slow to answer, so that the first request is under way for a while.
    await shop.faults(timeout_after_success=1)
    first = asyncio.create_task(ask(killed))
    async with shop.platform.database("payment") as database:
        mine = "SELECT count(*) FROM withdrawals WHERE user_id = $1"

        async def taken_in() -> bool:
            return bool(await database.fetchval(mine, player.user_id))

        await until(taken_in)
        rest = [asyncio.create_task(ask(doors[n % 2])) for n in range(REQUESTS - 1)]
        await asyncio.sleep(0)
        killed.process.kill()
        answers = await asyncio.gather(first, *rest)
        assert await database.fetchval(mine, player.user_id) == 1
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.content for answer in answers}) == 1
    withdrawal_id = answers[0].json()["withdrawal_id"]
    await shop.withdrawal_is(player.user_id, withdrawal_id, "paid")
    await shop.has(player.user_id, cash=RICH - AMOUNT)
