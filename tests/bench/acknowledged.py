"""What callers were told, kept outside the database, and compared with the ledger afterwards.

A ledger can be consistent and still have lost what it promised: only who was answered knows that.
Each line of a log is one answer; a request that was asked again has several.
"""

import argparse
import asyncio
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import asyncpg
import msgspec

from svc.mesh.errors import Refused
from svc.wallet.contract import Receipt
from tests.bench import load_wallet
from tests.bench.load_wallet import Decided

CHUNK = 5_000
"""How many ids are looked up at once."""
OF_ANOTHER_BODY = "conflict"
"""The refusal that tells of the id, not of what was decided under it."""
TOMBSTONE = "rolled-back"
"""The refusal that no row of its own keeps."""

Outcome = Literal["applied", "refused", "unknown"]


class Acknowledged(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One answer to one request: `change` is what was asked for, signed, in minor units.

    The balances are those of the receipt; `refusal` names what was refused. `unknown` stands for
    a request without an answer: both may be true of it, until it is asked again.
    """

    transfer_id: str
    user_id: str
    change: int
    outcome: Outcome
    cash: int = 0
    bonus: int = 0
    held: int = 0
    refusal: str = ""


class Log:
    """Collects answers in memory and appends them to a file: nothing here touches a database."""

    def __init__(self, path: Path) -> None:
        """Append to this file at each `write`."""
        self.path = path
        self.answers: list[Acknowledged] = []

    def applied(self, user_id: str, change: int, receipt: Receipt) -> None:
        """Keep a receipt."""
        self.answers.append(
            Acknowledged(
                receipt.transfer_id, user_id, change, "applied",
                receipt.cash, receipt.bonus, receipt.held,
            )
        )  # fmt: skip

    def refused(self, transfer_id: str, user_id: str, change: int, refusal: Refused) -> None:
        """Keep a refusal."""
        self.answers.append(
            Acknowledged(transfer_id, user_id, change, "refused", refusal=refusal.name)
        )

    def unknown(self, transfer_id: str, user_id: str, change: int) -> None:
        """Keep that nothing was answered."""
        self.answers.append(Acknowledged(transfer_id, user_id, change, "unknown"))

    def write(self) -> None:
        """Append what was collected since the last time."""
        encode = msgspec.json.Encoder().encode
        with self.path.open("ab") as file:
            file.writelines(encode(answer) + b"\n" for answer in self.answers)
        self.answers.clear()


def read(path: Path) -> Iterator[Acknowledged]:
    """Yield the answers of a log."""
    decode = msgspec.json.Decoder(Acknowledged).decode
    with path.open("rb") as file:
        yield from map(decode, file)


def violations(
    answers: Sequence[Acknowledged], ledger: Mapping[str, Sequence[Decided]]
) -> list[str]:
    """Return every promise that the ledger does not keep, as sentences.

    `ledger` holds what was decided under each of the answers' ids: usually one thing.
    """
    asked: dict[str, list[Acknowledged]] = defaultdict(list)
    for answer in answers:
        asked[answer.transfer_id].append(answer)
    return [
        f"{transfer_id}: {sentence}"
        for transfer_id, told in asked.items()
        for sentence in _broken(told, ledger.get(transfer_id, ()))
    ]


def _broken(told: Sequence[Acknowledged], decided: Sequence[Decided]) -> Iterator[str]:
    """Say what is wrong about one request."""
    applied = [one for one in decided if one.outcome == "applied"]
    if len(applied) > 1:
        yield f"applied {len(applied)} times"
    for one in applied:
        if one.moved != one.change:
            yield f"a change of {one.change} stands beside entries of {one.moved}"
    for answer in told:
        if answer.refusal == OF_ANOTHER_BODY and not decided:
            yield "refused for another body, but nothing is kept under this id"
    told = [answer for answer in told if answer.refusal != OF_ANOTHER_BODY]
    final = {answer for answer in told if answer.outcome != "unknown"}
    if len(final) > 1:
        yield f"answered in {len(final)} different ways"
    for answer in final:
        yield from _kept(answer, applied, decided)
    for answer in told:
        if answer.outcome == "unknown" and applied and applied[0].change != answer.change:
            yield f"{answer.change} was asked for, {applied[0].change} moved"


def _kept(
    answer: Acknowledged, applied: Sequence[Decided], decided: Sequence[Decided]
) -> Iterator[str]:
    """Compare one answer with what was decided."""
    if answer.outcome == "refused":
        if applied:
            yield f"refused ({answer.refusal}), but applied"
        elif answer.refusal != TOMBSTONE and answer.refusal not in {d.refusal for d in decided}:
            yield f"refused ({answer.refusal}), but no such refusal is kept"
        return
    if not applied:
        yield "acknowledged, but not applied"
        return
    one = applied[0]
    if one.change != answer.change:
        yield f"{answer.change} was acknowledged, {one.change} moved"
    if (one.cash, one.bonus, one.held) != (answer.cash, answer.bonus, answer.held):
        yield (
            f"acknowledged with balances {(answer.cash, answer.bonus, answer.held)}, "
            f"kept with {(one.cash, one.bonus, one.held)}"
        )


def chunks(answers: Iterable[Acknowledged]) -> Iterator[list[Acknowledged]]:
    """Cut answers into lists in which all answers of an id are together."""
    for_id: dict[str, list[Acknowledged]] = defaultdict(list)
    for answer in answers:
        for_id[answer.transfer_id].append(answer)
    ids = list(for_id)
    for start in range(0, len(ids), CHUNK):
        yield [answer for one in ids[start : start + CHUNK] for answer in for_id[one]]


async def compared(
    connection: load_wallet.Connection,
    path: Path,
    decided: Callable[
        [load_wallet.Connection, Sequence[str]], AsyncIterator[Decided]
    ] = load_wallet.decided,
) -> tuple[int, list[str]]:
    """Compare a log with the ledger; return how many answers it holds, and the broken promises."""
    count = 0
    broken: list[str] = []
    for answers in chunks(read(path)):
        count += len(answers)
        ledger: dict[str, list[Decided]] = defaultdict(list)
        async for one in decided(connection, sorted({a.transfer_id for a in answers})):
            ledger[one.transfer_id].append(one)
        broken += violations(answers, ledger)
    return count, broken


def main() -> int:
    """Compare a log with a wallet's database: `python -m tests.bench.acknowledged LOG URL`."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("log", type=Path)
    parser.add_argument("url", help="of the wallet's database, as the reader role")
    arguments = parser.parse_args()

    async def run() -> tuple[int, list[str]]:
        connection = await asyncpg.connect(arguments.url)
        try:
            return await compared(connection, arguments.log)
        finally:
            await connection.close()

    count, broken = asyncio.run(run())
    print("\n".join([*broken, f"{count} answers, {len(broken)} broken promises"]))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
