"""A wallet with one fault put in: `python -m tests.wallet_faults.mutated NAME` runs it.

Each fault is one that a ledger may well have and still look right. `sound` is the wallet as it is.
"""

import asyncio
import itertools
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

import asyncpg
from msgspec.structs import replace

from svc import __main__ as program
from svc.mesh.context import Context
from svc.mesh.settings import Settings
from svc.wallet import careful, ledger, rules, store, writer, written
from svc.wallet.announcements import Announcement
from svc.wallet.book import Book, Money, Record
from svc.wallet.contract import Capture, Receipt, Rollback
from svc.wallet.ledger import Answer, Decided
from svc.wallet.operations import Credit, Deduct, Operation

MUTANTS: dict[str, Callable[[], None]] = {"sound": lambda: None}


def mutant(does: Callable[[], None]) -> Callable[[], None]:
    """Enter a fault under its name."""
    MUTANTS[does.__name__] = does
    return does


def database(*statements: str) -> None:
    """Change the database before the wallet starts; again at each start, to no effect."""

    async def run() -> None:
        connection = await asyncpg.connect(Settings()["WALLET_DATABASE_URL"])
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())


def function_changed(*changes: tuple[str, str]) -> None:
    """Change the function that writes a batch."""

    async def run() -> None:
        connection = await asyncpg.connect(Settings()["WALLET_DATABASE_URL"])
        try:
            text = await connection.fetchval(
                "SELECT pg_get_functiondef('write_batch'::regproc::oid)"
            )
            for old, new in changes:
                text, count = re.subn(re.escape(old), new, text)
                if not count and new not in text:
                    raise LookupError(f"write_batch has no {old!r}")
            await connection.execute(text)
        finally:
            await connection.close()

    asyncio.run(run())


def without_checks() -> None:
    """Take away what the database itself refuses, so that only the code stands."""
    database(
        "ALTER TABLE wallet DROP CONSTRAINT IF EXISTS nothing_below_zero",
        "ALTER TABLE transfer DROP CONSTRAINT IF EXISTS only_what_is_forced_makes_debt",
    )


@mutant
def commits_are_not_on_disk() -> None:
    writer.SETTINGS["synchronous_commit"] = "off"


@mutant
def replies_before_commit() -> None:
    """Answer what was decided; write it a moment later, in the background."""
    write = store.write
    waiting: asyncio.Queue[store.Written] = asyncio.Queue()
    running: set[asyncio.Task[None]] = set()

    async def work() -> None:
        connection = await asyncpg.connect(Settings()["WALLET_DATABASE_URL"])
        while True:
            batch = await waiting.get()
            await asyncio.sleep(0.02)
            await write(connection, batch)

    async def later(connection: Any, batch: store.Written) -> None:
        del connection
        if not running:
            running.add(asyncio.create_task(work()))
        waiting.put_nowait(batch)

    store.write = later


@mutant
def asks_for_no_fingerprint() -> None:
    def any_body(operation: Operation) -> bytes:
        del operation
        return b"any"

    ledger.fingerprint = any_body


@mutant
def knows_ids_only_in_memory() -> None:
    """Nothing on disk keeps an id from being used twice; what was decided is remembered."""
    database("ALTER TABLE transfer DROP CONSTRAINT IF EXISTS transfer_pkey CASCADE")
    read, write = store.transfers, store.write
    known: set[object] = set()

    async def remembered(connection: Any, *about: Any) -> list[Record]:
        return [one for one in await read(connection, *about) if one.transfer_id in known]

    async def remembering(connection: Any, batch: store.Written) -> None:
        await write(connection, batch)
        known.update(row[0] for row in batch.rows)

    store.transfers, store.write = remembered, remembering


@mutant
def forgets_refusals() -> None:
    """A refused transfer is not kept: it may be applied when it is asked for again."""
    _keep_only(lambda record: record.outcome != "refused")


@mutant
def writes_no_tombstone() -> None:
    _keep_only(lambda record: record.outcome != "tombstone")


def _keep_only(keeps: Callable[[Record], bool]) -> None:
    decide = ledger.decide

    def decided(
        operations: Sequence[Operation], contexts: Sequence[Context], known: Book
    ) -> tuple[list[Answer], list[Decided]]:
        answers, found = decide(operations, contexts, known)
        return answers, [one for one in found if keeps(one[0])]

    writer.decide = careful.decide = decided


@mutant
def lets_a_player_go_one_below() -> None:
    """The off-by-one at the floor, where the database does not look either."""
    without_checks()
    Money.available = property(lambda money: money.cash - money.held + 1)  # pyright: ignore[reportAttributeAccessIssue]


@mutant
def keeps_the_last_unit() -> None:
    """`>` where `>=` is meant: nobody can stake all that is there."""
    deduct = rules.RULES[Deduct]

    def strict(operation: Any, known: Book) -> rules.Plan:
        wallet = known.wallets.get(operation.user_id)
        if wallet and 0 < operation.amount == wallet.money.available + wallet.money.bonus:
            raise rules.InsufficientFunds("not all of it")
        return deduct(operation, known)

    rules.RULES[Deduct] = strict


@mutant
def gives_the_odd_unit_to_the_bonus() -> None:
    credit = rules.RULES[Credit]

    def rounded(operation: Credit, known: Book) -> rules.Plan:
        plan = credit(operation, known)
        if operation.stake_transfer_id and plan.change.bonus and plan.change.cash:
            change = Money(cash=plan.change.cash - 1, bonus=plan.change.bonus + 1)
            return replace(plan, change=change)
        return plan

    rules.RULES[Credit] = rounded


@mutant
def drops_the_house_s_leg() -> None:
    """Every so often the other side of a transfer is not written."""
    add, numbers = written._add_to_house, itertools.count()  # pyright: ignore[reportPrivateUsage]

    def dropped(house: Any, record: Record) -> None:
        if next(numbers) % 97 != 96:
            add(house, record)

    written._add_to_house = dropped  # pyright: ignore[reportPrivateUsage]


@mutant
def believes_what_it_remembers() -> None:
    """Nobody checks that a wallet is as remembered: two writers overwrite each other."""
    function_changed((" AND wallet.seq = n.seq_before", ""), (" AND wallet.seq = known.seq", ""))
    database(
        """
        DO $$ DECLARE name text; BEGIN
            FOR name IN SELECT indexname FROM pg_indexes
                WHERE tablename LIKE 'transfer_%' AND indexname LIKE '%_order'
            LOOP EXECUTE format('DROP INDEX %I', name); END LOOP;
        END $$
        """
    )


@mutant
def writes_other_than_it_hashed() -> None:
    write = store.write
    reference = 7

    async def other(connection: Any, batch: store.Written) -> None:
        rows = [(*row[:reference], "changed", *row[reference + 1 :]) for row in batch.rows]
        await write(connection, replace(batch, rows=rows, arguments=()))

    store.write = other


@mutant
def loses_an_event_of_many() -> None:
    announced, numbers = writer.announced, itertools.count()

    def lost(decided: list[Decided]) -> list[Announcement]:
        return announced([one for one in decided if next(numbers) % 97 != 96])

    writer.announced = lost


@mutant
def tells_an_event_twice() -> None:
    """Under another id, so that the stream cannot know."""
    announced = writer.announced

    def twice(decided: list[Decided]) -> list[Announcement]:
        return announced(decided) + announced(decided[:1])

    writer.announced = twice


@mutant
def answers_a_neighbour() -> None:
    """In a batch of several, the first two callers get each other's answer."""
    apply = careful.apply

    async def swapped(own: writer.Writer, operations: Any, contexts: Any) -> list[Answer]:
        answers = await apply(own, operations, contexts)
        if len(answers) > 1 and all(isinstance(one, Receipt) for one in answers[:2]):
            first, second = answers[:2]
            assert isinstance(first, Receipt)
            assert isinstance(second, Receipt)
            answers[0] = replace(second, transfer_id=first.transfer_id)
            answers[1] = replace(first, transfer_id=second.transfer_id)
        return answers

    careful.apply = swapped


@mutant
def releases_nothing_after_a_capture() -> None:
    """What a capture leaves stays held for ever."""
    capture = rules.RULES[Capture]

    def stingy(operation: Any, known: Book) -> rules.Plan:
        plan = capture(operation, known)
        return replace(plan, change=Money(cash=plan.change.cash, held=plan.change.cash))

    rules.RULES[Capture] = stingy


@mutant
def rolls_back_twice() -> None:
    """A second rollback gives the money back once more, where the database does not look either."""
    database("DROP INDEX IF EXISTS linked_once")
    rollback = rules.RULES[Rollback]

    def generous(operation: Any, known: Book) -> rules.Plan:
        known.undone.discard(operation.original_transfer_id)
        return rollback(operation, known)

    rules.RULES[Rollback] = generous


def main() -> int:
    """Put the fault in, then run the wallet as always."""
    MUTANTS[sys.argv[1]]()
    return program.main(["run", "wallet"])


if __name__ == "__main__":
    sys.exit(main())
