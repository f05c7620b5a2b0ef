"""The SMS provider behaves as Twilio does, and Twilio's own library accepts its receipts."""

import asyncio
from collections.abc import AsyncGenerator
from urllib.parse import parse_qsl

import httpx
import pytest
from litestar import Litestar, Request, post
from litestar.datastructures import State
from twilio.request_validator import RequestValidator

from svc.outside import sms_provider
from svc.outside.server import running

TOKEN = "12345"
PATH = "/2010-04-01/Accounts/AC1/Messages.json"
SMS = {"To": "+15551231234", "From": "+15550001111", "Body": "Grüße & 100% \U0001f3c6"}
EMAIL = {"to": "ann@example.com", "from": "bets@example.com", "subject": "Hi", "text": "Hello"}


class Receiver:
    """A little HTTP server that keeps the receipts it gets."""

    def __init__(self) -> None:
        self.url = ""
        self.got: asyncio.Queue[tuple[dict[str, str], str]] = asyncio.Queue()

    def application(self) -> Litestar:
        @post("/webhooks/sms", status_code=204)
        async def receive(request: Request[object, object, State]) -> None:
            form = dict(parse_qsl((await request.body()).decode(), keep_blank_values=True))
            await self.got.put((form, request.headers["x-twilio-signature"]))

        return Litestar([receive], openapi_config=None, logging_config=None)

    async def next(self) -> dict[str, str]:
        """Return the next receipt, verified by the twilio library."""
        form, signature = await asyncio.wait_for(self.got.get(), 5)
        assert RequestValidator(TOKEN).validate(self.url, form, signature)
        return form


@pytest.fixture(scope="module")
async def served() -> AsyncGenerator[Receiver]:
    receiver = Receiver()
    async with running(receiver.application()) as url:
        receiver.url = f"{url}/webhooks/sms?of=n%201"
        yield receiver


@pytest.fixture
def receiver(served: Receiver) -> Receiver:
    served.got = asyncio.Queue()
    return served


@pytest.fixture
async def client(receiver: Receiver) -> AsyncGenerator[httpx.AsyncClient]:
    told = sms_provider.Settings(account="AC1", token=TOKEN, email_callback_url=receiver.url)
    async with (
        running(sms_provider.application(told)) as url,
        httpx.AsyncClient(base_url=url, auth=("AC1", TOKEN)) as client,
    ):
        yield client


def bearer(request: httpx.Request) -> httpx.Request:
    request.headers["authorization"] = f"Bearer {TOKEN}"
    return request


def test_the_signature_is_the_published_vector() -> None:
    url = "https://bets.example.com/webhooks/sms/status"
    form = {"To": "+15551230000", "MessageSid": "SM1", "MessageStatus": "delivered"}
    assert sms_provider.signature(url, form, TOKEN) == "O9e1PR1b0si+MnHeJPlywb/WcyI="


async def test_an_sms_is_queued_then_sent_then_delivered(
    client: httpx.AsyncClient, receiver: Receiver
) -> None:
    answer = await client.post(PATH, data=SMS | {"StatusCallback": receiver.url})
    message = answer.json()
    assert (answer.status_code, message["status"], message["sid"][:2]) == (201, "queued", "SM")
    receipts = [await receiver.next(), await receiver.next()]
    assert {each["MessageStatus"] for each in receipts} == {"sent", "delivered"}
    assert {each["MessageSid"] for each in receipts} == {message["sid"]}
    later = await client.get(f"/2010-04-01/Accounts/AC1/Messages/{message['sid']}.json")
    assert later.json()["status"] == "delivered"
    seen = await client.get(f"/simulate/messages?to={SMS['To']}")
    assert [each["body"] for each in seen.json()["items"]] == [SMS["Body"]]
    assert (await client.get("/simulate/messages?to=%2B4912345678")).json() == {"items": []}


@pytest.mark.parametrize(
    ("number", "statuses", "code"),
    [("+15551230000", ["sent", "undelivered"], "30003"), ("+15551200000", ["failed"], "30008")],
)
async def test_some_numbers_cannot_be_reached(
    client: httpx.AsyncClient, receiver: Receiver, number: str, statuses: list[str], code: str
) -> None:
    await client.post(PATH, data=SMS | {"To": number, "StatusCallback": receiver.url})
    told = {each["MessageStatus"]: each for each in [await receiver.next() for _ in statuses]}
    assert set(told) == set(statuses)
    assert told[statuses[-1]]["ErrorCode"] == code


@pytest.mark.parametrize(
    ("to", "last"), [("ann@example.com", "delivered"), ("bounce@example.com", "undelivered")]
)
async def test_an_email_is_accepted_and_its_receipt_comes_in_the_same_manner(
    client: httpx.AsyncClient, receiver: Receiver, to: str, last: str
) -> None:
    answer = await client.post("/v3/mail/send", json=EMAIL | {"to": to}, auth=bearer)
    assert answer.status_code == 202
    told = {each["MessageStatus"]: each for each in [await receiver.next() for _ in range(2)]}
    assert set(told) == {"sent", last}
    assert told[last]["MessageSid"] == answer.json()["message_id"]
    seen = (await client.get(f"/simulate/messages?to={to}")).json()["items"]
    assert [(each["channel"], each["subject"], each["from"]) for each in seen] == [
        ("email", "Hi", "bets@example.com")
    ]


async def test_receipts_can_be_forged_and_late_when_asked(
    client: httpx.AsyncClient, receiver: Receiver
) -> None:
    await client.post("/simulate/faults", json={"bad_signature": 1, "reorder": 1})
    await client.post(PATH, data=SMS | {"StatusCallback": receiver.url})
    form, signature = await asyncio.wait_for(receiver.got.get(), 5)
    assert form["MessageStatus"] == "delivered"
    assert signature != sms_provider.signature(receiver.url, form, TOKEN)
    assert (await receiver.next())["MessageStatus"] == "sent"


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({"To": ""}, 21604),
        ({"To": "0155512"}, 21211),
        ({"From": ""}, 21603),
        ({"Body": ""}, 21602),
        ({"Body": "x" * 1601}, 21617),
    ],
)
async def test_a_bad_sms_is_refused_in_twilios_form(
    client: httpx.AsyncClient, form: dict[str, str], code: int
) -> None:
    answer = await client.post(PATH, data=SMS | form)
    assert (answer.status_code, answer.json()["code"], answer.json()["status"]) == (400, code, 400)
    assert (await client.get("/simulate/messages")).json() == {"items": []}


async def test_wrong_passwords_and_a_provider_that_is_down_are_told(
    client: httpx.AsyncClient,
) -> None:
    wrong = await client.post(PATH, data=SMS, auth=("AC1", "other"))
    assert (wrong.status_code, wrong.json()["code"]) == (401, 20003)
    assert (await client.post("/v3/mail/send", json=EMAIL)).status_code == 401
    bad = await client.post("/v3/mail/send", json={}, auth=bearer)
    assert bad.status_code == 400
    await client.post("/simulate/faults", json={"error_5xx": 1})
    assert (await client.post(PATH, data=SMS)).status_code == 503
    assert (await client.post(PATH, data=SMS)).status_code == 201
