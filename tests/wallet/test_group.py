"""Group commit: calls that come together are committed together, each answered for itself."""

import asyncio
from typing import Any

from svc.mesh.clock import new_id
from svc.mesh.errors import Refused, Unavailable
from svc.mesh.runtime import Runtime
from svc.wallet import contract as wallet
from svc.wallet.contract import InsufficientFunds, Receipt, TransferConflict
from svc.wallet.group import BATCH_MAX, group_of
from svc.wallet.operations import Credit, Deduct
from tests.support.mesh import Operator, Services
from tests.support.platform import Platform
from tests.wallet.player import Player


def deduction(player: Player, amount: int, transfer_id: str | None = None) -> Deduct:
    return Deduct(
        transfer_id=transfer_id or new_id(),
        user_id=player.user_id,
        amount=amount,
        currency="EUR",
        kind="bet",
        reference="test",
    )


def deposit(player: Player, amount: int) -> Credit:
    return Credit(
        transfer_id=new_id(),
        user_id=player.user_id,
        amount=amount,
        currency="EUR",
        kind="deposit",
        reference="test",
    )


async def batches(platform: Platform, *ids: str) -> set[tuple[int, int]]:
    """Return the shards and numbers of the batches in which transfers were committed."""
    async with platform.database("wallet") as connection:
        rows = await connection.fetch(
            "SELECT shard, batch FROM transfer WHERE id = ANY($1::uuid[])", list(ids)
        )
    return {(row["shard"], row["batch"]) for row in rows}


async def writer_waits_for_a_lock(connection: Any) -> int:
    """Wait until a writer stands before a lock; return the backend's process id."""
    while True:
        # Inside a transaction the activity is what it was at the first look.
        await connection.execute("SELECT pg_stat_clear_snapshot()")
        pid = await connection.fetchval(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'wallet writer'"
            " AND datname = current_database() AND wait_event_type = 'Lock'"
        )
        if pid:
            return pid
        await asyncio.sleep(0.01)


async def test_what_is_asked_while_a_batch_commits_is_committed_together(
    ann: Player, other: Runtime, platform: Platform
) -> None:
    context, group = other.context(), group_of(other.context())
    asked = [deduction(ann, 1) for _ in range(20)]
    receipts = await asyncio.gather(*(group.apply([one], [context]) for one in asked))
    cash = [receipt.cash for [receipt] in receipts if isinstance(receipt, Receipt)]
    assert cash == list(range(99, 79, -1))
    assert len(await batches(platform, *(one.transfer_id for one in asked))) == 1


async def test_calls_of_one_account_are_applied_in_the_order_in_which_they_came(
    ann: Player, other: Runtime
) -> None:
    context, group = other.context(), group_of(other.context())
    asked = [deduction(ann, 100), deduction(ann, 1), deposit(ann, 50), deduction(ann, 50)]
    answers = [
        answer
        for answers in await asyncio.gather(*(group.apply([one], [context]) for one in asked))
        for answer in answers
    ]
    told = [answer.cash if isinstance(answer, Receipt) else type(answer) for answer in answers]
    assert told == [0, InsufficientFunds, 50, 0]


async def test_a_refused_transfer_never_fails_its_neighbours(ann: Player) -> None:
    amounts = [10, 1_000, 10, 1_000, 10]
    answers = await asyncio.gather(*(ann.take(one) for one in amounts), return_exceptions=True)
    for amount, answer in zip(amounts, answers, strict=True):
        assert isinstance(answer, InsufficientFunds if amount > 100 else Receipt)
    assert await ann.money() == (70, 0, 0)


async def test_what_the_database_cannot_take_fails_alone(ann: Player, other: Runtime) -> None:
    context, group = other.context(), group_of(other.context())
    bad = deduction(ann, 1, transfer_id="not an id")
    asked = [deduction(ann, 10), bad, deduction(ann, 10)]
    first, second, third = await asyncio.gather(
        *(group.apply([one], [context]) for one in asked), return_exceptions=True
    )
    assert isinstance(second, Exception)
    assert not isinstance(second, (Refused, Unavailable))
    assert not isinstance(first, BaseException)
    assert not isinstance(third, BaseException)
    assert await ann.money() == (80, 0, 0)


async def test_the_same_id_twice_in_a_batch_is_decided_once(ann: Player, other: Runtime) -> None:
    context, group = other.context(), group_of(other.context())
    stake = deduction(ann, 30)
    mutated = deduction(ann, 31, stake.transfer_id)
    first, again, conflict = await group.apply([stake, stake, mutated], [context] * 3)
    assert isinstance(first, Receipt)
    assert first == again
    assert isinstance(conflict, TransferConflict)
    assert await ann.money() == (70, 0, 0)


async def test_nobody_is_answered_before_the_commit(ann: Player, platform: Platform) -> None:
    async with platform.database("wallet") as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("SELECT FROM wallet WHERE user_id = $1 FOR UPDATE", ann.user_id)
        asked = asyncio.gather(*(ann.take(1) for _ in range(5)))
        await writer_waits_for_a_lock(connection)
        assert not asked.done()
        await transaction.rollback()
    assert sorted(receipt.cash for receipt in await asked) == [95, 96, 97, 98, 99]


async def test_who_lost_the_database_before_the_commit_asks_again_and_moves_money_once(
    ann: Player, platform: Platform
) -> None:
    stake = ann.transfer(30, "bet")
    async with platform.database("wallet") as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("SELECT FROM wallet WHERE user_id = $1 FOR UPDATE", ann.user_id)
        asked = asyncio.gather(ann.deduct(stake), return_exceptions=True)
        pid = await writer_waits_for_a_lock(connection)
        await connection.execute("SELECT pg_terminate_backend($1)", pid)
        [answer] = await asked
        await transaction.rollback()
    assert isinstance(answer, Unavailable)
    assert (await ann.deduct(stake)).cash == 70
    assert (await ann.deduct(stake)).cash == 70
    assert await ann.money() == (70, 0, 0)


async def test_a_request_larger_than_a_batch_is_applied_as_a_whole(
    ann: Player, other: Runtime
) -> None:
    context, group = other.context(), group_of(other.context())
    count = BATCH_MAX + 100
    answers = await group.apply([deposit(ann, 1) for _ in range(count)], [context] * count)
    assert isinstance(answers[-1], Receipt)
    assert answers[-1].cash == 100 + count


async def test_two_writers_in_turns_on_one_player_never_believe_an_old_balance(
    ann: Player, other: Runtime, operator: Operator
) -> None:
    del operator
    context, group = other.context(), group_of(other.context())
    await ann.give(50)
    for left in range(149, 100, -4):
        [mine] = await group.apply([deduction(ann, 1)], [context])
        assert isinstance(mine, Receipt)
        assert mine.cash == left
        await ann.give(1)
        [refused] = await group.apply([deduction(ann, left + 2)], [context])
        assert isinstance(refused, InsufficientFunds)
        [more] = await group.apply([deduction(ann, 3)], [context])
        assert isinstance(more, Receipt)
        assert more.cash == left - 2
        await ann.take(1)
        await ann.give(0)


async def test_two_wallets_and_a_thousand_callers_on_three_accounts_neither_overdraw_nor_deadlock(
    ann: Player, other: Runtime, operator: Operator, services: Services, platform: Platform
) -> None:
    players = [ann, Player(operator), Player(operator)]
    for player in players[1:]:
        await player.give(100)
    calls = [players[n % 3].take(1 + n % 2) for n in range(1_000)]
    # Besides those that the broker divides, each wallet gets batches that mix all three.
    [first] = services.running["wallet"].runtimes
    contexts = [first.context(), other.context()]
    asked = [[deduction(player, 1) for player in players] for _ in range(100)]
    mixed = [
        group_of(context).apply(batch, [context] * 3)
        for batch, context in zip(asked, contexts * 50, strict=True)
    ]
    # All of it at once: whoever came later would find nothing left to take.
    answers, of_batches = await asyncio.gather(
        asyncio.gather(*calls, return_exceptions=True), asyncio.gather(*mixed)
    )
    told = [answer for batch in of_batches for answer in batch]
    assert {type(answer) for answer in (*answers, *told)} == {Receipt, InsufficientFunds}
    taken = [1 + n % 2 for n, answer in enumerate(answers) if isinstance(answer, Receipt)]
    taken += [1 for answer in told if isinstance(answer, Receipt)]
    assert sum(taken) == 300
    assert [await player.money() for player in players] == [(0, 0, 0)] * 3
    shards = [
        {shard for shard, _ in await batches(platform, *(one.transfer_id for one in batch))}
        for batch in asked[:2]
    ]
    assert [len(each) for each in shards] == [1, 1], "a batch is written by one wallet"
    assert shards[0] != shards[1], "each wallet wrote what it was asked"
    report = await operator.call(wallet.AUDIT, wallet.Audit())
    assert report.healthy
