"""The provider as its own program on real HTTP, and a relay that hands its webhooks on."""

import os
from collections.abc import AsyncGenerator

import httpx
import pytest
from litestar import Litestar, Request, Response, post
from litestar.datastructures import State

from svc.mesh.contract import RawMessage
from svc.mesh.errors import Refused, Unavailable
from svc.outside.payment_provider import application
from svc.outside.payments import Settings
from svc.outside.server import running
from svc.payment.contract import RECEIVE_WEBHOOK
from tests.payment.support import Shop
from tests.support.mesh import Operator, Services
from tests.support.platform import Platform

PATIENCE_MS = "600"
"""So long payment waits for an answer here: lost answers are many in these tests."""


def relay(operator: Operator) -> Litestar:
    @post("/webhooks/payment")
    async def receive(request: Request[object, object, State]) -> Response[bytes]:
        message = RawMessage(
            body=await request.body(),
            headers={"stripe-signature": request.headers.get("stripe-signature", "")},
            url=str(request.url),
        )
        try:
            await operator.call(RECEIVE_WEBHOOK, message)
        except (Refused, Unavailable) as failure:
            return Response(b"", status_code=failure.status)
        return Response(b"", status_code=200)

    return Litestar([receive], openapi_config=None, logging_config=None)


@pytest.fixture(scope="session")
async def provider_client(
    platform: Platform, operator: Operator
) -> AsyncGenerator[httpx.AsyncClient]:
    os.environ["PAYMENT_PROVIDER_TIMEOUT_MS"] = PATIENCE_MS
    url = httpx.URL(platform.settings["PAYMENT_PROVIDER_URL"])
    assert url.port is not None
    async with running(relay(operator)) as relay_url:
        told = Settings(
            key=platform.settings["PAYMENT_PROVIDER_KEY"],
            webhook_secret=platform.settings["PAYMENT_WEBHOOK_SECRET"],
            webhook_url=relay_url + "/webhooks/payment",
            port=url.port,
        )
        async with (
            running(application(told), url.port) as base,
            httpx.AsyncClient(
                base_url=base, headers={"authorization": f"Bearer {told.key}"}
            ) as client,
        ):
            yield client


@pytest.fixture
async def shop(
    operator: Operator,
    platform: Platform,
    services: Services,
    provider_client: httpx.AsyncClient,
) -> AsyncGenerator[Shop]:
    await services("localization", "wallet", "payment")
    shop = Shop(operator, platform, services, provider_client)
    await shop.faults()
    yield shop
    await shop.faults()
