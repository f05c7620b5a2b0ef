"""Writes transfers: a batch is one transaction, decided here and checked again by the database.

A writer owns a shard: the house's accounts of its own and a chain of batches. Several writers, in
one process or many, work on the same players: what a writer remembers of wallets and ids is only a
belief, which `write_batch` verifies. When a belief was wrong nothing is written, and the batch is
decided anew on locked wallets (careful.py).
"""

from collections import deque
from collections.abc import Collection, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

import asyncpg

from svc.mesh.context import Context
from svc.mesh.database import LOST
from svc.mesh.errors import Unavailable
from svc.wallet import chain, store
from svc.wallet.announcements import announced
from svc.wallet.contract import BALANCE_CHANGED
from svc.wallet.draft import Draft
from svc.wallet.ledger import Answer, decide
from svc.wallet.operations import Credit, Deduct, Operation
from svc.wallet.refreshing import Refresher
from svc.wallet.written import written

if TYPE_CHECKING:
    from svc.mesh.runtime import Runtime
    from svc.wallet.book import Wallet

WALLETS_KEPT = 200_000
WALLETS_WARM = 50_000
"""Wallets that a new connection begins with, so that a small house is known from the first call."""
IDS_KEPT = 100_000
CAREFUL_BATCHES = 32
"""After a belief was wrong so many batches lock first: somebody else has the same players."""
SETTINGS = {
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "plan_cache_mode": "force_generic_plan",
    # What is answered is on disk, whatever the server's default says.
    "synchronous_commit": "on",
}
Plain = Deduct | Credit
"""Operations that name their player themselves."""
PLAIN = frozenset({Deduct, Credit})
NOT_OURS = "WL002"


class Writer:
    """The connection that writes batches, and what is believed of the ledger."""

    def __init__(self, runtime: "Runtime", refresher: Refresher) -> None:
        """Prepare; the first batch connects."""
        self.runtime = runtime
        self.refresher = refresher
        self.connection: Any = None
        self.reader: Any = None
        self.shard = 0
        self.no = 0
        self.hash = b""
        self.wallets: dict[str, Wallet] = {}
        self.ids: set[str] = set()
        self.ids_in_order: deque[str] = deque()
        self.careful = 0
        self.flying: Draft | None = None

    # What is decided on beliefs.

    def simple(self, operations: Sequence[Operation], draft: Draft) -> Sequence[Plain] | None:
        """Return operations that can be decided on what is in memory: new ids, known wallets.

        None when one of them cannot.
        """
        if self.careful or self.connection is None:
            return None
        wallets, plain = self.wallets, cast("Sequence[Plain]", operations)
        for operation in plain:
            if (
                type(operation) not in PLAIN
                or operation.stake_transfer_id
                or operation.user_id not in wallets
            ):
                return None
        ids = {operation.transfer_id for operation in plain}
        flying = self.flying.ids if self.flying else ()
        new = (
            len(ids) == len(operations)
            and ids.isdisjoint(self.ids)
            and ids.isdisjoint(draft.ids)
            and ids.isdisjoint(flying)
        )
        return plain if new else None

    def decide(
        self, operations: Sequence[Plain], contexts: Sequence[Context], draft: Draft
    ) -> list[Answer]:
        """Decide simple operations into a draft; the answers are true once it is written."""
        known, before = draft.book.wallets, draft.before
        for operation in operations:
            user = operation.user_id
            if user not in before:
                wallet = known[user] = self.wallets[user]
                before[user] = wallet.seq
        answers, decided = decide(operations, contexts, draft.book)
        draft.add(decided)
        return answers

    def unknown(self, operations: Sequence[Operation]) -> set[str]:
        """Return the users whose wallets simple operations would need, and nobody has read."""
        return {
            operation.user_id
            for operation in operations
            if isinstance(operation, Plain) and operation.user_id not in self.wallets
        }

    async def learn(self, users: Collection[str]) -> None:
        """Read the wallets of these users, beside what is being written, none of which is theirs.

        Raises Unavailable when the database is out of reach.
        """
        try:
            if self.reader is None:
                self.reader = await self.runtime.own_database().connection(SETTINGS)
            found = await store.wallets(self.reader, users)
        except (*LOST, asyncpg.InterfaceError) as failure:
            if self.reader is not None:
                self.reader.terminate()
                self.reader = None
            raise Unavailable(f"wallets cannot be read: {type(failure).__name__}") from failure
        self._make_room()
        for user, wallet in found.items():
            self.wallets.setdefault(user, wallet)

    # What is written.

    async def write(self, draft: Draft) -> bool:
        """Write a sealed draft; False when it must be decided anew: the ledger is not as believed.

        It is committed when this returns True. Raises Unavailable when the outcome is unknown.
        """
        batch = draft.sealed
        if batch is None:  # nothing new was decided
            return True
        try:
            await self.send(batch, draft)
        except (*LOST, asyncpg.InterfaceError) as failure:
            raise Unavailable(f"the ledger could not commit: {type(failure).__name__}") from failure
        except asyncpg.PostgresError as failure:
            if failure.sqlstate == NOT_OURS:
                raise Unavailable("another writer took this shard of the ledger") from failure
            if store.is_stale(failure):
                self.careful = CAREFUL_BATCHES
            return False
        return True

    def seal(self, draft: Draft, stakes: list[str]) -> None:
        """Make ready what writes a draft, as the next of the chain; once is enough.

        `stakes` must not have been credited before.
        """
        if draft.sealed is not None or not draft.decided:
            return
        no, prev = self.no + 1, self.hash
        rows = sorted([store.values(record) for record, _ in draft.decided])
        at = self.runtime.clock.now()
        draft.announced = announced(draft.decided)
        wallets = draft.book.wallets
        batch = written(
            shard=self.shard, no=no, prev=prev,
            hash=chain.hash_of(self.shard, no, at, prev, rows), at=at, rows=rows,
            unmoved=draft.unmoved(), wallets=wallets, before=draft.before, decided=draft.decided,
            stakes=stakes, subject=BALANCE_CHANGED.subject,
            told=[announcement.row() for announcement in draft.announced],
        )  # fmt: skip
        for place in batch.moved:
            wallet = wallets[str(rows[place - 1][store.USER_ID])]
            draft.shown[wallet.user_id] = wallet.currency, wallet.money, wallet.seq
        draft.sealed = store.ready(batch)
        self.no, self.hash = no, batch.hash

    async def send(self, batch: store.Written, draft: Draft) -> None:
        """Write a batch, in a span where its work is traced; raises what Postgres does."""
        traced = self.runtime.parts.batch
        if traced is None:
            await store.write(self.connection, batch)
            return
        with traced("wallet", store.WRITE, (context for _, context in draft.decided)):
            await store.write(self.connection, batch)

    def committed(self, draft: Draft) -> None:
        """Take in what is on disk now, and tell of it."""
        batch = draft.sealed
        if batch is None:
            return
        self.wallets.update(draft.book.wallets)
        self._make_room()
        self.ids |= draft.ids
        self.ids_in_order.extend(draft.ids)
        while len(self.ids_in_order) > IDS_KEPT:
            self.ids.discard(self.ids_in_order.popleft())
        if draft.announced and self.runtime.relay is not None:
            for told in draft.announced:
                make = partial(told.parcels, batch.at)
                self.runtime.relay.keep(told.row_id, make, len(told.told))
            self.runtime.relay.committed()
        self.refresher.show(draft.shown)

    def undo(self, drafts: Sequence[Draft]) -> None:
        """Believe nothing any more of what drafts have moved, none of which was written.

        The chain ends before the first of them that has its place in it.
        """
        sealed = [draft.sealed for draft in drafts if draft.sealed is not None]
        if sealed:
            self.no, self.hash = sealed[0].no - 1, sealed[0].prev
        for user in {user for draft in drafts for user in draft.before}:
            self.wallets.pop(user, None)

    def _make_room(self) -> None:
        """Forget the wallets that came first; the next use reads what is committed by then."""
        surplus = len(self.wallets) - WALLETS_KEPT
        if surplus > 0 and self.flying is None:
            for user in list(islice(self.wallets, surplus + WALLETS_KEPT // 10)):
                del self.wallets[user]

    # The connection.

    async def connect(self) -> None:
        """Connect and own a shard, if that is not so already; raises Unavailable."""
        if self.connection is not None:
            return
        self.connection = connection = await self.runtime.own_database().connection(SETTINGS)
        self.shard = await store.claim_shard(connection)
        self.no, self.hash = await store.end_of_chain(connection, self.shard)
        self.wallets = await store.some_wallets(connection, WALLETS_WARM)

    def drop(self) -> None:
        """Let go of the connection and of all that was believed."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.terminate()
        self.wallets.clear()

    async def close(self) -> None:
        """Close the connections."""
        for connection in (self.connection, self.reader):
            if connection is not None:
                await connection.close()
        self.connection = self.reader = None
