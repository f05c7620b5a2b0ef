"""The payment provider lists its events and what moved the merchant's money, as Stripe does."""

from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest

from svc.outside import payments
from svc.outside.payment_provider import application
from svc.outside.server import running
from tests.support.waiting import until

KEY = {"authorization": "Bearer sk_test"}
CARD = {"amount": 2_500, "currency": "EUR", "payment_method": "card_ok"}


@pytest.fixture
async def client() -> AsyncGenerator[httpx.AsyncClient]:
    told = payments.Settings(key="sk_test", webhook_secret="w", webhook_url="http://127.0.0.1:1/")
    async with (
        running(application(told)) as url,
        httpx.AsyncClient(base_url=url, headers=KEY) as client,
    ):
        await client.post("/simulate/faults", json={"drop": True, "processing_ms": 0})
        yield client


async def listed(client: httpx.AsyncClient, path: str, **query: object) -> dict[str, Any]:
    answer = await client.get(path, params={"limit": 100, **query})  # pyright: ignore[reportArgumentType] -- query values
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


async def paid(client: httpx.AsyncClient) -> str:
    intent: str = (await client.post("/v1/payment_intents", json=CARD)).json()["id"]

    async def succeeded() -> bool:
        found = await client.get(f"/v1/payment_intents/{intent}")
        return bool(found.json()["status"] == "succeeded")

    await until(succeeded)
    return intent


async def test_every_movement_is_listed_newest_first_with_its_fee_and_source(
    client: httpx.AsyncClient,
) -> None:
    first, second = await paid(client), await paid(client)
    await client.post("/v1/refunds", json={"payment_intent": first, "amount": 500})
    dispute = (await client.post("/simulate/dispute", json={"payment_intent": second})).json()
    await client.post(f"/simulate/dispute/{dispute['id']}/close", json={"status": "won"})
    bank = {"amount": 900, "currency": "eur", "destination": "bank_return"}
    payout = (await client.post("/v1/payouts", json=bank)).json()["id"]

    async def returned() -> bool:
        return bool((await client.get(f"/v1/payouts/{payout}")).json()["status"] == "failed")

    await until(returned)
    found = (await listed(client, "/v1/balance_transactions"))["data"]
    assert [(each["type"], each["amount"], each["net"]) for each in found] == [
        ("payout_failure", 900, 900),
        ("payout", -900, -900),
        ("adjustment", 2_500, 2_500),
        ("adjustment", -2_500, -4_000),
        ("refund", -500, -500),
        ("charge", 2_500, 2_500),
        ("charge", 2_500, 2_500),
    ]
    assert (found[0]["source"], found[2]["source"]) == (payout, dispute["id"])
    told = await listed(client, "/v1/balance_transactions", **{"expand[]": "data.source"})
    assert told["data"][-1]["source"]["payment_intent"] == first
    disputed = told["data"][2]["source"]
    assert [each["net"] for each in disputed["balance_transactions"]] == [-4_000, 2_500]


async def test_events_whose_webhooks_were_dropped_are_listed_by_the_page(
    client: httpx.AsyncClient,
) -> None:
    for _ in range(3):
        await paid(client)
    everything = await listed(client, "/v1/events")
    assert (len(everything["data"]), everything["has_more"]) == (6, False)
    page = await listed(client, "/v1/events", limit=4)
    assert (len(page["data"]), page["has_more"]) == (4, True)
    last = page["data"][-1]["id"]
    rest = await listed(client, "/v1/events", starting_after=last)
    assert page["data"] + rest["data"] == everything["data"]
    none = await listed(client, "/v1/events", **{"created[gte]": 4_000_000_000})
    assert none["data"] == []


async def test_the_refunds_of_a_payment_are_listed_newest_first(client: httpx.AsyncClient) -> None:
    intent, other = await paid(client), await paid(client)
    for payment, amount in ((intent, 300), (other, 400), (intent, 500)):
        await client.post("/v1/refunds", json={"payment_intent": payment, "amount": amount})
    everything = await listed(client, "/v1/refunds", payment_intent=intent)
    assert [each["amount"] for each in everything["data"]] == [500, 300]
    page = await listed(client, "/v1/refunds", payment_intent=intent, limit=1)
    assert (page["data"], page["has_more"]) == (everything["data"][:1], True)
    assert (await listed(client, "/v1/refunds", payment_intent="pi_none"))["data"] == []
    assert (await client.get("/v1/refunds")).status_code == 400


async def test_a_key_that_was_forgotten_does_the_same_once_more(client: httpx.AsyncClient) -> None:
    ids: list[str] = []
    for _ in range(2):
        for _ in range(2):
            answer = await client.post(
                "/v1/payment_intents", json=CARD, headers={"idempotency-key": "k"}
            )
            ids.append(answer.json()["id"])
        await client.post("/simulate/forget_keys")
    assert ids[0] == ids[1] != ids[2] == ids[3]


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": "x"}, {"starting_after": "evt_none"}])
async def test_a_list_that_cannot_be_is_refused(
    client: httpx.AsyncClient, query: dict[str, Any]
) -> None:
    answer = await client.get("/v1/events", params=query)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


async def test_a_payment_is_charged_back_at_once_when_asked_and_cannot_be_refunded_then(
    client: httpx.AsyncClient,
) -> None:
    await client.post("/simulate/faults", json={"dispute": 1, "drop": True, "processing_ms": 0})
    intent = await paid(client)
    refund = await client.post("/v1/refunds", json={"payment_intent": intent})
    assert refund.json()["error"]["code"] == "charge_disputed"
    again = await client.post("/simulate/dispute", json={"payment_intent": intent})
    assert again.status_code == 400
