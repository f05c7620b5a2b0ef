"""Live channels while the broker keeps its answers to itself: the real one, behind a relay."""

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator
from urllib.parse import urlsplit

import pytest

from svc.gateway.live import Hub
from svc.mesh.connection import Connection
from tests.support.platform import Platform
from tests.support.waiting import until

CHUNK_BYTES = 64 * 1024


class Relay:
    """Hands on what a client and the broker say; the broker's part may be held back."""

    def __init__(self, broker: tuple[str, int]) -> None:
        self.broker = broker
        self.said = b""
        self.open = asyncio.Event()
        self.open.set()
        self.relaying: set[asyncio.Task[None]] = set()

    async def accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.relaying.add(task)
        behind = await asyncio.open_connection(*self.broker)
        ways = (self._hear(reader, behind[1]), self._answer(behind[0], writer))
        try:
            await asyncio.gather(*ways)
        finally:
            behind[1].transport.abort()
            writer.transport.abort()
            self.relaying.discard(task)

    async def close(self) -> None:
        for task in tuple(self.relaying):
            task.cancel()
        await asyncio.gather(*self.relaying, return_exceptions=True)

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(CHUNK_BYTES):
            self.said += chunk
            writer.write(chunk)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(CHUNK_BYTES):
            await self.open.wait()
            writer.write(chunk)

    async def heard(self, pattern: str) -> str:
        """Wait until the client has said this, and return its first group."""

        async def found() -> re.Match[bytes] | None:
            return re.search(pattern.encode(), self.said)

        return (await until(found, pattern))[1].decode()


@pytest.fixture
async def relay(platform: Platform) -> AsyncGenerator[Relay]:
    address = urlsplit(platform.settings["NATS_URL"])
    assert address.hostname
    assert address.port
    relay = Relay((address.hostname, address.port))
    yield relay
    await relay.close()


@pytest.fixture
async def hub(platform: Platform, relay: Relay) -> AsyncGenerator[Hub]:
    """The channels of a gateway that reaches its broker through the relay."""
    connection = Connection()
    async with await asyncio.start_server(relay.accepted, "127.0.0.1", 0) as server:
        await connection.connect(
            f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}",
            nkeys_seed=str(platform.seed_file("gateway")),
            inbox_prefix="_INBOX.gateway",
            allow_reconnect=False,
        )
        yield Hub(lambda: connection)
        relay.open.set()
        await connection.close()


async def followed(hub: Hub, subject: str, until_then: asyncio.Event) -> None:
    async with hub.follow(subject):
        await until_then.wait()


async def test_a_client_that_leaves_while_its_channel_opens_leaves_no_subscription(
    hub: Hub, relay: Relay
) -> None:
    relay.open.clear()
    task = asyncio.create_task(followed(hub, "live.jackpots.all", asyncio.Event()))
    number = await relay.heard(r"SUB live\.jackpots\.all +(\d+)\r\n")
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await relay.heard(rf"(UNSUB) {number}\b")
    assert not hub.channels
    assert not hub.locks


async def test_a_channel_that_does_not_open_keeps_no_other_waiting(hub: Hub, relay: Relay) -> None:
    relay.open.clear()
    done = asyncio.Event()
    subjects = [f"live.odds.{number}" for number in range(3)]
    async with asyncio.TaskGroup() as group:
        for subject in (*subjects, *subjects):
            group.create_task(followed(hub, subject, done))
        for subject in subjects:
            await relay.heard(rf"SUB ({subject}) ")
        assert not hub.channels
        relay.open.set()

        async def all_opened() -> bool:
            return [len(channel.followers) for channel in hub.channels.values()] == [2, 2, 2]

        await until(all_opened)
        done.set()
    assert len(re.findall(rb"\bSUB live\.odds\.", relay.said)) == len(subjects)
    assert not hub.channels
    assert not hub.locks
