"""Work that is done together: what is asked while some is being done is done with the next.

There is no timer. What is asked alone is done at once; under load the groups grow by themselves, so
a transaction is shared by all who came while the last one was committed.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from msgspec import Struct

from svc.mesh.errors import Unavailable

AskedT = TypeVar("AskedT")
AnswerT = TypeVar("AnswerT")

AT_ONCE = 128
"""More in one transaction would keep those before waiting for those behind."""


class Waiting(Struct, Generic[AskedT, AnswerT]):
    """Something that was asked, and who waits for the answer."""

    asked: AskedT
    answer: "asyncio.Future[AnswerT]"


class Together(Generic[AskedT, AnswerT]):
    """A queue before work that takes many at once, but only one of each key."""

    def __init__(
        self,
        work: Callable[[Sequence[AskedT]], Awaitable[Sequence[AnswerT]]],
        key: Callable[[AskedT], str],
    ) -> None:
        """Do the work on what is asked; it gives one answer for each, in order."""
        self.work = work
        self.key = key
        self.queue: deque[Waiting[AskedT, AnswerT]] = deque()
        self.task: asyncio.Task[None] | None = None

    async def ask(self, asked: AskedT) -> AnswerT:
        """Return the answer; raises what the work raises for it."""
        answer: asyncio.Future[AnswerT] = asyncio.get_running_loop().create_future()
        self.queue.append(Waiting(asked, answer))
        if self.task is None:
            self.task = asyncio.create_task(self._work())
        return await answer

    async def _work(self) -> None:
        try:
            while self.queue:
                await self._do(self._next())
        finally:
            self.task = None

    def _next(self) -> list[Waiting[AskedT, AnswerT]]:
        """Take what waits, in order; of each key the first, the others stay for the next time."""
        batch: dict[str, Waiting[AskedT, AnswerT]] = {}
        later: deque[Waiting[AskedT, AnswerT]] = deque()
        while self.queue and len(batch) < AT_ONCE:
            waiting = self.queue.popleft()
            if batch.setdefault(self.key(waiting.asked), waiting) is not waiting:
                later.append(waiting)
        later.extend(self.queue)
        self.queue = later
        return list(batch.values())

    async def _do(self, batch: list[Waiting[AskedT, AnswerT]]) -> None:
        try:
            answers = await self.work([waiting.asked for waiting in batch])
        except Exception as failure:  # noqa: BLE001 - it is told to whoever waits
            if len(batch) == 1 or isinstance(failure, Unavailable):
                for waiting in batch:
                    if not waiting.answer.done():
                        waiting.answer.set_exception(failure)
                return
            for waiting in batch:  # what cannot be done must not fail its neighbours
                await self._do([waiting])
            return
        for waiting, answer in zip(batch, answers, strict=True):
            if not waiting.answer.done():
                waiting.answer.set_result(answer)
