"""Writes transfers: a batch is one transaction, decided here and checked again by the database.

A writer owns a shard: the house's accounts of its own and a chain of batches. Several writers, in
one process or many, work on the same players: what a writer remembers of wallets and ids is only a
belief, which `write_batch` verifies under locks. When a belief was wrong nothing is written, and
the batch is decided anew on locked wallets. Everybody locks in one order: wallets by id, transfers
by id, the own shard.
"""

from collections import deque
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import asyncpg

from svc.mesh.clock import new_id
from svc.mesh.context import Context
from svc.mesh.database import LOST
from svc.mesh.errors import Unavailable
from svc.wallet import chain, store
from svc.wallet.announcements import Refresher, events_of, packed
from svc.wallet.book import Book, Wallet
from svc.wallet.concerned import Concerned
from svc.wallet.contract import BALANCE_CHANGED
from svc.wallet.ledger import Answer, Decided, decide
from svc.wallet.operations import Credit, Operation
from svc.wallet.written import written

if TYPE_CHECKING:
    from svc.mesh.runtime import Runtime

ATTEMPTS_MAX = 6
"""How often a batch is decided anew because others decided on the same wallets or ids meanwhile."""
WALLETS_KEPT = 200_000
IDS_KEPT = 100_000
CAREFUL_BATCHES = 32
"""After a belief was wrong so many batches lock first: somebody else has the same players."""
SETTINGS = {
    # A plan made while a table is empty must not scan it when it has grown.
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
    # What is answered is on disk, whatever the server's default says.
    "synchronous_commit": "on",
}
STALE = "WL001"
NOT_OURS = "WL002"


class Overtaken(Exception):
    """Another transaction decided something that these operations refer to; it is visible now."""


class WalletsMissing(Exception):
    """Credits open the wallets of users that have none: user id to currency."""

    def __init__(self, currency_of: dict[str, str]) -> None:
        """Keep whose wallets to open."""
        super().__init__()
        self.currency_of = currency_of


class Writer:
    """One connection that writes batches, one after the other."""

    def __init__(self, runtime: "Runtime", refresher: Refresher) -> None:
        """Prepare; the first batch connects."""
        self.runtime = runtime
        self.refresher = refresher
        self.connection: Any = None
        self.shard = 0
        self.no = 0
        self.hash = b""
        self.wallets: dict[str, Wallet] = {}
        self.ids: set[str] = set()
        self.ids_in_order: deque[str] = deque()
        self.careful = 0

    async def apply(
        self, operations: Sequence[Operation], contexts: Sequence[Context]
    ) -> list[Answer]:
        """Apply operations in order, each applied or refused on its own; one answer for each.

        They are committed when this returns. Raises Unavailable when the database is out of reach
        (the outcome is unknown then: ask again with the same ids) or when others kept deciding on
        the same wallets.
        """
        try:
            if self.connection is None:
                await self._connect()
            return await self._apply(operations, contexts)
        except (*LOST, asyncpg.InterfaceError, Unavailable) as failure:
            self.drop()
            if isinstance(failure, Unavailable):
                raise
            raise Unavailable(f"the ledger could not commit: {type(failure).__name__}") from failure
        except BaseException:
            self.drop()
            raise

    def drop(self) -> None:
        """Let go of the connection and of all that was believed."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.terminate()
        self.wallets.clear()

    async def close(self) -> None:
        """Close the connection."""
        connection, self.connection = self.connection, None
        if connection is not None:
            await connection.close()

    async def _connect(self) -> None:
        connection = await self.runtime.own_database().connection(SETTINGS)
        self.connection = connection
        shard = await store.claim_shard(connection)
        if shard is None:
            raise Unavailable("all shards of the ledger have a writer")
        self.shard = shard
        self.no, self.hash = await store.end_of_chain(connection, shard)

    async def _apply(
        self, operations: Sequence[Operation], contexts: Sequence[Context]
    ) -> list[Answer]:
        concerned = Concerned.by(operations)
        opened: dict[str, str] = {}
        careful = self.careful > 0 or concerned.refers
        self.careful -= self.careful > 0
        for _ in range(ATTEMPTS_MAX):
            try:
                if not careful:
                    return await self._hopeful(operations, contexts, concerned, opened)
                async with self.connection.transaction():
                    answers, after = await self._locked(operations, contexts, opened)
                self._committed(*after)
            except WalletsMissing as missing:
                opened |= missing.currency_of
                await store.open_wallets(self.connection, opened, self.runtime.clock.now())
            except (Overtaken, asyncpg.UniqueViolationError):
                careful = True
            except asyncpg.PostgresError as failure:
                if failure.sqlstate == NOT_OURS:
                    raise Unavailable("another writer took this shard of the ledger") from failure
                if failure.sqlstate != STALE:
                    raise
                careful, self.careful = True, CAREFUL_BATCHES
            else:
                return answers
            for user in concerned.users:
                self.wallets.pop(user, None)
        raise Unavailable("others are using the same transfer ids")

    async def _hopeful(
        self,
        operations: Sequence[Operation],
        contexts: Sequence[Context],
        concerned: Concerned,
        opened: Collection[str],
    ) -> list[Answer]:
        """Decide on what is believed; one statement writes it, if it is true."""
        wallets = self.wallets
        unknown = [user for user in concerned.users if user not in wallets]
        if unknown:
            wallets.update(await store.wallets(self.connection, unknown))
        # Wallets first, then transfers: a wallet whose seq is the same at the end had no transfer
        # in between, so neither had what was read about its transfers.
        asked = (self.ids & concerned.ids) | concerned.stakes
        records = await store.transfers(self.connection, asked, ()) if asked else ()
        book = self._book(operations, wallets, concerned.users, opened)
        book.add(records)
        before = {user: wallet.seq for user, wallet in book.all_wallets()}
        answers, decided = decide(operations, contexts, book)
        if decided:
            stakes = [
                record.transfer_id
                for record, _ in decided
                if record.kind == "bet"
                and record.verb == "deduct_balance"
                and record.transfer_id not in asked
            ]
            batch = await self._write(decided, book, before, sorted(before.items()), stakes)
            self._committed(batch, decided, book)
        return answers

    async def _locked(
        self, operations: Sequence[Operation], contexts: Sequence[Context], opened: Collection[str]
    ) -> tuple[list[Answer], tuple[store.Written | None, list[Decided], Book]]:
        """Lock the players concerned, read what the rules need to know, decide and write."""
        concerned = Concerned.by(operations)
        if concerned.refers:
            found = await store.transfers(self.connection, concerned.ids, concerned.holds)
            concerned.follow(found)
        wallets = await store.lock_wallets(self.connection, concerned.users)
        records = await store.transfers(self.connection, concerned.ids, concerned.holds)
        if concerned.refers and concerned.follow(records):
            raise Overtaken
        book = self._book(operations, wallets, concerned.users, opened)
        book.add(records)
        before = {user: wallet.seq for user, wallet in book.all_wallets()}
        answers, decided = decide(operations, contexts, book)
        batch = await self._write(decided, book, before, [], []) if decided else None
        return answers, (batch, decided, book)

    def _book(
        self,
        operations: Sequence[Operation],
        wallets: dict[str, Wallet],
        users: Collection[str],
        opened: Collection[str],
    ) -> Book:
        """Return a book of these users' wallets.

        Wallets that were `opened` for these operations are seen from the first credit on.
        """
        known = {user: wallets[user] for user in users if user in wallets}
        if len(known) < len(users):
            missing: dict[str, str] = {}
            for operation in operations:
                if isinstance(operation, Credit) and operation.user_id not in known:
                    missing.setdefault(operation.user_id, operation.currency)
            if missing:
                raise WalletsMissing(missing)
        # One that has moved already was opened by others: operations before the credit see it.
        unseen = [user for user in opened if user in known and not known[user].seq]
        return Book(known, {user: known.pop(user) for user in unseen})

    async def _write(
        self,
        decided: list[Decided],
        book: Book,
        before: dict[str, int],
        seen: list[tuple[str, int]],
        stakes: list[str],
    ) -> store.Written:
        rows = sorted(store.values(record) for record, _ in decided)
        at = self.runtime.clock.now()
        no = self.no + 1
        events = events_of(decided)
        batch = written(
            shard=self.shard, no=no, prev=self.hash,
            hash=chain.hash_of(self.shard, no, at, self.hash, rows), at=at, rows=rows, seen=seen,
            wallets=book.wallets, before=before, decided=decided, stakes=stakes,
            event_id=new_id(), subject=BALANCE_CHANGED.subject, body=packed(events),
            events=len(events),
        )  # fmt: skip
        await store.write(self.connection, batch)
        return batch

    def _committed(self, batch: store.Written | None, decided: list[Decided], book: Book) -> None:
        """Take in what is on disk now, and tell of it."""
        if batch is None:
            return
        self.no, self.hash = batch.no, batch.hash
        if len(self.wallets) > WALLETS_KEPT:
            self.wallets.clear()
        self.wallets.update(book.wallets)
        ids = [record.transfer_id for record, _ in decided]
        self.ids.update(ids)
        self.ids_in_order.extend(ids)
        while len(self.ids_in_order) > IDS_KEPT:
            self.ids.discard(self.ids_in_order.popleft())
        if batch.events:
            self.runtime.own_database().on_commit()
        self.refresher.show(wallet for _, _, wallet in batch.changed)
