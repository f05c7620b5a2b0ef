"""The payment provider behaves as Stripe does, and Stripe's own library accepts its webhooks."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
import stripe
from litestar import Litestar, Request, Response, post
from litestar.datastructures import State
from litestar.params import FromPath

from svc.outside import payments
from svc.outside.payment_provider import application
from svc.outside.server import running
from tests.support.waiting import until

SECRET = "whsec_test"
KEY = {"authorization": "Bearer sk_test"}
CARD = {"amount": 2500, "currency": "EUR", "payment_method": "card_ok", "metadata": {"of": "d1"}}


class Receiver:
    """Keeps the webhooks that it gets and answers what it is told, then 200."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.got: asyncio.Queue[tuple[bytes, str]] = asyncio.Queue()
        self.answers: list[int] = []

    async def next(self) -> Any:
        """Return the next event, verified by the stripe library."""
        body, signature = await asyncio.wait_for(self.got.get(), 5)
        return stripe.Webhook.construct_event(body, signature, SECRET)


class Receivers:
    """A real HTTP server with one receiver per test, so that late webhooks disturb nobody."""

    def __init__(self) -> None:
        self.all: dict[str, Receiver] = {}
        self.url = ""

    def application(self) -> Litestar:
        @post("/{name:str}")
        async def receive(
            request: Request[object, object, State], name: FromPath[str]
        ) -> Response[bytes]:
            receiver = self.all[name]
            status = receiver.answers.pop(0) if receiver.answers else 200
            await receiver.got.put((await request.body(), request.headers["stripe-signature"]))
            return Response(b"", status_code=status)

        return Litestar([receive], openapi_config=None, logging_config=None)


@pytest.fixture(scope="module")
async def receivers() -> AsyncGenerator[Receivers]:
    receivers = Receivers()
    async with running(receivers.application()) as receivers.url:
        yield receivers


@pytest.fixture
def receiver(receivers: Receivers) -> Receiver:
    name = str(len(receivers.all))
    receivers.all[name] = Receiver(f"{receivers.url}/{name}")
    return receivers.all[name]


@pytest.fixture
async def client(receiver: Receiver) -> AsyncGenerator[httpx.AsyncClient]:
    """A client of a new provider, whose webhooks go to the receiver."""
    told = payments.Settings(key="sk_test", webhook_secret=SECRET, webhook_url=receiver.url)
    async with (
        running(application(told)) as url,
        httpx.AsyncClient(base_url=url, headers=KEY) as client,
    ):
        yield client


async def paid(client: httpx.AsyncClient, receiver: Receiver, **other: object) -> str:
    """Make a payment and wait until it has succeeded; return its id."""
    intent = (await client.post("/v1/payment_intents", json=CARD | other)).json()
    kinds = {(await receiver.next()).type, (await receiver.next()).type}
    assert "payment_intent.succeeded" in kinds or other
    return str(intent["id"])


async def webhook(client: httpx.AsyncClient, about: str, state: str) -> dict[str, Any]:
    """Wait until the provider's webhook about a thing is in a state, and return it."""

    async def seen() -> dict[str, Any] | None:
        items = (await client.get("/simulate/events", params={"about": about})).json()["items"]
        return next((each for each in items if each["state"] == state), None)

    return await until(seen, f"the webhook is {state}")


def test_the_signature_is_the_published_vector() -> None:
    body = b'{"id":"evt_1","type":"payment_intent.succeeded"}'
    expected = "001ce3ef73e456cedaab328328720d3ad59defb8bbd0f1518f46c04ad4ac0bb7"
    assert payments.signature(body, SECRET, 1_700_000_000) == expected


async def test_a_good_card_is_processing_at_once_and_succeeds_by_webhook(
    client: httpx.AsyncClient, receiver: Receiver
) -> None:
    answer = await client.post("/v1/payment_intents", json=CARD)
    intent = answer.json()
    assert (answer.status_code, intent["status"]) == (200, "processing")
    assert (intent["amount"], intent["currency"], intent["id"][:3]) == (2500, "eur", "pi_")
    events = {event.type: event for event in [await receiver.next(), await receiver.next()]}
    assert set(events) == {"payment_intent.processing", "payment_intent.succeeded"}
    told = events["payment_intent.succeeded"].data.object
    assert (told.id, told.amount_received, told.metadata.of) == (intent["id"], 2500, "d1")
    assert (await client.get(f"/v1/payment_intents/{told.id}")).json()["status"] == "succeeded"


async def test_a_declined_card_fails_with_the_reason(
    client: httpx.AsyncClient, receiver: Receiver
) -> None:
    await client.post("/v1/payment_intents", json=CARD | {"payment_method": "card_declined"})
    events = {event.type: event for event in [await receiver.next(), await receiver.next()]}
    failed = events["payment_intent.payment_failed"].data.object
    assert failed.last_payment_error.code == "card_declined"
    assert (failed.status, failed.amount_received) == ("requires_payment_method", 0)


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [("succeeds", "payment_intent.succeeded"), ("fails", "payment_intent.payment_failed")],
)
async def test_3ds_waits_for_the_player(
    client: httpx.AsyncClient, receiver: Receiver, outcome: str, kind: str
) -> None:
    asked = await client.post("/v1/payment_intents", json=CARD | {"payment_method": "card_3ds"})
    intent = asked.json()
    assert (await receiver.next()).type == "payment_intent.requires_action"
    path = httpx.URL(intent["next_action"]["redirect_to_url"]["url"]).path
    await client.post(path, json={"outcome": outcome})
    assert kind in {(await receiver.next()).type, (await receiver.next()).type}
    again = await client.post(path)
    assert (again.status_code, again.json()["error"]["code"]) == (
        400,
        "payment_intent_unexpected_state",
    )


async def test_an_authorised_payment_is_captured_in_part_and_once(
    client: httpx.AsyncClient, receiver: Receiver
) -> None:
    key = await paid(client, receiver, capture_method="manual")
    assert (await client.get(f"/v1/payment_intents/{key}")).json()["amount_capturable"] == 2500
    too_much = await client.post(
        f"/v1/payment_intents/{key}/capture", json={"amount_to_capture": 2501}
    )
    assert too_much.json()["error"]["code"] == "amount_too_large"
    done = await client.post(f"/v1/payment_intents/{key}/capture", json={"amount_to_capture": 1000})
    assert (done.json()["status"], done.json()["amount_received"]) == ("succeeded", 1000)
    assert (await receiver.next()).data.object.amount_received == 1000
    assert (await client.post(f"/v1/payment_intents/{key}/capture")).status_code == 400


async def test_an_authorised_payment_can_be_canceled_but_a_paid_one_cannot(
    client: httpx.AsyncClient, receiver: Receiver
) -> None:
    key = await paid(client, receiver, capture_method="manual")
    assert (await client.post(f"/v1/payment_intents/{key}/cancel")).json()["status"] == ("canceled")
    assert (await receiver.next()).type == "payment_intent.canceled"
    key = await paid(client, receiver)
    assert (await client.post(f"/v1/payment_intents/{key}/cancel")).status_code == 400


async def test_refunds_never_give_back_more_than_was_paid(
    client: httpx.AsyncClient, receiver: Receiver
) -> None:
    key = await paid(client, receiver)
    ask = {"payment_intent": key, "amount": 2000}
    assert (await client.post("/v1/refunds", json=ask)).json()["status"] == "succeeded"
    told = (await receiver.next()).data.object
    assert (told.payment_intent, told.amount_refunded, told.refunded) == (key, 2000, False)
    assert (await client.post("/v1/refunds", json=ask)).status_code == 400
    rest = await client.post("/v1/refunds", json={"payment_intent": key})
    assert rest.json()["amount"] == 500
    assert (await receiver.next()).data.object.refunded is True


@pytest.mark.parametrize(
    ("destination", "kinds"),
    [
        ("bank_ok", ["payout.paid"]),
        ("bank_fail", ["payout.failed"]),
        ("bank_return", ["payout.paid", "payout.failed"]),
    ],
)
async def test_a_payout_ends_as_its_bank_account_says(
    client: httpx.AsyncClient, receiver: Receiver, destination: str, kinds: list[str]
) -> None:
    ask = {"amount": 900, "currency": "eur", "destination": destination}
    payout = (await client.post("/v1/payouts", json=ask)).json()
    assert payout["status"] == "pending"
    assert sorted([(await receiver.next()).type for _ in kinds]) == sorted(kinds)
    assert (await client.get(f"/v1/payouts/{payout['id']}")).json()["status"] == (
        kinds[-1].partition(".")[2]
    )


async def test_a_dispute_is_opened_and_closed_by_webhook(
    client: httpx.AsyncClient, receiver: Receiver
) -> None:
    key = await paid(client, receiver)
    dispute = (await client.post("/simulate/dispute", json={"payment_intent": key})).json()
    told = await receiver.next()
    assert (told.type, told.data.object.payment_intent) == ("charge.dispute.created", key)
    await client.post(f"/simulate/dispute/{dispute['id']}/close", json={"status": "won"})
    told = await receiver.next()
    assert (told.type, told.data.object.status) == ("charge.dispute.closed", "won")


async def test_the_same_key_and_body_gets_the_same_payment_and_another_body_is_refused(
    client: httpx.AsyncClient,
) -> None:
    headers = {"idempotency-key": "k1"}
    first, second = [
        await client.post("/v1/payment_intents", json=CARD, headers=headers) for _ in range(2)
    ]
    assert first.content == second.content
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    other = await client.post("/v1/payment_intents", json=CARD | {"amount": 1}, headers=headers)
    assert (other.status_code, other.json()["error"]["type"]) == (400, "idempotency_error")
    elsewhere = await client.post("/v1/payouts", json={"amount": 1}, headers=headers)
    assert elsewhere.status_code == 400


async def test_a_refusal_is_kept_under_its_key_but_a_bad_body_is_not(
    client: httpx.AsyncClient,
) -> None:
    bad_card = CARD | {"payment_method": "card_unknown"}
    refused = [
        await client.post("/v1/payment_intents", json=bad_card, headers={"idempotency-key": "a"})
        for _ in range(2)
    ]
    assert [each.status_code for each in refused] == [400, 400]
    assert refused[1].headers["idempotent-replayed"] == "true"
    headers = {"idempotency-key": "b"}
    await client.post("/v1/payment_intents", json=CARD | {"amount": "x"}, headers=headers)
    good = await client.post("/v1/payment_intents", json=CARD, headers=headers)
    assert good.status_code == 200


async def test_a_webhook_is_sent_again_until_it_is_accepted(
    client: httpx.AsyncClient, receiver: Receiver
) -> None:
    receiver.answers = [500, 404]
    ask = {"amount": 900, "currency": "eur", "destination": "bank_ok"}
    payout = (await client.post("/v1/payouts", json=ask)).json()
    ids = {(await receiver.next()).id for _ in range(3)}
    assert len(ids) == 1
    delivered = await webhook(client, payout["id"], "delivered")
    assert (delivered["attempts"], delivered["last_answer"]) == (3, "200")


async def test_webhooks_arrive_twice_or_out_of_order_or_never_when_asked(
    client: httpx.AsyncClient, receiver: Receiver
) -> None:
    await client.post("/simulate/faults", json={"duplicate": 1})
    ask = {"amount": 900, "currency": "eur", "destination": "bank_ok"}
    await client.post("/v1/payouts", json=ask)
    assert (await receiver.next()).id == (await receiver.next()).id
    await client.post("/simulate/faults", json={"reorder": 1})
    await client.post("/v1/payment_intents", json=CARD)
    kinds = [(await receiver.next()).type for _ in range(2)]
    assert kinds == ["payment_intent.succeeded", "payment_intent.processing"]
    await client.post("/simulate/faults", json={"drop": True})
    lost = (await client.post("/v1/payouts", json=ask)).json()
    dropped = await webhook(client, lost["id"], "dropped")
    assert dropped["attempts"] == 0
    await client.post(f"/simulate/events/{dropped['id']}/resend")
    assert (await receiver.next()).data.object.id == lost["id"]


@pytest.mark.parametrize("fault", ["bad_signature", "stale_timestamp"])
async def test_a_forged_or_stale_webhook_is_refused_by_the_stripe_library(
    client: httpx.AsyncClient, receiver: Receiver, fault: str
) -> None:
    await client.post("/simulate/faults", json={fault: 1})
    receiver.answers = [400]
    ask = {"amount": 900, "currency": "eur", "destination": "bank_ok"}
    await client.post("/v1/payouts", json=ask)
    with pytest.raises(stripe.SignatureVerificationError):
        await receiver.next()
    assert (await receiver.next()).type == "payout.paid"


async def test_while_a_secret_is_replaced_both_sign(
    client: httpx.AsyncClient, receiver: Receiver
) -> None:
    await client.post("/simulate/faults", json={"rotated_secret": "whsec_new"})
    await client.post(
        "/v1/payouts", json={"amount": 9, "currency": "eur", "destination": "bank_ok"}
    )
    body, signature = await asyncio.wait_for(receiver.got.get(), 5)
    for secret in (SECRET, "whsec_new"):
        event = stripe.Webhook.construct_event(body, signature, secret)
        assert event.type == "payout.paid"


async def test_a_lost_answer_is_told_to_the_retry_with_the_same_key(
    client: httpx.AsyncClient,
) -> None:
    await client.post("/simulate/faults", json={"timeout_after_success": 1})
    headers = {"idempotency-key": "k1"}
    with pytest.raises(httpx.ReadTimeout):
        await client.post("/v1/payment_intents", json=CARD, headers=headers, timeout=0.3)
    again = await client.post("/v1/payment_intents", json=CARD, headers=headers)
    assert (again.status_code, again.headers["idempotent-replayed"]) == (200, "true")


async def test_a_503_did_nothing(client: httpx.AsyncClient) -> None:
    await client.post("/simulate/faults", json={"error_5xx": 1})
    headers = {"idempotency-key": "k1"}
    down = await client.post("/v1/payment_intents", json=CARD, headers=headers)
    assert (down.status_code, down.json()["error"]["type"]) == (503, "api_error")
    again = await client.post("/v1/payment_intents", json=CARD, headers=headers)
    assert (again.status_code, "idempotent-replayed" in again.headers) == (200, False)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"\xff", b'{"amount": 1.5, "currency": "eur", "payment_method": "card_ok"}',
     b'{"amount": 1, "currency": "euro", "payment_method": "card_ok"}',
     b'{"amount": 1, "currency": "eur", "payment_method": "card_ok", "unknown": 1}'],
)  # fmt: skip
async def test_bad_input_is_refused_in_stripes_form(client: httpx.AsyncClient, body: bytes) -> None:
    answer = await client.post("/v1/payment_intents", content=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (400, "invalid_request_error")
    assert error["message"]


async def test_wrong_key_unknown_thing_and_unknown_path_are_refused_in_stripes_form(
    client: httpx.AsyncClient,
) -> None:
    bad = await client.get("/v1/payouts/po_1", headers={"authorization": "Bearer other"})
    assert bad.status_code == 401
    unknown = await client.get("/v1/payouts/po_1")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "resource_missing")
    nowhere = await client.get("/v1/nothing")
    assert (nowhere.status_code, "error" in nowhere.json()) == (404, True)
