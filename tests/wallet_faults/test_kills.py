"""The wallet and Postgres killed again and again under load: nothing lost, nothing doubled.

The suite kills the wallet 15 times and Postgres 6 times; `WALLET_FAULTS_KILLS=50,20` does more, and
`WALLET_FAULTS_SEED` repeats the choices of a run.
"""

import asyncio
import os
import random
from pathlib import Path

import pytest

from tests.wallet_faults.checks import broken
from tests.wallet_faults.load import REPEATED, Load
from tests.wallet_faults.stand import Stand

WALLETS, SERVERS = (int(n) for n in os.environ.get("WALLET_FAULTS_KILLS", "15,6").split(","))
KILLS = ("wallet",) * WALLETS + ("postgres",) * SERVERS


@pytest.mark.timeout(400)
async def test_no_promise_is_broken_when_the_wallet_and_postgres_are_killed(
    stand: Stand, tmp_path: Path
) -> None:
    seed = int(os.environ.get("WALLET_FAULTS_SEED", "0")) or random.SystemRandom().getrandbits(32)
    print(f"WALLET_FAULTS_SEED={seed}")
    chance = random.Random(seed)
    await stand.fresh("killed")
    repeated = 0
    async with stand.operator() as operator:
        load = Load(operator, tmp_path / "acknowledged.jsonl", seed)
        with stand.wallets("killed") as (wallet,):
            await load.start()
            for who in chance.sample(KILLS, len(KILLS)):
                await load.acknowledges(chance.randint(1, 120))
                if who == "wallet":
                    await asyncio.to_thread(wallet.kill)
                    await asyncio.to_thread(wallet.start)
                else:
                    await asyncio.to_thread(stand.kill_postgres)
                    await asyncio.to_thread(stand.start_postgres)
                repeated += await load.ask_again()
                assert not load.wrong, load.wrong
            await load.stop()
            await load.ask_again()
            assert await broken(stand, "killed", operator, load) == []
            assert not load.unanswered
            assert repeated > REPEATED * len(KILLS) / 2
