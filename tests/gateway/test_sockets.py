"""WebSockets: the state first, then changes; foreigners and slow readers are shown out."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
from nats.aio.client import Client
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from svc.gateway.state import running_gateways
from svc.mesh.clock import new_id
from tests.gateway.conftest import Player, registered
from tests.support.mesh import Services
from tests.support.platform import Platform
from tests.support.waiting import until

JACKPOTS = "live.jackpots.all"


@pytest.fixture
async def address(platform: Platform, door: httpx.AsyncClient, services: Services) -> str:
    """Where the WebSockets are, with the services behind them running."""
    assert door.base_url
    await services("gaming", "casino")
    return platform.settings["GATEWAY_URL"].replace("http", "ws", 1)


@pytest.fixture
async def gaming(platform: Platform) -> AsyncGenerator[Client]:
    """NATS as gaming sees it: who may push to the jackpots' channel."""
    async with platform.nats("gaming") as connection:
        yield connection


def protocols(player: Player) -> list[Subprotocol]:
    return [Subprotocol("betmesh.v1"), Subprotocol(f"bearer.{player.token}")]


async def frame(socket: ClientConnection) -> Any:
    async with asyncio.timeout(5):
        return json.loads(await socket.recv())


async def closing(socket: ClientConnection, within_s: float = 5.0) -> tuple[int, str]:
    """Read to the end; return the code and reason with which the server closed."""
    with contextlib.suppress(ConnectionClosed):
        async with asyncio.timeout(within_s):
            while True:
                await socket.recv()
    assert socket.close_code is not None
    return socket.close_code, socket.close_reason or ""


async def test_the_first_frame_is_the_state_and_then_come_the_changes(
    address: str, gaming: Client
) -> None:
    async with connect(address + "/ws/jackpots") as socket:
        assert "items" in await frame(socket)
        await gaming.publish(JACKPOTS, b'{"items": [], "mark": 1}')
        await gaming.publish(JACKPOTS, b'{"items": [], "mark": 2}')
        assert (await frame(socket))["mark"] == 1
        assert (await frame(socket))["mark"] == 2


async def test_a_hundred_clients_of_a_channel_all_hear_a_change(
    address: str, gaming: Client
) -> None:
    sockets = await asyncio.gather(*(connect(address + "/ws/jackpots") for _ in range(100)))
    try:
        await asyncio.gather(*(frame(socket) for socket in sockets))
        await gaming.publish(JACKPOTS, b'{"mark": "all"}')
        heard = await asyncio.gather(*(frame(socket) for socket in sockets))
        assert heard == [{"mark": "all"}] * 100
    finally:
        await asyncio.gather(*(socket.close() for socket in sockets))


async def test_what_clients_send_is_not_listened_to_and_a_ping_is_answered(address: str) -> None:
    async with connect(address + "/ws/jackpots") as socket:
        await frame(socket)
        for _ in range(50):
            await socket.send("hello?")
        async with asyncio.timeout(5):
            await (await socket.ping())


async def test_a_client_that_reads_too_slowly_is_closed_and_the_others_do_not_notice(
    address: str, gaming: Client
) -> None:
    async with (
        connect(address + "/ws/jackpots", max_queue=1) as slow,
        connect(address + "/ws/jackpots") as quick,
    ):
        await frame(slow)
        await frame(quick)
        padding = "x" * 100_000
        for number in range(120):
            await gaming.publish(JACKPOTS, json.dumps({"mark": number, "p": padding}).encode())
            assert (await frame(quick))["mark"] == number
        assert await closing(slow) == (1013, "too slow")
        await gaming.publish(JACKPOTS, b'{"mark": "after"}')
        assert (await frame(quick))["mark"] == "after"


async def test_without_a_token_a_private_channel_is_closed(address: str) -> None:
    for offered in ([], [Subprotocol("betmesh.v1")], [Subprotocol("bearer.nonsense")]):
        async with connect(address + "/ws/notifications", subprotocols=offered or None) as socket:
            assert await closing(socket) == (4401, "unauthenticated")


async def test_a_player_follows_their_own_casino_session_and_nobody_else_does(
    address: str, door: httpx.AsyncClient, player: Player, platform: Platform
) -> None:
    opened = await door.post(
        "/v1/casino/sessions", json={"game_id": "dice"}, headers=player.headers
    )
    assert opened.status_code == 201, opened.text
    session_id = opened.json()["session_id"]
    path = f"{address}/ws/casino/{session_id}"
    async with connect(path, subprotocols=protocols(player)) as socket:
        assert socket.subprotocol == "betmesh.v1"
        assert (await frame(socket))["session_id"] == session_id
        async with platform.nats("casino") as casino:
            await casino.publish(f"live.casino.{session_id}", b'{"rounds": 1}')
        assert (await frame(socket))["rounds"] == 1
    stranger = await registered(door)
    async with connect(path, subprotocols=protocols(stranger)) as socket:
        assert await closing(socket) == (1008, "not-found")


async def test_a_socket_ends_with_its_session(
    address: str, door: httpx.AsyncClient, player: Player
) -> None:
    opened = await door.post(
        "/v1/casino/sessions", json={"game_id": "dice"}, headers=player.headers
    )
    path = f"{address}/ws/casino/{opened.json()['session_id']}"
    async with connect(path, subprotocols=protocols(player)) as socket:
        await frame(socket)
        await door.delete("/v1/sessions/current", headers=player.headers)
        assert await closing(socket, within_s=10) == (4401, "unauthenticated")


@pytest.mark.parametrize("key", [new_id(), "*", ">", "a.b", "x" * 200, "%20", "not-a-uuid"])
async def test_a_key_that_nobody_pushes_to_is_refused(
    address: str, player: Player, key: str
) -> None:
    async with connect(f"{address}/ws/casino/{key}", subprotocols=protocols(player)) as socket:
        code, reason = await closing(socket)
        assert code == 1008
        assert reason in {"not-found", "validation"}


async def test_a_channel_whose_service_is_down_says_to_come_back(
    address: str, services: Services
) -> None:
    await services.stop("gaming")
    try:
        async with connect(address + "/ws/jackpots") as socket:
            assert await closing(socket) == (1013, "unavailable")
    finally:
        await services("gaming")


async def test_a_gateway_that_stops_closes_its_sockets_and_says_why(
    address: str, services: Services
) -> None:
    async with connect(address + "/ws/jackpots") as socket:
        await frame(socket)
        await services.stop("gateway")
        try:
            code, _ = await closing(socket)
            assert code == 1012  # service restart, RFC 6455's registry
        finally:
            await services("gateway")


async def test_after_nats_was_away_the_state_comes_again(address: str) -> None:
    async with connect(address + "/ws/jackpots") as socket:
        first = await frame(socket)
        connection: Any = running_gateways()[0].runtime.connection
        connection._transport.close()  # as when the network fails
        assert await frame(socket) == first


async def test_nobody_left_means_no_subscription_left(address: str) -> None:
    async with connect(address + "/ws/jackpots") as socket:
        await frame(socket)
        assert any(JACKPOTS in gateway.hub.channels for gateway in running_gateways())

    async def gone() -> bool:
        return not any(JACKPOTS in gateway.hub.channels for gateway in running_gateways())

    await until(gone)
