"""The odds provider of the tests: the simulator over real HTTP, and the door that it posts to."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from defusedxml.ElementTree import fromstring
from litestar import Litestar, Request, Response, post
from litestar.datastructures import State

from svc.mesh.contract import RawMessage
from svc.mesh.errors import Refused
from svc.outside import betradar, feed
from svc.outside.server import running
from svc.sportsbook.contract import INGEST
from tests.support.mesh import Operator
from tests.support.platform import Platform

PRODUCT = 14
"""The producer that these tests take down; those of all other tests stay out of it."""


def _door(operator: Operator) -> Litestar:
    """Hand messages on as the gateway does; only our producer's heartbeats get through."""

    @post("/feeds/betradar")
    async def receive(request: Request[object, object, State]) -> Response[bytes]:
        body = await request.body()
        message = fromstring(body)
        if message.tag == "alive" and message.get("product") != str(PRODUCT):
            return Response(b"", status_code=202)
        token = request.headers.get("x-access-token", "")
        raw = RawMessage(body=body, headers={"x-access-token": token}, url=str(request.url))
        try:
            await operator.call(INGEST, raw)
        except Refused as refusal:
            return Response(refusal.detail.encode(), status_code=400)
        return Response(b"", status_code=202)

    return Litestar([receive], openapi_config=None, logging_config=None)


class Provider:
    """The simulator, told what to say over its HTTP door."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def say(self, message: str, **fields: object) -> None:
        """Send one message to the platform; returns when it answered."""
        answer = await self.client.post("/simulate/send", json={"message": message, **fields})
        assert answer.json()["status"] == 202, answer.text

    async def alive(self, *, subscribed: int = 1) -> None:
        await self.say("alive", product=PRODUCT, subscribed=subscribed)

    async def faults(self, **switches: Any) -> None:
        silent = {"silent": list(feed.PRODUCTS)}
        answer = await self.client.post("/simulate/faults", json=silent | switches)
        assert answer.is_success

    async def odds(self, event_id: str, odds: str, product: int = PRODUCT) -> None:
        outcome = {"id": "1", "odds": odds, "active": 1}
        market = {"id": 1, "status": 1, "outcomes": [outcome]}
        await self.say("odds_change", event_id=event_id, product=product, markets=[market])


async def forget(platform: Platform) -> None:
    """Let the producer never have been heard of."""
    async with platform.database("sportsbook") as database:
        await database.execute("DELETE FROM producer WHERE producer = $1", PRODUCT)
        await database.execute("DELETE FROM recovery WHERE producer = $1", PRODUCT)


async def recovered(platform: Platform) -> bool:
    """Say whether the last recovery of the producer has ended."""
    async with platform.database("sportsbook") as database:
        row = await database.fetchrow(
            "SELECT completed_at FROM recovery WHERE producer = $1 ORDER BY recovery_id DESC",
            PRODUCT,
        )
    return row is not None and row[0] is not None


async def is_up(platform: Platform) -> bool:
    """Say whether bets on what the producer offers are taken."""
    async with platform.database("sportsbook") as database:
        return bool(await database.fetchval("SELECT up FROM producer WHERE producer = $1", PRODUCT))


@asynccontextmanager
async def provided(operator: Operator, *, amqp_port: int | None = None) -> AsyncGenerator[Provider]:
    """Run the simulator where the sportsbook expects it; with a port of AMQP it posts nothing."""
    settings = operator.platform.settings
    port = int(settings["BETRADAR_PORT"])
    async with running(_door(operator)) as door:
        told = feed.Settings(
            url=f"{door}/feeds/betradar",
            token=settings["BETRADAR_TOKEN"],
            port=port,
            alive_s=3600,
            amqp_port=amqp_port,
        )
        async with (
            running(betradar.application(told), port) as url,
            httpx.AsyncClient(base_url=url, timeout=20, trust_env=False) as client,
        ):
            found = Provider(client)
            await found.faults()
            yield found
