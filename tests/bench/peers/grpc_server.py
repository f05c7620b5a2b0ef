"""The diagram's design: a gRPC server, one transaction per call."""

import sys
from typing import Any, cast

import grpc
import uvloop

from proto.betmesh.wallet.v1 import wallet_pb2, wallet_pb2_grpc
from svc.wallet.contract import InsufficientFunds, Transfer
from tests.bench.peers.ledger import Form, Ledger
from tests.bench.peers.running import until_told

Servicer: Any = cast("Any", wallet_pb2_grpc).WalletServicer


class Wallet(Servicer):
    """The two methods that the benchmark calls."""

    def __init__(self, ledger: Ledger) -> None:
        """Move money in this ledger."""
        self.ledger = ledger

    async def DeductBalance(self, request: Any, context: Any) -> Any:  # noqa: N802  # the .proto's
        """Take money from a player."""
        try:
            receipt = await self.ledger.deduct(transfer(request))
        except InsufficientFunds as refusal:
            return await context.abort(grpc.StatusCode.FAILED_PRECONDITION, refusal.detail)
        return wallet_pb2.DeductBalanceResponse(
            transfer_id=receipt.transfer_id, cash=receipt.cash, available=receipt.available
        )

    async def CreditBalance(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Give money to a player."""
        receipt = await self.ledger.credit(transfer(request))
        return wallet_pb2.CreditBalanceResponse(
            transfer_id=receipt.transfer_id, cash=receipt.cash, available=receipt.available
        )


def transfer(request: Any) -> Transfer:
    """Return the body of a call."""
    return Transfer(
        transfer_id=request.transfer_id,
        user_id=request.user_id,
        amount=request.amount,
        currency=request.currency,
        kind=request.kind,
        reference=request.reference,
    )


async def serve(address: str, url: str, form: Form) -> None:
    """Serve at host:port until SIGTERM."""
    server = grpc.aio.server()
    add: Any = cast("Any", wallet_pb2_grpc).add_WalletServicer_to_server
    add(Wallet(await Ledger.open(url, form)), server)
    server.add_insecure_port(address)
    await server.start()
    await until_told()
    await server.stop(1)


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], sys.argv[2], cast("Form", sys.argv[3])))
