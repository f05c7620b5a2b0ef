"""Balances of the past, and statements as files."""

import csv
import io
from datetime import UTC, datetime, timedelta, timezone

import pytest

from svc.mesh.clock import new_id
from svc.mesh.errors import Invalid, NotFound
from svc.wallet import contract as wallet
from svc.wallet.contract import BalanceOf
from svc.wallet.export import COLUMNS, csv_of
from svc.wallet.statements import Line
from tests.support.mesh import Operator
from tests.wallet.player import Player

LONG_AGO = datetime(2001, 2, 3, tzinfo=UTC)
TOO_EARLY = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))
TOO_LATE = datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-12)))
"""Such times can be written, but their instants are outside the years that there are in UTC."""


def now() -> datetime:
    return datetime.now(UTC)


async def then(player: Player, at: datetime) -> tuple[int, int, int, int]:
    """Return cash, bonus, held and debt as of an instant."""
    found = await player.operator.call(wallet.BALANCE, BalanceOf(user_id=player.user_id, at=at))
    return found.cash, found.bonus, found.held, found.debt


async def statement(
    player: Player, since: datetime | None = None, until: datetime | None = None
) -> tuple[list[dict[str, str]], int]:
    """Return all lines of a statement, read page by page, and how many pages it had."""
    text, cursor, pages = "", None, 0
    while cursor or not pages:
        page = await player.operator.call(
            wallet.STATEMENT,
            wallet.StatementOf(
                user_id=player.user_id, cursor=cursor, limit=2, since=since, until=until
            ),
        )
        text, cursor, pages = text + page.text, page.next_cursor, pages + 1
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True)), pages


async def test_a_balance_is_told_as_of_any_time(ann: Player) -> None:
    moments: list[tuple[datetime, tuple[int, int, int, int]]] = [(LONG_AGO, (0, 0, 0, 0))]
    moments.append((now(), (100, 0, 0, 0)))
    await ann.give(50, "bonus")
    moments.append((now(), (100, 50, 0, 0)))
    await ann.hold(30, new_id())
    moments.append((now(), (100, 50, 30, 0)))
    await ann.take(90)
    moments.append((now(), (30, 30, 30, 0)))
    await ann.deduct(ann.transfer(40, "chargeback", forced=True))
    moments += [(now(), (-10, 30, 30, 40)), (now() + timedelta(days=9), (-10, 30, 30, 40))]
    assert [(at, await then(ann, at)) for at, _ in moments] == moments


async def test_a_statement_is_a_file_of_all_entries_oldest_first(ann: Player) -> None:
    hold_id = new_id()
    await ann.give(50, "bonus")
    await ann.hold(30, hold_id)
    await ann.take(100)
    await ann.capture(hold_id, 20)
    lines, pages = await statement(ann)
    entries = await ann.entries()
    assert [(one["entry_id"], int(one["amount"]), int(one["balance_after"])) for one in lines] == [
        (entry.entry_id, entry.amount, entry.balance_after) for entry in entries
    ]
    assert (len(lines), pages) == (7, 4)
    assert tuple(lines[0]) == COLUMNS
    assert {one["currency"] for one in lines} == {"EUR"}
    assert datetime.fromisoformat(lines[0]["at"]).utcoffset() == timedelta()


async def test_a_statement_is_of_a_span_of_time(ann: Player) -> None:
    before = now()
    await ann.take(1)
    between = now()
    await ann.take(2)
    assert [one["amount"] for one in (await statement(ann, since=before))[0]] == ["-1", "-2"]
    assert [one["amount"] for one in (await statement(ann, until=between))[0]] == ["100", "-1"]
    assert (await statement(ann, since=before, until=between))[0][0]["amount"] == "-1"
    assert await statement(ann, until=LONG_AGO) == ([], 1)


async def test_a_statement_of_nobody_or_of_no_time_is_refused(
    ann: Player, operator: Operator
) -> None:
    with pytest.raises(NotFound):
        await statement(Player(operator))
    for bad in ('"2026-01-01T00:00:00"', '"yesterday"', "5"):
        asked = f'{{"user_id":"{ann.user_id}","at":{bad}}}'.encode()
        reply = await operator.connection.request(wallet.BALANCE.subject, asked, timeout=5)
        assert (reply.headers or {})["Nats-Service-Error-Code"] == "400", bad
    with pytest.raises(Invalid):
        await operator.call(
            wallet.STATEMENT, wallet.StatementOf(user_id=ann.user_id, cursor="elsewhere")
        )


@pytest.mark.parametrize("at", [TOO_EARLY, TOO_LATE])
async def test_an_instant_outside_all_years_is_refused_by_its_field(
    ann: Player, at: datetime
) -> None:
    ask, user = ann.operator.call, ann.user_id
    with pytest.raises(Invalid, match=r"\$\.at"):
        await ask(wallet.BALANCE, BalanceOf(user_id=user, at=at))
    for since, until, field in ((at, LONG_AGO, "since"), (LONG_AGO, at, "until")):
        with pytest.raises(Invalid, match=rf"\$\.{field}"):
            await ask(wallet.STATEMENT, wallet.StatementOf(user_id=user, since=since, until=until))
        with pytest.raises(Invalid, match=rf"\$\.{field}"):
            await ask(wallet.TOTALS, wallet.TotalsOf(since=since, until=until))


async def test_the_first_and_the_last_instant_of_all_are_taken(ann: Player) -> None:
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    assert await then(ann, first) == (0, 0, 0, 0)
    assert await then(ann, last) == (100, 0, 0, 0)
    assert len((await statement(ann, since=first, until=last))[0]) == 1
    totals = await ann.operator.call(wallet.TOTALS, wallet.TotalsOf(since=first, until=last))
    assert totals.totals


def test_no_cell_of_a_statement_is_worked_out_by_a_spreadsheet() -> None:
    line = Line(
        position=4, entry_id="e", transfer_id="t", account="cash", amount=-5, balance_after=95,
        kind="bet", reference='=HYPERLINK("x"),\r\n', at=LONG_AGO, currency="EUR",
    )  # fmt: skip
    text = csv_of([line], {"bet": "@SUM(A1)"}, header=False)
    [cells] = csv.reader(io.StringIO(text, newline=""), strict=True)
    assert cells == [
        "2001-02-03T00:00:00Z", "e", "t", "cash", "bet", "'@SUM(A1)",
        "'=HYPERLINK(\"x\"),\r\n", "-5", "95", "EUR",
    ]  # fmt: skip


async def test_pages_go_back_to_the_first_entry(ann: Player) -> None:
    for _ in range(11):
        await ann.take(1)

    balances = [entry.balance_after for entry in await ann.entries()]

    assert balances == list(range(100, 88, -1))
