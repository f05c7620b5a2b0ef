"""Two echoes: raw nats-py behind a queue subscription, or an endpoint of the mesh."""

import sys

import nats
import uvloop
from nats.aio.msg import Msg

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


async def mesh() -> None:
    """Answer the declared call."""
    runtime = Runtime(echo.answering(), Settings())
    await runtime.start()
    await until_told()
    await runtime.stop()


if __name__ == "__main__":
    uvloop.run(raw() if sys.argv[1] == "raw" else mesh())
