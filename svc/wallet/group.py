"""Group commit: what is asked while a batch commits is committed together with the next one.

There is no timer. A lone call is written at once; under load batches grow by themselves. Operations
keep the order in which they came, and each caller is answered only after the commit of its own.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from msgspec import Struct

from svc.mesh.context import Context
from svc.mesh.errors import Unavailable
from svc.wallet.announcements import Refresher
from svc.wallet.ledger import Answer
from svc.wallet.operations import Operation
from svc.wallet.writer import Writer

if TYPE_CHECKING:
    from svc.mesh.runtime import Runtime

BATCH_MAX = 512
"""Operations in one transaction; a request of more goes alone."""


class Asked(Struct):
    """Operations that were asked together, and who waits for their answers."""

    operations: Sequence[Operation]
    contexts: Sequence[Context]
    answers: asyncio.Future[list[Answer]]


class Group:
    """The queue before the writer of one running wallet."""

    def __init__(self, runtime: "Runtime") -> None:
        """Nothing waits."""
        self.writer = Writer(runtime, Refresher(runtime.own_cache()))
        self.log = runtime.log
        self.queue: deque[Asked] = deque()
        self.task: asyncio.Task[None] | None = None

    async def apply(
        self, operations: Sequence[Operation], contexts: Sequence[Context]
    ) -> list[Answer]:
        """Apply operations in order, in company of what others ask; one answer for each.

        Raises Unavailable when the outcome is unknown: ask again with the same ids.
        """
        if not operations:
            return []
        answers: asyncio.Future[list[Answer]] = asyncio.get_running_loop().create_future()
        self.queue.append(Asked(operations, contexts, answers))
        if self.task is None:
            self.task = asyncio.create_task(self._work())
        return await answers

    async def close(self) -> None:
        """Finish what was asked, then let go of the database."""
        while self.task is not None:
            await asyncio.wait([self.task])
        await self.writer.close()

    async def _work(self) -> None:
        try:
            while self.queue:
                await self._commit(self._next())
        finally:
            self.task = None

    def _next(self) -> list[Asked]:
        """Take what waits, in order, up to BATCH_MAX operations."""
        queue = self.queue
        batch = [queue.popleft()]
        count = len(batch[0].operations)
        while queue and count + len(queue[0].operations) <= BATCH_MAX:
            batch.append(queue.popleft())
            count += len(batch[-1].operations)
        return batch

    async def _commit(self, batch: list[Asked]) -> None:
        if len(batch) == 1:
            operations, contexts = batch[0].operations, batch[0].contexts
        else:
            operations = [one for asked in batch for one in asked.operations]
            contexts = [one for asked in batch for one in asked.contexts]
        try:
            answers = await self.writer.apply(operations, contexts)
        except Unavailable as failure:
            for asked in batch:
                _fail(asked, failure)
        except Exception as failure:
            if len(batch) == 1:
                _fail(batch[0], failure)
                return
            # What the database cannot take at all must not fail its neighbours.
            self.log.exception("a batch failed: each of its requests goes alone")
            for asked in batch:
                await self._commit([asked])
        else:
            start = 0
            for asked in batch:
                end = start + len(asked.operations)
                if not asked.answers.done():
                    asked.answers.set_result(answers[start:end])
                start = end


def _fail(asked: Asked, failure: Exception) -> None:
    if not asked.answers.done():
        asked.answers.set_exception(failure)


GROUPS: "WeakKeyDictionary[Runtime, Group]" = WeakKeyDictionary()


def group_of(context: Context) -> Group:
    """Return the group of the running wallet that this work belongs to."""
    group = GROUPS.get(context.runtime)
    if group is None:
        group = GROUPS[context.runtime] = Group(context.runtime)
    return group
