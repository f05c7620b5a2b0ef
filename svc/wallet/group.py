"""Group commit: what is asked while a batch commits is committed together with the next one.

There is no timer. A lone call is written at once; under load batches grow by themselves. While
Postgres writes one batch the next is decided already, on what the first will have left, and follows
at once. Operations keep the order in which they came, and each caller is answered only after the
commit of its own.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from svc.mesh.context import Context
from svc.mesh.errors import Unavailable
from svc.wallet import careful
from svc.wallet.draft import Draft
from svc.wallet.ledger import Answer
from svc.wallet.operations import Operation
from svc.wallet.refreshing import Refresher
from svc.wallet.writer import Writer

if TYPE_CHECKING:
    from svc.mesh.runtime import Runtime

BATCH_MAX = 512
"""Operations in one transaction; a request of more goes alone."""


class Asked:
    """Operations that were asked together, and who waits for their answers.

    `decided` are the answers that a draft has for them; `looked` says that the wallets they need
    were asked for, so that one which is still unknown does not exist.
    """

    __slots__ = ("answers", "contexts", "decided", "looked", "operations")

    def __init__(self, operations: Sequence[Operation], contexts: Sequence[Context]) -> None:
        """Nobody has looked at them yet."""
        self.operations = operations
        self.contexts = contexts
        self.answers: asyncio.Future[list[Answer]] = asyncio.get_running_loop().create_future()
        self.decided: list[Answer] = []
        self.looked = False

    def answer(self, answers: list[Answer]) -> None:
        """Tell who waits."""
        if not self.answers.done():
            self.answers.set_result(answers)

    def fail(self, failure: Exception) -> None:
        """Tell who waits that it failed."""
        if not self.answers.done():
            self.answers.set_exception(failure)


class Group:
    """The queue before the writer of one running wallet, and the batch that is being drafted."""

    def __init__(self, runtime: "Runtime") -> None:
        """Nothing waits."""
        self.refresher = Refresher(runtime.own_cache())
        self.writer = Writer(runtime, self.refresher)
        self.log = runtime.log
        self.queue: deque[Asked] = deque()
        self.draft = Draft()
        self.drafted: list[Asked] = []
        self.alone = False
        self.looking: asyncio.Task[None] | None = None
        self.task: asyncio.Task[None] | None = None

    async def apply(
        self, operations: Sequence[Operation], contexts: Sequence[Context]
    ) -> list[Answer]:
        """Apply operations in order, in company of what others ask; one answer for each.

        Raises Unavailable when the outcome is unknown: ask again with the same ids.
        """
        if not operations:
            return []
        asked = Asked(operations, contexts)
        self.queue.append(asked)
        self._decide()
        if self.task is None:
            self.task = asyncio.create_task(self._work())
        return await asked.answers

    def has_written(self, transfer_id: str) -> bool:
        """Say whether this writer has lately committed what was decided under an id.

        It is decided for ever: applied or refused, asking for it again changes nothing.
        """
        return transfer_id in self.writer.ids

    async def close(self) -> None:
        """Finish what was asked, let go of the database, and show what is committed."""
        while self.task is not None:
            await asyncio.wait([self.task])
        await self.writer.close()
        await self.refresher.finish()

    def _decide(self) -> None:
        """Move what needs no reading from the queue into the draft, in order, while it fits.

        A draft that is full is sealed at once: when Postgres is free, it only has to be sent.
        """
        queue, writer, draft = self.queue, self.writer, self.draft
        while queue and not self.alone:
            asked = queue[0]
            if draft.decided and len(draft.decided) + len(asked.operations) > BATCH_MAX:
                if writer.flying is not None:
                    writer.seal(draft, draft.stakes())
                return
            plain = writer.simple(asked.operations, draft)
            if plain is None:
                self._look()
                return
            queue.popleft()
            asked.decided = writer.decide(plain, asked.contexts, draft)
            self.drafted.append(asked)

    def _look(self) -> None:
        """Begin to read the wallets that nobody has asked for yet."""
        unknown: set[str] = set()
        if self.looking is None and self.writer.connection is not None:
            for asked in self.queue:
                if not asked.looked:
                    asked.looked = True
                    unknown |= self.writer.unknown(asked.operations)
        if unknown:
            self.looking = asyncio.create_task(self._read(unknown))

    async def _read(self, users: set[str]) -> None:
        try:
            await self.writer.learn(users)
        except Unavailable as failure:
            # Whoever needs these wallets meets the same failure when its own turn comes.
            self.log.warning("wallets could not be read", cause=str(failure))
        finally:
            self.looking = None
        self._decide()

    async def _work(self) -> None:
        try:
            while True:
                if self.drafted:
                    await self._write()
                elif self.looking is not None:
                    await asyncio.wait([self.looking])
                elif self.queue:
                    await self._go_alone()
                else:
                    return
        finally:
            self.task = None

    async def _write(self) -> None:
        """Write what is drafted, then what was drafted meanwhile, as long as there is anything."""
        draft, asked, sending = self._send()
        while True:
            try:
                written = await sending
            except Exception as failure:  # noqa: BLE001  # whatever it is, who waits must hear of it
                self._crashed(asked, failure)
                return
            if not written:
                await self._anew(draft, asked)
                return
            # First what Postgres works on next, then what is done.
            following = self._send() if self.draft.decided else None
            self.writer.committed(draft)
            for one in asked:
                one.answer(one.decided)
            if following is None:
                self.writer.flying = None
                self._decide()
                return
            draft, asked, sending = following
            # It is on its way to Postgres before anything else is decided or answered.
            await asyncio.sleep(0)
            self._decide()

    def _send(self) -> "tuple[Draft, list[Asked], asyncio.Task[bool]]":
        """Begin to write what is drafted; the next draft is decided on what it will leave."""
        draft, asked, writer = self.draft, self.drafted, self.writer
        self.draft, self.drafted = Draft(), []
        writer.seal(draft, draft.stakes())
        writer.flying = draft
        return draft, asked, asyncio.create_task(writer.write(draft))

    def _crashed(self, asked: list[Asked], failure: Exception) -> None:
        """Tell who waits that nobody knows what became of it; what was not sent waits on."""
        self.writer.flying = None
        self.writer.drop()
        for one in asked:
            one.fail(failure)
        self._forget_draft()

    async def _anew(self, draft: Draft, asked: list[Asked]) -> None:
        """Decide all anew, in order: a belief was wrong, and what follows from it falls with it."""
        self.writer.flying = None
        self.writer.undo([draft, self.draft])
        self._forget_draft()
        self.queue.extendleft(reversed(asked))
        await self._go_alone()

    def _forget_draft(self) -> None:
        """Let what was decided on a batch that was not written wait again, in order."""
        self.queue.extendleft(reversed(self.drafted))
        self.draft, self.drafted = Draft(), []

    async def _go_alone(self) -> None:
        """Commit the next operations with all the reading they need; nothing is drafted then."""
        self.alone = True
        try:
            await self._commit(self._next())
        finally:
            self.alone = False
        self._decide()

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
        operations = [one for asked in batch for one in asked.operations]
        contexts = [one for asked in batch for one in asked.contexts]
        try:
            answers = await careful.apply(self.writer, operations, contexts)
        except Unavailable as failure:
            for asked in batch:
                asked.fail(failure)
        except Exception as failure:
            if len(batch) == 1:
                batch[0].fail(failure)
                return
            # What the database cannot take at all must not fail its neighbours.
            self.log.exception("a batch failed: each of its requests goes alone")
            for asked in batch:
                await self._commit([asked])
        else:
            start = 0
            for asked in batch:
                end = start + len(asked.operations)
                asked.answer(answers[start:end])
                start = end


GROUPS: "WeakKeyDictionary[Runtime, Group]" = WeakKeyDictionary()


def group_of(context: Context) -> Group:
    """Return the group of the running wallet that this work belongs to."""
    group = GROUPS.get(context.runtime)
    if group is None:
        group = GROUPS[context.runtime] = Group(context.runtime)
    return group
