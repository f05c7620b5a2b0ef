"""Writes transfers: a batch is one transaction, decided here and checked again by the database.

A writer owns a shard: the house's accounts of its own and a chain of batches. Several writers, in
one process or many, work on the same players: what a writer remembers of wallets and ids is only a
belief, which `write_batch` verifies under locks. When a belief was wrong nothing is written, and
the batch is decided anew on locked wallets. Everybody locks in one order: wallets by id, transfers
by id, the own shard.
"""

from collections import deque
from collections.abc import Collection, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import asyncpg

from svc.mesh.context import Context
from svc.mesh.database import LOST
from svc.mesh.errors import Unavailable
from svc.wallet import chain, store
from svc.wallet.announcements import announced
from svc.wallet.book import Book, Wallet
from svc.wallet.concerned import Concerned
from svc.wallet.contract import BALANCE_CHANGED
from svc.wallet.draft import Draft
from svc.wallet.ledger import Answer, decide
from svc.wallet.operations import Credit, Deduct, Operation
from svc.wallet.refreshing import Refresher
from svc.wallet.written import written

if TYPE_CHECKING:
    from svc.mesh.runtime import Runtime

ATTEMPTS_MAX = 6
"""How often a batch is decided anew because others decided on the same wallets or ids meanwhile."""
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
PLAIN = (Deduct, Credit)
"""Operations that name their player themselves."""
NOT_OURS = "WL002"


class Overtaken(Exception):
    """Another transaction decided something that these operations refer to; it is visible now."""


class StakeUnknown(Exception):
    """A credit names a stake that nobody has decided: it may be just on its way."""


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
        self.reader: Any = None
        self.shard = 0
        self.no = 0
        self.hash = b""
        self.wallets: dict[str, Wallet] = {}
        self.ids: set[str] = set()
        self.ids_in_order: deque[str] = deque()
        self.careful = 0
        self.writing: Draft | None = None

    def simple(self, operations: Sequence[Operation], draft: Draft) -> bool:
        """Say whether operations can be decided on what is in memory: new ids, known wallets."""
        if self.connection is None or self.careful:
            return False
        wallets, ids, drafted = self.wallets, self.ids, draft.ids
        writing = self.writing.ids if self.writing else drafted
        for operation in operations:
            if not isinstance(operation, PLAIN) or operation.stake_transfer_id:
                return False
            if operation.user_id not in wallets:
                return False
            transfer_id = operation.transfer_id
            if transfer_id in ids or transfer_id in drafted or transfer_id in writing:
                return False
        return len(operations) == 1 or len({one.transfer_id for one in operations}) == len(
            operations
        )

    def decide(
        self, operations: Sequence[Operation], contexts: Sequence[Context], draft: Draft
    ) -> list[Answer]:
        """Decide simple operations into a draft; the answers are true once it is written."""
        known, before = draft.book.wallets, draft.before
        for operation in operations:
            if not isinstance(operation, PLAIN):
                raise TypeError("only simple operations are drafted")
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
            if isinstance(operation, PLAIN) and operation.user_id not in self.wallets
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

    def forget(self, draft: Draft) -> None:
        """Believe nothing any more of the wallets that a draft has moved."""
        for user in draft.before:
            self.wallets.pop(user, None)

    async def write(self, draft: Draft) -> bool:
        """Write a sealed draft; False when it must be decided anew: the ledger is not as believed.

        It is committed when this returns True. Raises Unavailable when the outcome is unknown.
        """
        batch = draft.sealed
        if batch is None:  # nothing new was decided
            return True
        try:
            await self._send(batch, draft)
        except (*LOST, asyncpg.InterfaceError) as failure:
            self.drop()
            raise Unavailable(f"the ledger could not commit: {type(failure).__name__}") from failure
        except asyncpg.PostgresError as failure:
            if failure.sqlstate == NOT_OURS:
                self.drop()
            self._may_try_again(failure)
            self.forget(draft)
            return False
        except BaseException:
            self.drop()
            raise
        return True

    def seal(self, draft: Draft) -> None:
        """Make ready what writes a draft, as the next of what is being written; once is enough."""
        if draft.sealed is None and draft.decided:
            self._seal(draft, draft.stakes())

    def committed(self, draft: Draft) -> None:
        """Take in what is on disk now, and tell of it."""
        if draft.sealed is not None:
            self._committed(draft.sealed, draft)

    async def apply(
        self, operations: Sequence[Operation], contexts: Sequence[Context]
    ) -> list[Answer]:
        """Apply operations in order, each applied or refused on its own; one answer for each.

        They are committed when this returns. Raises Unavailable when the database is out of reach
        (the outcome is unknown then: ask again with the same ids) or when others kept deciding on
        the same wallets.
        """
        try:
            await self.connect()
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
        """Close the connections."""
        for connection in (self.connection, self.reader):
            if connection is not None:
                await connection.close()
        self.connection = self.reader = None

    async def connect(self) -> None:
        """Connect and own a shard, if that is not so already; raises Unavailable."""
        if self.connection is not None:
            return
        connection = await self.runtime.own_database().connection(SETTINGS)
        self.connection = connection
        shard = await store.claim_shard(connection)
        if shard is None:
            raise Unavailable("all shards of the ledger have a writer")
        self.shard = shard
        self.no, self.hash = await store.end_of_chain(connection, shard)
        self.wallets = await store.some_wallets(connection, WALLETS_WARM)

    async def _apply(
        self, operations: Sequence[Operation], contexts: Sequence[Context]
    ) -> list[Answer]:
        concerned = Concerned.by(operations)
        opened: dict[str, str] = {}
        careful = self.careful > 0 or concerned.refers or bool(concerned.restricted)
        alone = False
        self.careful -= self.careful > 0
        for _ in range(ATTEMPTS_MAX):
            try:
                if not careful:
                    return await self._hopeful(operations, contexts, concerned, opened)
                async with self.connection.transaction():
                    if alone:
                        await store.wait_for_all(self.connection)
                    answers, batch, draft = await self._locked(
                        operations, contexts, opened, alone=alone
                    )
                self._committed(batch, draft)
            except WalletsMissing as missing:
                opened |= missing.currency_of
                await store.open_wallets(self.connection, opened, self.runtime.clock.now())
            except Overtaken:
                careful = True
            except StakeUnknown:
                careful = alone = True
            except asyncpg.PostgresError as failure:
                if not self._may_try_again(failure):
                    raise
                careful = True
            else:
                return answers
            for user in concerned.users:
                self.wallets.pop(user, None)
        raise Unavailable("others are using the same transfer ids")

    def _may_try_again(self, failure: asyncpg.PostgresError) -> bool:
        """Say whether a belief was wrong; raises Unavailable when the shard is not ours."""
        if failure.sqlstate == NOT_OURS:
            raise Unavailable("another writer took this shard of the ledger") from failure
        if store.is_stale(failure):
            self.careful = CAREFUL_BATCHES
            return True
        return isinstance(failure, asyncpg.UniqueViolationError)

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
        draft = self._draft(operations, wallets, concerned.users, opened)
        draft.book.add(records)
        self._check_stakes(operations, draft)
        answers, decided = decide(operations, contexts, draft.book)
        draft.add(decided)
        if decided:
            stakes = [stake for stake in draft.stakes() if stake not in asked]
            self._committed(await self._write(draft, stakes), draft)
        return answers

    @staticmethod
    def _check_stakes(operations: Sequence[Operation], draft: Draft) -> None:
        """Raise StakeUnknown for a credit of a stake that may be on its way; free spins have none.

        What is asked in the same batch comes before or after it, as it was asked.
        """
        known = {operation.transfer_id for operation in operations} | draft.book.records.keys()
        for operation in operations:
            if isinstance(operation, Credit) and not operation.into:
                stake = operation.stake_transfer_id
                if stake and stake not in known:
                    raise StakeUnknown

    async def _locked(
        self,
        operations: Sequence[Operation],
        contexts: Sequence[Context],
        opened: Collection[str],
        *,
        alone: bool,
    ) -> tuple[list[Answer], store.Written | None, Draft]:
        """Lock the players concerned, read what the rules need to know, decide and write."""
        concerned = Concerned.by(operations)
        if concerned.refers:
            found = await store.transfers(self.connection, concerned.ids, concerned.holds)
            concerned.follow(found)
        wallets = await store.lock_wallets(self.connection, concerned.users)
        records = await store.transfers(self.connection, concerned.ids, concerned.holds)
        if concerned.refers and concerned.follow(records):
            raise Overtaken
        draft = self._draft(operations, wallets, concerned.users, opened)
        draft.book.add(records)
        if not alone:
            self._check_stakes(operations, draft)
        answers, decided = decide(operations, contexts, draft.book)
        draft.add(decided)
        written = await self._write(draft, []) if decided else None
        if restricted := concerned.restricted & draft.book.wallets.keys():
            known = [draft.book.wallets[user] for user in sorted(restricted)]
            await store.restrict_wallets(self.connection, known)
        return answers, written, draft

    def _draft(
        self,
        operations: Sequence[Operation],
        wallets: dict[str, Wallet],
        users: Collection[str],
        opened: Collection[str],
    ) -> Draft:
        """Return a draft on these users' wallets.

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
        before = {user: wallet.seq for user, wallet in known.items()}
        # One that has moved already was opened by others: operations before the credit see it.
        unseen = [user for user in opened if user in known and not known[user].seq]
        return Draft(Book(known, {user: known.pop(user) for user in unseen}), before)

    async def _write(self, draft: Draft, stakes: list[str]) -> store.Written:
        batch = self._seal(draft, stakes)
        await self._send(batch, draft)
        return batch

    async def _send(self, batch: store.Written, draft: Draft) -> None:
        traced = self.runtime.parts.batch
        if traced is None:
            await store.write(self.connection, batch)
            return
        with traced("wallet", store.WRITE, (context for _, context in draft.decided)):
            await store.write(self.connection, batch)

    def _seal(self, draft: Draft, stakes: list[str]) -> store.Written:
        """Give a draft its place in the chain: after what is being written, if something is."""
        before = self.writing.sealed if self.writing is not None else None
        prev, no = (self.hash, self.no + 1) if before is None else (before.hash, before.no + 1)
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
        moved = [str(rows[place - 1][store.USER_ID]) for place in batch.moved]
        for wallet in map(wallets.__getitem__, moved):
            draft.shown[wallet.user_id] = wallet.currency, wallet.money, wallet.seq
        draft.sealed = store.ready(batch)
        return draft.sealed

    def _committed(self, batch: store.Written | None, draft: Draft) -> None:
        """Take in what is on disk now, and tell of it."""
        if batch is None:
            return
        self.no, self.hash = batch.no, batch.hash
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

    def _make_room(self) -> None:
        """Forget the wallets that came first; the next use reads what is committed by then."""
        surplus = len(self.wallets) - WALLETS_KEPT
        if surplus > 0 and self.writing is None:
            for user in list(islice(self.wallets, surplus + WALLETS_KEPT // 10)):
                del self.wallets[user]
