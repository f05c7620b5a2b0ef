"""A real HTTP server with the routes of localization, which a test can stop and start again."""

import asyncio
import socket
from collections.abc import AsyncIterator

import httpx
import pytest
import uvicorn
from litestar import Litestar

from svc.localization.http import routes


class Announced(uvicorn.Server):
    """A server that says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


class Server:
    """The routes on a loopback port that stays the same over stops and starts."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.server: Announced | None = None
        self.task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        app = Litestar(list(routes), openapi_config=None)
        config = uvicorn.Config(app, port=self.port, log_level="error", lifespan="off")
        self.server = Announced(config)
        self.task = asyncio.create_task(self.server.serve())
        await asyncio.wait_for(self.server.ready.wait(), 10)

    async def stop(self) -> None:
        if self.server and self.task:
            self.server.should_exit = True
            self.server.force_exit = True
            await self.task


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    running = Server()
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
async def http(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
        yield client
