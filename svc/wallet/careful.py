"""Operations that need more than memory: wallets are opened, transfers read, players locked.

Everybody locks in one order: what all batches share, wallets by id, transfers by id, the own
shard.
"""

from collections.abc import Collection, Sequence

import asyncpg

from svc.mesh.context import Context
from svc.mesh.database import LOST
from svc.mesh.errors import Unavailable
from svc.wallet import store
from svc.wallet.book import Book, Wallet
from svc.wallet.concerned import Concerned
from svc.wallet.draft import Draft
from svc.wallet.ledger import Answer, decide
from svc.wallet.operations import Credit, Operation
from svc.wallet.writer import CAREFUL_BATCHES, NOT_OURS, Writer

ATTEMPTS_MAX = 6
"""How often a batch is decided anew because others decided on the same wallets or ids meanwhile."""


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


async def apply(
    writer: Writer, operations: Sequence[Operation], contexts: Sequence[Context]
) -> list[Answer]:
    """Apply operations in order, each applied or refused on its own; one answer for each.

    They are committed when this returns; nothing else may be on its way. Raises Unavailable when
    the database is out of reach (the outcome is unknown then: ask again with the same ids) or when
    others kept deciding on the same wallets.
    """
    try:
        await writer.connect()
        return await Attempts(writer, operations, contexts).apply()
    except (*LOST, asyncpg.InterfaceError, Unavailable) as failure:
        writer.drop()
        if isinstance(failure, Unavailable):
            raise
        raise Unavailable(f"the ledger could not commit: {type(failure).__name__}") from failure
    except BaseException:
        writer.drop()
        raise


class Attempts:
    """Some operations on their way into the ledger, as often as it takes.

    First what is believed is trusted; when it was wrong, or the operations refer to earlier ones,
    wallets are locked (`careful`); for a credit of an unknown stake everybody else has to wait
    (`alone`).
    """

    def __init__(
        self, writer: Writer, operations: Sequence[Operation], contexts: Sequence[Context]
    ) -> None:
        """Look at what they are about."""
        self.writer = writer
        self.operations = operations
        self.contexts = contexts
        self.concerned = Concerned.by(operations)
        self.opened: dict[str, str] = {}
        restricted = bool(self.concerned.restricted)
        self.careful = writer.careful > 0 or self.concerned.refers or restricted
        self.alone = False
        writer.careful -= writer.careful > 0

    async def apply(self) -> list[Answer]:
        """Try until it is committed; raises Unavailable when others are always there first."""
        writer = self.writer
        for _ in range(ATTEMPTS_MAX):
            before = writer.no, writer.hash
            try:
                return await (self._locked() if self.careful else self._hopeful())
            except WalletsMissing as missing:
                self.opened |= missing.currency_of
                at = writer.runtime.clock.now()
                await store.open_wallets(writer.connection, self.opened, at)
            except Overtaken:
                self.careful = True
            except StakeUnknown:
                self.careful = self.alone = True
            except asyncpg.PostgresError as failure:
                self._may_try_again(failure)
                self.careful = True
            writer.no, writer.hash = before
            for user in self.concerned.users:
                writer.wallets.pop(user, None)
        raise Unavailable("others are using the same transfer ids")

    def _may_try_again(self, failure: asyncpg.PostgresError) -> None:
        """Raise what a failure is, unless a belief was wrong; Unavailable if the shard is lost."""
        if failure.sqlstate == NOT_OURS:
            raise Unavailable("another writer took this shard of the ledger") from failure
        if store.is_stale(failure):
            self.writer.careful = CAREFUL_BATCHES
        elif not isinstance(failure, asyncpg.UniqueViolationError):
            raise failure

    async def _hopeful(self) -> list[Answer]:
        """Decide on what is believed; one statement writes it, if it is true."""
        writer, concerned = self.writer, self.concerned
        connection, wallets = writer.connection, writer.wallets
        unknown = [user for user in concerned.users if user not in wallets]
        if unknown:
            wallets.update(await store.wallets(connection, unknown))
        # Wallets first, then transfers: a wallet whose seq is the same at the end had no transfer
        # in between, so neither had what was read about its transfers.
        asked = (writer.ids & concerned.ids) | concerned.stakes
        records = await store.transfers(connection, asked, ()) if asked else ()
        draft = self._draft(wallets, concerned.users)
        draft.book.add(records)
        answers = self._decide(draft)
        stakes = [stake for stake in draft.stakes() if stake not in asked]
        await self._write(draft, stakes)
        writer.committed(draft)
        return answers

    async def _locked(self) -> list[Answer]:
        """Lock the players concerned, read what the rules need to know, decide and write."""
        connection = self.writer.connection
        async with connection.transaction():
            await store.begin_to_decide(connection, alone=self.alone)
            concerned = Concerned.by(self.operations)
            if concerned.refers:
                found = await store.transfers(connection, concerned.ids, concerned.holds)
                concerned.follow(found)
            wallets = await store.lock_wallets(connection, concerned.users)
            records = await store.transfers(connection, concerned.ids, concerned.holds)
            if concerned.refers and concerned.follow(records):
                raise Overtaken
            draft = self._draft(wallets, concerned.users)
            draft.book.add(records)
            answers = self._decide(draft)
            await self._write(draft, [])
            if restricted := concerned.restricted & draft.book.wallets.keys():
                known = [draft.book.wallets[user] for user in sorted(restricted)]
                await store.restrict_wallets(connection, known)
        self.writer.committed(draft)
        return answers

    def _draft(self, wallets: dict[str, Wallet], users: Collection[str]) -> Draft:
        """Return a draft on these users' wallets.

        Wallets that were opened for these operations are seen from the first credit on.
        """
        known = {user: wallets[user] for user in users if user in wallets}
        if len(known) < len(users):
            missing: dict[str, str] = {}
            for operation in self.operations:
                if isinstance(operation, Credit) and operation.user_id not in known:
                    missing.setdefault(operation.user_id, operation.currency)
            if missing:
                raise WalletsMissing(missing)
        before = {user: wallet.seq for user, wallet in known.items()}
        # One that has moved already was opened by others: operations before the credit see it.
        unseen = [user for user in self.opened if user in known and not known[user].seq]
        return Draft(Book(known, {user: known.pop(user) for user in unseen}), before)

    def _decide(self, draft: Draft) -> list[Answer]:
        if not self.alone:
            self._check_stakes(draft)
        answers, decided = decide(self.operations, self.contexts, draft.book)
        draft.add(decided)
        return answers

    def _check_stakes(self, draft: Draft) -> None:
        """Raise StakeUnknown for a credit of a stake that may be on its way; free spins have none.

        What is asked in the same batch comes before or after it, as it was asked.
        """
        known = {operation.transfer_id for operation in self.operations}
        known |= draft.book.records.keys()
        for operation in self.operations:
            if isinstance(operation, Credit) and not operation.into:
                stake = operation.stake_transfer_id
                if stake and stake not in known:
                    raise StakeUnknown

    async def _write(self, draft: Draft, stakes: list[str]) -> None:
        self.writer.seal(draft, stakes)
        if draft.sealed is not None:
            await self.writer.send(draft.sealed, draft)
