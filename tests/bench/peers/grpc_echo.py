"""The echo with grpc.aio: a unary method with typed messages that does nothing but answer."""

import sys
from typing import Any, cast

import grpc
import uvloop

from proto.betmesh.wallet.v1 import wallet_pb2, wallet_pb2_grpc
from tests.bench.peers.running import until_told

Servicer: Any = cast("Any", wallet_pb2_grpc).WalletServicer


class Echo(Servicer):
    """One method of the wallet's .proto, for a body of the same fields."""

    async def DeductBalance(self, request: Any, context: Any) -> Any:  # noqa: N802  # the .proto's
        """Answer at once; the deadline is looked at, as the mesh does."""
        context.time_remaining()
        return wallet_pb2.DeductBalanceResponse(
            transfer_id=request.transfer_id, cash=request.amount
        )


async def serve(address: str) -> None:
    """Serve at host:port until SIGTERM."""
    server = grpc.aio.server()
    add: Any = cast("Any", wallet_pb2_grpc).add_WalletServicer_to_server
    add(Echo(), server)
    server.add_insecure_port(address)
    await server.start()
    await until_told()
    await server.stop(1)


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
