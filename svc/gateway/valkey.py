"""Valkey behind a short patience: the door never waits long for what it can do without."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

ResultT = TypeVar("ResultT")

PATIENCE_S = 0.25
PAUSE_S = 1.0
"""After a failure nobody asks for this long, so that an outage costs one wait a second."""


class ValkeyDown(Exception):
    """Valkey does not answer; the caller goes on without it."""


class Valkey:
    """Runs operations on Valkey, each for at most PATIENCE_S seconds."""

    def __init__(self, client: Callable[[], Redis]) -> None:
        """Take the client from `client` at each use: it exists only once the service runs."""
        self.client = client
        self.pause_until = 0.0

    async def run(self, operation: Callable[[Redis], Awaitable[ResultT]]) -> ResultT:
        """Return the operation's result; raises ValkeyDown."""
        loop = asyncio.get_running_loop()
        if loop.time() < self.pause_until:
            raise ValkeyDown
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await operation(self.client())
        except (RedisError, OSError, TimeoutError) as failure:
            self.pause_until = loop.time() + PAUSE_S
            raise ValkeyDown from failure

    async def script(self, text: str, key: str, *arguments: Any) -> Any:
        """Run a Lua script on one key; raises ValkeyDown."""

        async def evaluate(client: Redis) -> Any:
            return await client.register_script(text)(keys=[key], args=arguments)

        return await self.run(evaluate)

    async def alive(self) -> bool:
        """Return whether Valkey answers now."""

        async def ping(client: Redis) -> bool:
            return bool(cast("object", await client.execute_command("PING")))

        try:
            return await self.run(ping)
        except ValkeyDown:
            return False
