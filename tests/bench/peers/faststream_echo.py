"""The echo with FastStream on the same NATS: a typed handler, as its users write it."""

import uvloop
from faststream.nats import NatsBroker
from pydantic import BaseModel

from svc.mesh.settings import Settings
from tests.bench import echo
from tests.bench.drivers import connection
from tests.bench.peers.running import until_told


class Ask(BaseModel):
    """The same body as the mesh's."""

    transfer_id: str
    amount: int
    currency: str
    reference: str


class Answer(BaseModel):
    """The same answer."""

    transfer_id: str
    amount: int
    caller: str


async def serve() -> None:
    """Answer until SIGTERM, one message after the other: more workers are slower here."""
    broker = NatsBroker(Settings()["NATS_URL"], logger=None, **connection(echo.ANSWERING))

    @broker.subscriber(f"{echo.FASTSTREAM}.echo", queue=echo.ANSWERING)
    async def answer(body: Ask) -> Answer:
        return Answer(transfer_id=body.transfer_id, amount=body.amount, caller=echo.ASKING)

    await broker.start()
    await until_told()
    await broker.stop()


if __name__ == "__main__":
    uvloop.run(serve())
