"""Live channels inside the gateway: one NATS subscription per channel and key, fanned out.

Each follower has a bounded queue, or, where frames are whole states, a place for the newest frame
of each key. Whoever reads too slowly is marked and dropped, and never makes the others wait.
"""

from __future__ import annotations

import asyncio
import heapq
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from nats.errors import Error as NatsError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

QUEUE_MAX = 64
"""Messages that may wait for one client, besides what its connection buffers."""
SLOW_AFTER_S = 5.0
"""A client that has not taken a paced frame for so long is too slow."""
PACES_KEPT_MAX = 1_000


@dataclass(eq=False)
class Follower:
    """One client's queue of messages of one subject."""

    queue: asyncio.Queue[str] = field(default_factory=lambda: asyncio.Queue(QUEUE_MAX))
    overflowed: asyncio.Event = field(default_factory=asyncio.Event)

    def offer(self, text: str, key: str = "") -> None:
        """Queue a message, or mark the follower as too slow."""
        _ = key
        if self.overflowed.is_set():
            return
        try:
            self.queue.put_nowait(text)
        except asyncio.QueueFull:
            self.overflowed.set()

    async def next(self) -> str:
        """Wait for the next message and take it."""
        return await self.queue.get()


class PacedFollower(Follower):
    """One client's newest frame per key, each key at most once in a time."""

    def __init__(self, pace_s: float) -> None:
        """Begin with nothing to send."""
        super().__init__()
        self.pace_s = pace_s
        self.clock = asyncio.get_running_loop().time
        self.newest: dict[str, str] = {}
        self.due: list[tuple[float, str]] = []
        self.sent_at: dict[str, float] = {}
        self.came = asyncio.Event()
        self.taken_at: float | None = None

    def offer(self, text: str, key: str = "") -> None:
        """Put a frame in the place of the key's older one, or mark the follower as too slow."""
        now = self.clock()
        if self.taken_at is not None and now - self.taken_at > SLOW_AFTER_S:
            self.overflowed.set()
        if self.overflowed.is_set():
            return
        if key not in self.newest:
            heapq.heappush(self.due, (self.sent_at.get(key, now - self.pace_s) + self.pace_s, key))
        self.newest[key] = text
        self.came.set()

    async def next(self) -> str:
        """Wait until a frame may be sent, and take it."""
        self.taken_at = None
        while not self.due or self.due[0][0] > self.clock():
            self.came.clear()
            wait_s = self.due[0][0] - self.clock() if self.due else None
            try:
                await asyncio.wait_for(self.came.wait(), wait_s)
            except TimeoutError:
                continue
        _, key = heapq.heappop(self.due)
        now = self.taken_at = self.clock()
        self.sent_at[key] = now
        if len(self.sent_at) > PACES_KEPT_MAX:
            since = now - self.pace_s
            self.sent_at = {name: at for name, at in self.sent_at.items() if at > since}
        return self.newest.pop(key)


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
        # A lock lives for as long as somebody holds it or waits for it.
        self.locks = WeakValueDictionary[str, asyncio.Lock]()

    @asynccontextmanager
    async def follow(self, subject: str, pace_s: float = 0) -> AsyncGenerator[Follower]:
        """Follow a subject: from entry on, nothing that the broker takes is missed.

        With a pace, in seconds, only the newest message of each subject within it is kept.
        """
        follower = PacedFollower(pace_s) if pace_s else Follower()
        async with self._lock(subject):
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

    def _lock(self, subject: str) -> asyncio.Lock:
        """Return what opening and closing this channel wait for; no other channel does."""
        return self.locks.setdefault(subject, asyncio.Lock())

    async def _open(self, subject: str) -> Channel:
        followers: set[Follower] = set()

        async def deliver(message: Msg) -> None:
            text = message.data.decode()
            for follower in followers:
                follower.offer(text, message.subject)

        connection = self.connection()
        subscription = await connection.subscribe(subject, cb=deliver)
        try:
            # The broker has the subscription once it answers this ping.
            await connection.flush(timeout=2)
        except BaseException:  # a client that leaves cancels this
            with suppress(NatsError):  # a connection that ends takes it along
                await subscription.unsubscribe()
            raise
        return Channel(subscription, followers)

    async def _close(self, subject: str) -> None:
        async with self._lock(subject):
            channel = self.channels.get(subject)
            if channel is None or channel.followers:
                return
            del self.channels[subject]
            if not self.connection().is_closed:
                await channel.subscription.unsubscribe()
