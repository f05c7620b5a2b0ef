"""Live channels inside the gateway: one NATS subscription per channel and key, fanned out.

Each follower has a bounded queue. Whoever reads too slowly is marked and dropped; a full queue
never makes the others wait.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

QUEUE_MAX = 64
"""Messages that may wait for one client, besides what its connection buffers."""


@dataclass(eq=False)
class Follower:
    """One client's queue of messages of one subject."""

    queue: asyncio.Queue[str] = field(default_factory=lambda: asyncio.Queue(QUEUE_MAX))
    overflowed: asyncio.Event = field(default_factory=asyncio.Event)

    def offer(self, text: str) -> None:
        """Queue a message, or mark the follower as too slow."""
        if self.overflowed.is_set():
            return
        try:
            self.queue.put_nowait(text)
        except asyncio.QueueFull:
            self.overflowed.set()


@dataclass
class Channel:
    """Everybody who follows one subject, and the subscription they share."""

    subscription: Subscription
    followers: set[Follower]


class Hub:
    """All channels that somebody follows through this gateway."""

    def __init__(self, connection: Callable[[], Client]) -> None:
        """Take the connection at use: it exists only once the service runs."""
        self.connection = connection
        self.channels: dict[str, Channel] = {}
        self.lock = asyncio.Lock()

    @asynccontextmanager
    async def follow(self, subject: str) -> AsyncGenerator[Follower]:
        """Follow a subject: from entry on, nothing that the broker takes is missed."""
        follower = Follower()
        async with self.lock:
            channel = self.channels.get(subject)
            if channel is None:
                channel = self.channels[subject] = await self._open(subject)
            channel.followers.add(follower)
        try:
            yield follower
        finally:
            channel.followers.discard(follower)
            if not channel.followers:
                await self._close(subject)

    async def _open(self, subject: str) -> Channel:
        followers: set[Follower] = set()

        async def deliver(message: Msg) -> None:
            text = message.data.decode()
            for follower in followers:
                follower.offer(text)

        connection = self.connection()
        subscription = await connection.subscribe(subject, cb=deliver)
        # The broker has the subscription once it answers this ping.
        await connection.flush(timeout=2)
        return Channel(subscription, followers)

    async def _close(self, subject: str) -> None:
        async with self.lock:
            channel = self.channels.get(subject)
            if channel is None or channel.followers:
                return
            del self.channels[subject]
            if not self.connection().is_closed:
                await channel.subscription.unsubscribe()
