"""The demo's clients: a player and an operator over HTTP, and a player's WebSockets."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

import httpx
import msgspec
from websockets.asyncio.client import ClientConnection, connect

from svc.mesh.clock import new_id

WITHIN_S = 20.0
POLL_S = 0.03


class DemoFailed(Exception):
    """The demo cannot go on; the text says what was expected and what came."""


async def until(
    what: str, check: Callable[[], Awaitable[Any]], *, within_s: float = WITHIN_S
) -> Any:
    """Ask again until the answer is true, and return it. Raises DemoFailed when it never is."""
    deadline = time.monotonic() + within_s
    while True:
        found = await check()
        if found:
            return found
        if time.monotonic() > deadline:
            raise DemoFailed(f"{what}: not within {within_s:g} s")
        await asyncio.sleep(POLL_S)


class Client:
    """One person in front of the gateway."""

    def __init__(self, base_url: str) -> None:
        """Nobody is logged in yet."""
        self.http = httpx.AsyncClient(base_url=base_url, timeout=15, trust_env=False)
        self.base_url = base_url
        self.token = ""
        self.listeners: list[Listener] = []

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Hang up."""
        for listener in self.listeners:
            await listener.close()
        await self.http.aclose()

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        key: str | None = None,
        expect: int | None = None,
    ) -> Any:
        """Send a request and return the decoded answer.

        Raises DemoFailed with the problem document when the status is not `expect` (default: any
        2xx).
        """
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        if key is not None:
            headers["Idempotency-Key"] = key
        answer = await self.http.request(method, path, json=body, headers=headers)
        expected = answer.is_success if expect is None else answer.status_code == expect
        if not expected:
            raise DemoFailed(f"{method} {path} answered {answer.status_code}: {answer.text[:500]}")
        return msgspec.json.decode(answer.content) if answer.content else None

    async def log_in(self, email: str, password: str) -> None:
        """Open a session."""
        answer = await self.ask("POST", "/v1/sessions", {"email": email, "password": password})
        self.token = answer["access_token"]

    async def balance(self) -> dict[str, Any]:
        """Return the player's wallet; minor units."""
        return await self.ask("GET", "/v1/wallet")

    async def listen(self, path: str, *, authorized: bool = False) -> "Listener":
        """Open a WebSocket and wait for its first frame."""
        url = self.base_url.replace("http", "ws", 1) + path
        protocols = ["betmesh.v1", *([f"bearer.{self.token}"] if authorized else [])]
        connection = await connect(url, subprotocols=protocols, proxy=None)  # pyright: ignore[reportArgumentType] -- plain strings are subprotocols
        listener = Listener(connection)
        self.listeners.append(listener)
        await until(f"the first frame of {path}", listener.first)
        return listener


class Listener:
    """A WebSocket that keeps what it hears."""

    def __init__(self, connection: ClientConnection) -> None:
        """Begin to listen."""
        self.connection = connection
        self.frames: list[Any] = []
        self.task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async for frame in self.connection:
            self.frames.append(msgspec.json.decode(frame))

    async def first(self) -> bool:
        """Tell whether the current state has come."""
        if self.task.done() and not self.frames:
            raise DemoFailed(f"a WebSocket was closed: {self.connection.close_reason}")
        return bool(self.frames)

    async def changed(self) -> bool:
        """Tell whether a change has come after the current state."""
        return len(self.frames) > 1

    async def close(self) -> None:
        """Hang up."""
        await self.connection.close()
        await self.task


def person() -> dict[str, Any]:
    """Return a new player's registration."""
    unique = new_id()
    number = int(unique.replace("-", ""), 16) % 10_000_000
    return {
        "email": f"player-{unique}@example.com",
        "phone": f"+49151{number:07d}1",
        "password": f"correct horse {unique}",
        "date_of_birth": "1990-05-17",
        "currency": "EUR",
        "locale": "en",
        "marketing_opt_in": True,
    }
