"""The same with FastStream on the same NATS: typed handlers, one transaction per message."""

import sys

import msgspec
import uvloop
from faststream.nats import NatsBroker
from pydantic import BaseModel

from svc.mesh.settings import Settings
from svc.mesh.wire import encode
from svc.wallet.contract import InsufficientFunds, Kind, Transfer
from tests.bench import echo
from tests.bench.drivers import connection
from tests.bench.peers.ledger import CONNECTIONS, Ledger
from tests.bench.peers.running import until_told


class Body(BaseModel):
    """A transfer, as FastStream's users declare their messages."""

    transfer_id: str
    user_id: str
    amount: int
    currency: str
    kind: Kind
    reference: str
    stake_transfer_id: str | None = None


async def serve(url: str) -> None:
    """Answer until SIGTERM; as many messages at once as there are connections."""
    ledger = await Ledger.open(url, "transaction")
    broker = NatsBroker(Settings()["NATS_URL"], logger=None, **connection(echo.ANSWERING))

    @broker.subscriber(
        f"{echo.FASTSTREAM}.deduct_balance", queue=echo.ANSWERING, max_workers=CONNECTIONS
    )
    async def deduct_balance(body: Body) -> bytes:
        try:
            return encode(await ledger.deduct(transfer(body)))
        except InsufficientFunds as refusal:
            return refusal.name.encode()

    @broker.subscriber(
        f"{echo.FASTSTREAM}.credit_balance", queue=echo.ANSWERING, max_workers=CONNECTIONS
    )
    async def credit_balance(body: Body) -> bytes:
        return encode(await ledger.credit(transfer(body)))

    await broker.start()
    await until_told()
    await broker.stop()


def transfer(body: Body) -> Transfer:
    """Return the body as the ledger takes it."""
    return msgspec.convert(body.model_dump(), Transfer)


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
