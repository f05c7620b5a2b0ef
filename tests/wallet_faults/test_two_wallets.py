"""Two wallets and a thousand callers on three accounts: no overdraft, no deadlock, exact sums."""

import asyncio
import random
from pathlib import Path

import pytest

from svc.mesh.clock import new_id
from svc.wallet import contract as wallet
from tests.wallet_faults.checks import broken
from tests.wallet_faults.load import AGAIN_WITHIN_S, PAUSE_S, Asked, Load, Told
from tests.wallet_faults.stand import Stand

CALLERS = 1_000
EACH = 5
OPENING = 40_000


@pytest.mark.timeout(120)
async def test_a_thousand_callers_never_take_more_than_three_players_have(
    stand: Stand, tmp_path: Path
) -> None:
    await stand.fresh("contended")
    chance = random.Random(1)
    async with stand.operator() as operator:
        load = Load(operator, tmp_path / "acknowledged.jsonl", seed=1, players=3)
        with stand.wallets("contended", 2):
            for player in load.players:
                await answered(load, load.credit(player, OPENING, "deposit"))
            asked: list[Asked] = []

            async def caller() -> None:
                for _ in range(EACH):
                    one = of_many(load, chance)
                    asked.append(one)
                    await answered(load, one)

            await asyncio.gather(*(caller() for _ in range(CALLERS)))
            await load.ask_again()
            assert await broken(stand, "contended", operator, load) == []
            refused = sum(load.told[one.transfer_id] == "insufficient-funds" for one in asked)
            assert len(asked) == CALLERS * EACH
            assert 0 < refused < len(asked)
            for player in load.players:
                applied = [
                    one.change
                    for one in asked
                    if one.user_id == player and not isinstance(load.told[one.transfer_id], str)
                ]
                request = wallet.BalanceOf(user_id=player)
                balance = await operator.call(wallet.BALANCE, request)
                assert balance.cash == balance.available == OPENING + sum(applied) >= 0
        async with stand.database("contended") as connection:
            deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = 'contended'"
            assert await connection.fetchval(deadlocks) == 0
            writers = "SELECT count(DISTINCT shard) FROM batch"
            assert await connection.fetchval(writers) == 2, "only one of them wrote"


def of_many(load: Load, chance: random.Random) -> Asked:
    """Mostly stakes, more than there is money for."""
    player = chance.choice(load.players)
    if chance.random() < 0.2:
        return load.credit(player, chance.randint(0, 99), "bet_payout")
    return load.deduct(player, chance.randint(1, 99))


async def answered(load: Load, asked: Asked) -> Told:
    """Ask until there is an answer."""
    end = asyncio.get_running_loop().time() + AGAIN_WITHIN_S
    while (told := await load.ask(asked)) is None:
        assert asyncio.get_running_loop().time() < end, "never answered"
        await asyncio.sleep(PAUSE_S)
    return told


@pytest.mark.timeout(60)
async def test_the_same_request_at_both_wallets_is_decided_once(
    stand: Stand, tmp_path: Path
) -> None:
    await stand.fresh("contended")
    async with stand.operator() as operator:
        load = Load(operator, tmp_path / "acknowledged.jsonl", seed=2, players=3)
        with stand.wallets("contended", 2):
            for player in load.players:
                await answered(load, load.credit(player, OPENING, "deposit"))
            requests = [of_many(load, load.chance) for _ in range(300)]
            # A player whom nobody knows yet, opened by both at once.
            requests += [load.credit(new_id(), 5, "deposit") for _ in range(50)]
            twice = [one for one in requests for _ in range(2)]
            told = await asyncio.gather(*(answered(load, one) for one in twice))
            assert told[::2] == told[1::2]
            assert await broken(stand, "contended", operator, load) == []
