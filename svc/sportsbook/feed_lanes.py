"""Messages of the feed as they are worked on: about one event in their order, events side by side.

Keys are those of the feed's AMQP exchange, such as `hi.-.live.odds_change.1.sr:match.1234.-`.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Generic, TypeVar

T = TypeVar("T")

SYSTEM = "-"
"""How keys of messages about producers begin; those about events begin with a priority."""
EVENT = slice(5, 7)
"""The parts of a key that say which event it is about: the kind of its id, and its number."""


class Lanes(Generic[T]):
    """Works on messages as they come; `work` is one message's, and sees to its failures itself."""

    def __init__(self, work: Callable[[T], Coroutine[object, object, None]]) -> None:
        """Nothing is worked on yet."""
        self.work = work
        self.waiting: dict[str, deque[T]] = {}
        self.working: set[asyncio.Task[None]] = set()

    async def take(self, key: str, message: T) -> None:
        """Work on a message, or begin to; to be called in the order in which they came.

        An alive says that nothing before it is missing, and a snapshot_complete that it was sent
        whole, so both wait for what came before them, and what comes after them for both.
        """
        if key.startswith(SYSTEM):
            await self.rest()
            await self.work(message)
            return
        about = ".".join(key.split(".")[EVENT])
        if about in self.waiting:
            self.waiting[about].append(message)
            return
        self.waiting[about] = deque([message])
        task = asyncio.create_task(self._work_through(about))
        self.working.add(task)
        task.add_done_callback(self.working.discard)

    async def rest(self) -> None:
        """Wait until all that was begun is done."""
        while self.working:
            await asyncio.gather(*self.working)

    async def stop(self) -> None:
        """Begin nothing more, and end what is not done yet."""
        tasks = list(self.working)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _work_through(self, about: str) -> None:
        waiting = self.waiting[about]
        try:
            while waiting:
                await self.work(waiting.popleft())
        finally:
            del self.waiting[about]
