"""How each contender of the mesh's benchmark is asked for an echo, by its own client library."""

from collections.abc import Callable
from typing import Any, cast

import grpc
import msgspec
from faststream.nats import NatsBroker

from proto.betmesh.wallet.v1 import wallet_pb2, wallet_pb2_grpc
from svc.mesh.settings import Settings
from svc.mesh.wire import encode
from tests.bench import echo
from tests.bench.drivers import REFERENCE, WAIT_S, Driver, MeshEcho, RawNats, connection
from tests.bench.players import CURRENCY, Wanted


def body(wanted: Wanted) -> echo.Ask:
    """Return the body that every typed contender sends."""
    return echo.Ask(
        transfer_id=wanted.transfer_id,
        amount=wanted.amount,
        currency=CURRENCY,
        reference=REFERENCE,
    )


class Micro(RawNats):
    """nats-py's own request, to its own service."""

    async def ask(self, wanted: Wanted) -> None:
        del wanted
        await self.client.request(echo.MICRO, echo.BODY, timeout=WAIT_S)


class FastStreamEcho:
    """FastStream's own request; the answer is decoded, as the mesh does."""

    def __init__(self, _: str) -> None:
        """Prepare."""
        self.decode = msgspec.json.Decoder(echo.Answer).decode

    async def open(self) -> None:
        self.broker = NatsBroker(Settings()["NATS_URL"], logger=None, **connection(echo.ASKING))
        await self.broker.connect()

    async def ask(self, wanted: Wanted) -> None:
        answer = await self.broker.request(
            encode(body(wanted)), f"{echo.FASTSTREAM}.echo", timeout=WAIT_S
        )
        self.decode(answer.body)

    async def close(self) -> None:
        await self.broker.stop()


class GrpcEcho:
    """One unary call per echo, on one channel."""

    def __init__(self, address: str) -> None:
        """Ask the server at host:port."""
        self.address = address

    async def open(self) -> None:
        self.channel = grpc.aio.insecure_channel(self.address)
        self.echo = cast("Any", wallet_pb2_grpc.WalletStub)(self.channel).DeductBalance

    async def ask(self, wanted: Wanted) -> None:
        request = wallet_pb2.DeductBalanceRequest(
            transfer_id=wanted.transfer_id,
            amount=wanted.amount,
            currency=CURRENCY,
            reference=REFERENCE,
        )
        await self.echo(request, timeout=WAIT_S)

    async def close(self) -> None:
        await self.channel.close()


class MeshTogether(MeshEcho):
    """A batchable call: what services get for the calls that are hot."""

    call = echo.TOGETHER


ECHOES: dict[str, Callable[[str], Driver]] = {
    "micro": Micro,
    "faststream-echo": FastStreamEcho,
    "grpc-echo": GrpcEcho,
    "mesh-together": MeshTogether,
}
