"""Sportsbooks that read the feed's exchange, beside the one of all tests."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx

from svc import catalogue
from svc.mesh.errors import NotFound
from svc.mesh.process import Process
from svc.mesh.settings import Settings
from tests.sportsbook.match import Match
from tests.support.platform import Platform
from tests.support.waiting import until

VHOST = "%2Funifiedfeed%2F4711"


async def price(match: Match) -> str:
    """Return the odds of an event's first outcome, or nothing before there are any."""
    try:
        markets = (await match.shown()).markets
    except NotFound:
        return ""
    return markets[0].outcomes[0].odds or "" if markets else ""


class Reading:
    """One instance of the sportsbook, and what it says of its health."""

    def __init__(self, process: Process) -> None:
        self.runtime = process.runtimes[0]

    async def health(self) -> dict[str, object]:
        """Return what `/readyz` tells of the exchange; ready it must be in any case."""
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(self.runtime.metadata["http"] + "/readyz")
        assert answer.status_code == 200, answer.text
        return answer.json()["feed_amqp"]

    async def connects(self, *, again_after: int = -1) -> None:
        """Wait until the exchange is read; `again_after` is how often it could not be before."""

        async def connected() -> bool:
            health = await self.health()
            return bool(health["connected"]) and int(str(health["failures"])) > again_after

        await until(connected, "the exchange is read")

    async def says(self, words: str) -> None:
        """Wait until the health tells why the exchange is not read."""

        async def told() -> bool:
            health = await self.health()
            return not health["connected"] and words in str(health["cause"])

        await until(told, f"the health tells: {words}")


@asynccontextmanager
async def reading(platform: Platform, url: str) -> AsyncGenerator[Reading]:
    """Run a sportsbook that reads the exchange at an address."""
    overrides = {
        **platform.settings,
        "BETMESH_RUN": str(platform.run_dir),
        "SPORTSBOOK_PORT": "0",
        "BETRADAR_AMQP_URL": url,
    }
    process = Process([catalogue.service("sportsbook")], Settings(overrides))
    try:
        await process.start()
        yield Reading(process)
    finally:
        await process.stop()
