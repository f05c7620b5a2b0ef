"""The feed's reader beside the broker that the real feed runs on, where it is installed."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import pytest
from aio_pika import ExchangeType, Message, connect

from svc.outside.uof import routing_key
from svc.platform.ports import free_ports
from tests.sportsbook.exchange import price, reading
from tests.sportsbook.match import Match
from tests.support.platform import Platform
from tests.support.waiting import until

SERVER = shutil.which("rabbitmq-server", path=f"/usr/lib/rabbitmq/bin:{os.environ['PATH']}")
pytestmark = [
    pytest.mark.skipif(
        SERVER is None, reason="no RabbitMQ on PATH (Debian: apt install rabbitmq-server)"
    ),
    pytest.mark.timeout(180),
]
START_S = 120
TOKEN, VHOST = "token", "/unifiedfeed/4711"


def address(port: int, token: str = TOKEN, vhost: str = VHOST) -> str:
    return f"amqp://{quote(token)}@127.0.0.1:{port}/{quote(vhost, safe='')}"


@asynccontextmanager
async def program(
    log: Path, *command: str, **environment: str
) -> AsyncGenerator[asyncio.subprocess.Process]:
    """Run a program of Erlang's, which ends with all that it starts."""
    output = log.open("wb")
    process = await asyncio.create_subprocess_exec(
        *command,
        env={"PATH": os.environ["PATH"], **environment},
        stdout=output,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        output.close()


@asynccontextmanager
async def rabbitmq(directory: Path) -> AsyncGenerator[int]:
    """Run a broker on loopback, with nothing but what the feed's has; give its port."""
    port, names, nodes = list(free_ports().values())[:3]
    (directory / "rabbitmq.conf").write_text(
        f"listeners.tcp.1 = 127.0.0.1:{port}\ndefault_vhost = {VHOST}\n"
        f"default_user = {TOKEN}\ndefault_pass = guest\n"
    )
    places = {
        "RABBITMQ_CONFIG_FILE": "rabbitmq",
        "RABBITMQ_CONF_ENV_FILE": "none",
        "RABBITMQ_MNESIA_BASE": "state",
        "RABBITMQ_LOG_BASE": "logs",
        "RABBITMQ_PID_FILE": "pid",
        "RABBITMQ_ENABLED_PLUGINS_FILE": "plugins",
        "RABBITMQ_GENERATED_CONFIG_DIR": "generated",
        "RABBITMQ_FEATURE_FLAGS_FILE": "features",
        "HOME": "",
    }
    own = {
        "RABBITMQ_NODENAME": f"betmesh-{os.getpid()}@localhost",
        "RABBITMQ_DIST_PORT": nodes,
        "ERL_EPMD_PORT": names,
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        **{name: str(directory / place) for name, place in places.items()},
    }
    names_log, log = directory / "epmd.log", directory / "rabbitmq.log"
    # The broker would start the first as a daemon, which nobody ends.
    async with program(names_log, "epmd", **own), program(log, str(SERVER), **own) as broker:

        async def starts() -> bool:
            assert broker.returncode is None, log.read_text()
            return "Starting broker... completed" in log.read_text()

        await until(starts, "RabbitMQ runs", within_s=START_S)
        yield int(port)


async def test_the_reader_takes_in_what_rabbitmq_carries_and_says_what_it_refuses(
    match: Match, platform: Platform, tmp_path: Path
) -> None:
    async with rabbitmq(tmp_path) as port:
        async with reading(platform, address(port)) as early:
            await early.says("NOT_FOUND - no exchange 'unifiedfeed'")
        async with (
            await connect(address(port)) as provider,
            reading(platform, address(port, "another token")) as refused,
            reading(platform, address(port, vhost="/another")) as elsewhere,
        ):
            await refused.says("refuses the user")
            await elsewhere.says("is its virtual host right?")
            channel = await provider.channel()
            exchange = await channel.declare_exchange("unifiedfeed", ExchangeType.TOPIC)
            async with reading(platform, address(port)) as instance:
                await instance.connects()
                for odds in ("<odds_change", told(match, "2.10"), told(match, "2.20")):
                    body = odds.encode()
                    key = routing_key(body) if odds != "<odds_change" else "hi.-.live.x.-.-.-.-"
                    await exchange.publish(Message(body), key)

                async def shown() -> bool:
                    return await price(match) == "2.20"

                await until(shown, "the newest odds are shown")


def told(match: Match, price: str) -> str:
    return (
        f'<odds_change {match.head()}><odds><market id="1" status="1">'
        f'<outcome id="1" odds="{price}"/></market></odds></odds_change>'
    )
