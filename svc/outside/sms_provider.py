"""An SMS provider in Twilio's manner, and an e-mail provider beside it, with delivery receipts."""

import asyncio
import base64
import hmac
import re
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping
from email.utils import formatdate
from typing import Annotated, Literal
from urllib.parse import parse_qsl, urlencode

import msgspec
from litestar import Litestar, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from msgspec import Meta, Struct, field

from svc.outside import settings as outside_settings
from svc.outside.delivery import Courier, Faults, Parcel
from svc.outside.server import HttpRequest, Rejected, application as build, as_json, run

PORT = 9102
BODY_LENGTH_MAX = 1600
MESSAGES_KEPT_MAX = 10_000
E164 = re.compile(r"\+[1-9][0-9]{6,14}")

# Twilio's error numbers: what a refused call carries, and what a failed message does.
AUTHENTICATE, NOT_FOUND, TOO_BUSY, BAD_REQUEST = 20003, 20404, 20429, 20001
NO_TO, BAD_TO, NO_FROM, NO_BODY, LONG_BODY = 21604, 21211, 21603, 21602, 21617
UNREACHABLE, UNKNOWN_ERROR, BOUNCED = "30003", "30008", "550"


class Settings(Struct, frozen=True, kw_only=True):
    """What the provider must be told; the token is the API's password and signs the receipts."""

    account: str
    token: str
    email_callback_url: str
    port: int = PORT


class Email(Struct, kw_only=True, forbid_unknown_fields=True):
    to: Annotated[str, Meta(pattern=r"^[^@\s]+@[^@\s]+$")]
    sender: Annotated[str, Meta(pattern=r"^[^@]+@[^@]+$")] = field(name="from")
    subject: str
    text: str
    html: str | None = None
    headers: dict[str, str] = {}
    status_callback: str | None = None


class Message(Struct, kw_only=True):
    """One message as it was received, and how far it got."""

    sid: str
    channel: Literal["sms", "email"]
    to: str
    sender: str = field(name="from")
    subject: str | None = None
    body: str
    html: str | None = None
    headers: dict[str, str] = {}
    status: str = "queued"
    error_code: str | None = None
    received_at: float


def signature(url: str, parameters: Mapping[str, str], token: str) -> str:
    """Return X-Twilio-Signature: base64 HMAC-SHA1 of the URL and the sorted names and values."""
    signed = url + "".join(name + parameters[name] for name in sorted(parameters))
    digest = hmac.digest(token.encode(), signed.encode(), "sha1")
    return base64.b64encode(digest).decode()


def _course(message: Message) -> tuple[tuple[str, str | None], ...]:
    """Return the statuses that a message will go through, each with its error code."""
    if message.channel == "email":
        if message.to.startswith("bounce"):
            return (("sent", None), ("undelivered", BOUNCED))
    elif message.to.endswith("00000"):
        return (("failed", UNKNOWN_ERROR),)
    elif message.to.endswith("0000"):
        return (("sent", None), ("undelivered", UNREACHABLE))
    return (("sent", None), ("delivered", None))


class Provider:
    """What was received, and the receipts on their way; nothing survives the process."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        """Start empty; `clock` gives Unix seconds."""
        self.settings = settings
        self.clock = clock
        self.courier = Courier(self._sign, Faults())
        self.messages: deque[Message] = deque(maxlen=MESSAGES_KEPT_MAX)

    def receive(self, message: Message, callback_url: str | None) -> None:
        """Take a message; its receipts go to the callback, or nowhere when there is none."""
        self.messages.append(message)
        self.courier.spawn(self._transport(message, callback_url))

    async def _transport(self, message: Message, callback_url: str | None) -> None:
        for status, error_code in _course(message):
            await asyncio.sleep(self.courier.faults.processing_ms / 1000)
            message.status, message.error_code = status, error_code
            if callback_url:
                self._report(message, callback_url)

    def _report(self, message: Message, callback_url: str) -> None:
        parameters = {
            "AccountSid": self.settings.account,
            "ApiVersion": "2010-04-01",
            "From": message.sender,
            "MessageSid": message.sid,
            "MessageStatus": message.status,
            "SmsSid": message.sid,
            "SmsStatus": message.status,
            "To": message.to,
        }
        if message.error_code:
            parameters["ErrorCode"] = message.error_code
        parcel = Parcel(
            id="SB" + secrets.token_hex(16),
            kind=message.status,
            about=message.sid,
            url=callback_url,
            content=urlencode(parameters).encode(),
        )
        self.courier.send(parcel)

    def _sign(self, parcel: Parcel, forged: bool) -> dict[str, str]:
        parameters = dict(parse_qsl(parcel.content.decode(), keep_blank_values=True))
        token = self.settings.token + ("-forged" if forged else "")
        return {
            "content-type": "application/x-www-form-urlencoded; charset=utf-8",
            "x-twilio-signature": signature(parcel.url, parameters, token),
        }


Known = NamedDependency[Provider]
Sid = FromPath[str]


def _shape(_request: HttpRequest, error: Rejected) -> Response[bytes]:
    usual = {401: AUTHENTICATE, 404: NOT_FOUND, 503: TOO_BUSY}.get(error.status, BAD_REQUEST)
    code = int(error.code or usual)
    more = f"https://www.twilio.com/docs/errors/{code}"
    body = {"code": code, "message": error.message, "more_info": more, "status": error.status}
    return as_json(body, error.status)


def _authorise(provider: Provider, request: HttpRequest, expected: str) -> None:
    given = request.headers.get("authorization", "")
    if not hmac.compare_digest(given.encode(), expected.encode()):
        raise Rejected(401, "Authenticate")
    if provider.courier.faults.take("error_5xx"):
        raise Rejected(503, "The provider is not available, nothing was done.")


def _basic(provider: Provider) -> str:
    pair = f"{provider.settings.account}:{provider.settings.token}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def _check_sms(form: Mapping[str, str]) -> None:
    refusals = (
        (not form.get("To"), NO_TO, "A 'To' phone number is required."),
        (not E164.fullmatch(form.get("To", "")), BAD_TO, "Invalid 'To' Phone Number."),
        (not form.get("From"), NO_FROM, "A 'From' phone number is required."),
        (not form.get("Body"), NO_BODY, "Message body is required."),
        (
            len(form.get("Body", "")) > BODY_LENGTH_MAX,
            LONG_BODY,
            "The concatenated message body exceeds the 1600 character limit.",
        ),
    )
    for refused, code, sentence in refusals:
        if refused:
            raise Rejected(400, sentence, code=str(code))


def _resource(provider: Provider, message: Message) -> dict[str, str | None]:
    account = provider.settings.account
    return {
        "account_sid": account,
        "api_version": "2010-04-01",
        "body": message.body,
        "date_created": formatdate(message.received_at),
        "direction": "outbound-api",
        "error_code": message.error_code,
        "from": message.sender,
        "sid": message.sid,
        "status": message.status,
        "to": message.to,
        "uri": f"/2010-04-01/Accounts/{account}/Messages/{message.sid}.json",
    }


@post("/2010-04-01/Accounts/{account:str}/Messages.json")
async def send_sms(request: HttpRequest, provider: Known, account: Sid) -> Response[bytes]:
    _authorise(provider, request, _basic(provider))
    if account != provider.settings.account:
        raise Rejected(404, "The requested resource was not found")
    form = dict(parse_qsl((await request.body()).decode(), keep_blank_values=True))
    _check_sms(form)
    message = Message(
        sid="SM" + secrets.token_hex(16),
        channel="sms",
        to=form["To"],
        sender=form["From"],
        body=form["Body"],
        received_at=provider.clock(),
    )
    answer = as_json(_resource(provider, message), 201)
    provider.receive(message, form.get("StatusCallback"))
    return answer


@get("/2010-04-01/Accounts/{account:str}/Messages/{file:str}")
async def get_sms(
    request: HttpRequest, provider: Known, account: Sid, file: FromPath[str]
) -> Response[bytes]:
    _authorise(provider, request, _basic(provider))
    for message in provider.messages:
        if account == provider.settings.account and file == f"{message.sid}.json":
            return as_json(_resource(provider, message))
    raise Rejected(404, "The requested resource was not found")


@post("/v3/mail/send")
async def send_email(request: HttpRequest, provider: Known) -> Response[bytes]:
    _authorise(provider, request, f"Bearer {provider.settings.token}")
    email = msgspec.json.decode(await request.body(), type=Email)
    message = Message(
        sid="EM" + secrets.token_hex(16),
        channel="email",
        to=email.to,
        sender=email.sender,
        subject=email.subject,
        body=email.text,
        html=email.html,
        headers=email.headers,
        received_at=provider.clock(),
    )
    provider.receive(message, email.status_callback or provider.settings.email_callback_url)
    return as_json({"message_id": message.sid}, 202)


@get("/simulate/messages")
async def list_messages(provider: Known, to: FromQuery[str | None] = None) -> Response[bytes]:
    """List what was received, oldest first; a `+` that became a space in the URL is understood."""
    wanted = None if to is None else to.replace(" ", "+")
    return as_json({"items": [m for m in provider.messages if wanted in {None, m.to}]})


@post("/simulate/faults")
async def set_faults(request: HttpRequest, provider: Known) -> Response[bytes]:
    """Set all switches at once: what the body doesn't name is off, so `{}` heals everything."""
    provider.courier.faults = msgspec.json.decode(await request.body() or b"{}", type=Faults)
    return as_json(provider.courier.faults)


@get("/simulate/faults")
async def get_faults(provider: Known) -> Response[bytes]:
    return as_json(provider.courier.faults)


def settings() -> Settings:
    """Read the provider's settings; a missing secret ends the program."""
    known = outside_settings.load()
    default_url = outside_settings.gateway_url(known) + "/webhooks/sms"
    return Settings(
        account=outside_settings.need(known, "SMS_ACCOUNT"),
        token=outside_settings.need(known, "SMS_WEBHOOK_TOKEN"),
        email_callback_url=known.get("EMAIL_CALLBACK_URL", default_url),
        port=outside_settings.port(known, "SMS_PROVIDER_PORT", PORT),
    )


def application(told: Settings) -> Litestar:
    """Build the provider as an ASGI application with an empty memory."""
    provider = Provider(told)
    handlers = [send_sms, get_sms, send_email, list_messages, set_faults, get_faults]
    return build(handlers, provider=provider, shape=_shape, on_shutdown=[provider.courier.close])


def program() -> tuple[Litestar, int]:
    """Return the application and its port, as the settings tell."""
    told = settings()
    return application(told), told.port


def main() -> None:
    """Run the provider until SIGTERM."""
    run({"sms_provider": program()})


if __name__ == "__main__":
    main()
