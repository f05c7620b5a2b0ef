"""Two wallets that divide the players: one owner for each, and nothing lost when one dies."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from svc.mesh.partitions import partition_of
from tests.wallet_faults.checks import broken
from tests.wallet_faults.load import Load
from tests.wallet_faults.stand import Stand

PLAYERS = 24
ACKNOWLEDGED = 1_500
OWNERS = """
    SELECT user_id::text, array_agg(DISTINCT shard ORDER BY shard) AS shards FROM transfer
    WHERE verb IN ('deduct_balance', 'credit_balance', 'hold') GROUP BY user_id
"""


async def owners(stand: Stand, players: Sequence[str]) -> dict[str, list[int]]:
    """Return in which shards of the ledger each player's calls were written."""
    async with stand.database("divided") as connection:
        rows = await connection.fetch(OWNERS)
    found = {row["user_id"]: row["shards"] for row in rows}
    assert found.keys() == set(players)
    return found


@pytest.mark.timeout(120)
async def test_one_wallet_writes_for_each_player_until_it_dies(
    stand: Stand, tmp_path: Path
) -> None:
    await stand.fresh("divided")
    async with stand.operator() as operator:
        operator.caller.partitions = lambda _: 2
        load = Load(operator, tmp_path / "acknowledged.jsonl", seed=3, players=PLAYERS)
        with stand.wallets("divided", 2, divided=True) as wallets:
            await load.start()
            await load.acknowledges(ACKNOWLEDGED)
            await load.stop()
            found = await owners(stand, load.players)
            assert all(len(shards) == 1 for shards in found.values()), "two wallets for one player"
            by_partition = {partition_of(player, 2): found[player] for player in load.players}
            assert sorted(by_partition.values()) == [[1], [2]]
            assert [found[player] for player in load.players] == [
                by_partition[partition_of(player, 2)] for player in load.players
            ]

            load.stopping = False
            await load.start()
            await load.acknowledges(ACKNOWLEDGED // 3)
            wallets[1].kill()
            await load.acknowledges(ACKNOWLEDGED // 3)
            await load.stop()
            await load.ask_again()
            assert load.wrong == []
            assert await broken(stand, "divided", operator, load) == []
