"""What the tests of the gRPC door ask of its wallet, and how it refuses."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest

from proto.betmesh.wallet.v1 import wallet_pb2
from svc.mesh.clock import new_id
from tests.gateway.conftest import Player
from tests.support.waiting import until

Metadata = tuple[tuple[str, str], ...]


async def refused(call: Awaitable[object]) -> tuple[grpc.StatusCode, str]:
    """Return the status of a call that fails, and the name of the problem."""
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await call
    return failure.value.code(), (failure.value.details() or "").partition(":")[0]


NOT_YET = {
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""The wallet follows the account; and a busy machine may take longer than a deadline."""


async def funded(wallet: Any, player: Player, key: Metadata) -> None:
    """Put 1,000 into the player's wallet, which follows their account."""
    request = wallet_pb2.GetBalanceRequest(user_id=player.user_id)
    await answered(lambda: wallet.GetBalance(request, metadata=key))
    money = wallet_pb2.CreditBalanceRequest(
        transfer_id=new_id(),
        user_id=player.user_id,
        amount=1000,
        currency="EUR",
        kind="adjustment",
        reference="test",
    )
    await answered(lambda: wallet.CreditBalance(money, metadata=key))


async def answered(ask: Callable[[], Awaitable[Any]]) -> Any:
    """Ask until there is an answer, and return it."""

    async def asked() -> Any:
        try:
            return await ask()
        except grpc.aio.AioRpcError as failure:
            if failure.code() not in NOT_YET:
                raise
            return None

    return await until(asked)


def deduction(player: Player, amount: int, kind: str = "bet") -> wallet_pb2.DeductBalanceRequest:
    """Return a deduction under a new id, a stake if not said otherwise."""
    return wallet_pb2.DeductBalanceRequest(
        transfer_id=new_id(),
        user_id=player.user_id,
        amount=amount,
        currency="EUR",
        kind=kind,
        reference="test",
    )
