"""The gRPC door as strangers see it: by reflection alone, and while the wallet stands still."""

import asyncio
import json
import shutil
import signal
import sys
from pathlib import Path
from typing import Any, cast

import grpc
import grpc.aio

from proto.betmesh.wallet.v1 import wallet_pb2, wallet_pb2_grpc
from svc.demo.client import until
from tests.journeys.world import Platform, new_player

DEADLINE_S = 0.05


async def test_a_program_of_its_own_reads_a_balance_with_nothing_but_reflection(
    whole: Platform, tmp_path: Path
) -> None:
    shutil.copy(Path(__file__).with_name("reflected.py"), tmp_path)
    settings = whole.installation.values
    async with whole.world() as world:
        await new_player(world)
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "reflected.py", world.user_id),
            cwd=tmp_path,
            env={"DOOR": settings["GATEWAY_GRPC"], "KEY": settings["GRPC_API_KEY"]},
            stdout=asyncio.subprocess.PIPE,
        )
        said, _ = await program.communicate()
        balance = await world.player.balance()
    assert program.returncode == 0
    told = json.loads(said)
    assert told["ours"] == []
    assert {"betmesh.wallet.v1.Wallet", "betmesh.identity.v1.Identity"} <= {*told["services"]}
    assert told["methods"] == ["CreditBalance", "DeductBalance", "GetBalance", "Rollback"]
    assert told["balance"]["user_id"] == world.user_id
    assert int(told["balance"].get("cash", 0)) == balance["cash"]


async def test_a_deadline_of_50_ms_holds_while_the_wallet_stands_still(whole: Platform) -> None:
    settings = whole.installation.values
    key = (("authorization", f"Bearer {settings['GRPC_API_KEY']}"),)
    async with whole.world() as world, grpc.aio.insecure_channel(settings["GATEWAY_GRPC"]) as door:
        await new_player(world)
        wallet = cast("Any", wallet_pb2_grpc.WalletStub)(door)
        request = wallet_pb2.GetBalanceRequest(user_id=world.user_id)
        await wallet.GetBalance(request, metadata=key)

        process = whole.fleet.processes["wallet"]
        process.send_signal(signal.SIGSTOP)
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            calls = [
                wallet.GetBalance(request, metadata=key, timeout=DEADLINE_S) for _ in range(20)
            ]
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            lasted = loop.time() - began
        finally:
            process.send_signal(signal.SIGCONT)
        codes = {cast("grpc.aio.AioRpcError", outcome).code() for outcome in outcomes}
        assert codes == {grpc.StatusCode.DEADLINE_EXCEEDED}
        assert lasted < 1, "the deadline is 50 ms; the rest is the machine's"

        async def answers() -> bool:
            try:
                return bool(await wallet.GetBalance(request, metadata=key, timeout=5))
            except grpc.aio.AioRpcError as failure:  # who was silent is given a moment
                if failure.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                return False

        await until("the wallet back", answers)
