"""Three echoes: nats-py behind a queue subscription, its `nats.micro`, an endpoint of the mesh."""

import sys

import nats
import nats.micro
import uvloop
from nats.aio.msg import Msg
from nats.micro.request import Request

from svc.mesh.process import settle
from svc.mesh.runtime import Runtime
from svc.mesh.settings import Settings
from tests.bench import echo
from tests.bench.drivers import connection
from tests.bench.peers.running import until_told


async def raw() -> None:
    """Send each body back at once."""
    client = await nats.connect(Settings()["NATS_URL"], **connection(echo.ANSWERING))

    async def answer(message: Msg) -> None:
        await client.publish(message.reply, message.data)

    await client.subscribe(echo.RAW, queue=echo.ANSWERING, cb=answer)
    await client.flush()
    await until_told()
    await client.close()


async def micro() -> None:
    """Answer as an endpoint of a service of `nats.micro`, with its statistics."""
    client = await nats.connect(Settings()["NATS_URL"], **connection(echo.ANSWERING))
    service = await nats.micro.add_service(client, name=echo.ANSWERING, version="1.0.0")

    async def answer(request: Request) -> None:
        await request.respond(request.data)

    await service.add_endpoint(
        name="echo", subject=echo.MICRO, queue_group=echo.ANSWERING, handler=answer
    )
    await client.flush()
    await until_told()
    await service.stop()
    await client.close()


async def mesh() -> None:
    """Answer the declared call."""
    runtime = Runtime(echo.answering(), Settings())
    await runtime.start()
    settle()  # as every process of services does
    await until_told()
    await runtime.stop()


if __name__ == "__main__":
    uvloop.run({"raw": raw, "micro": micro, "mesh": mesh}[sys.argv[1]]())
