"""The SMS and e-mail provider as we speak to it: Twilio's form for SMS, JSON for e-mail."""

import base64
import html
import ssl
from collections.abc import Mapping
from http import HTTPStatus
from typing import TypeVar

import httpx
import msgspec
from msgspec import Struct

from svc.mesh.errors import Unavailable
from svc.mesh.outgoing import CountedClient

AnswerT = TypeVar("AnswerT", bound=Struct)

TIMEOUT_S = 5.0
SMS_LENGTH_MAX = 1_600
"""What Twilio takes in one message, in characters."""


class Rejected(Exception):
    """The provider will never take this message (a wrong number, say); the text says why."""


class SmsAnswer(Struct, frozen=True):
    """What we need of the answer to an SMS."""

    sid: str


class EmailAnswer(Struct, frozen=True):
    """What we need of the answer to an e-mail."""

    message_id: str


class Provider:
    """One connection pool to the provider."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        """Read addresses and secrets; KeyError names what is missing."""
        self.account = settings["SMS_ACCOUNT"]
        self.token = settings["SMS_WEBHOOK_TOKEN"]
        self.callback_url = settings["GATEWAY_URL"].rstrip("/") + "/webhooks/sms"
        self.sms_sender = settings.get("SMS_SENDER", "+15005550006")
        self.email_sender = settings.get("EMAIL_SENDER", "betmesh <no-reply@betmesh.example>")
        base_url = settings["SMS_PROVIDER_URL"].rstrip("/")
        # The authorities are loaded only where there is TLS to check: loopback has none.
        secure = base_url.startswith("https:")
        self.client = CountedClient(
            "notification",
            "SMSProvider",
            base_url=base_url,
            timeout=TIMEOUT_S,
            verify=True if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            trust_env=secure,
        )

    async def send_sms(self, to: str, text: str) -> str:
        """Hand an SMS over and return the provider's id; raises Rejected or Unavailable."""
        pair = base64.b64encode(f"{self.account}:{self.token}".encode()).decode()
        answer = await self._post(
            f"/2010-04-01/Accounts/{self.account}/Messages.json",
            headers={"authorization": f"Basic {pair}"},
            data={
                "To": to,
                "From": self.sms_sender,
                "Body": text[:SMS_LENGTH_MAX],
                "StatusCallback": self.callback_url,
            },
        )
        return _decoded(answer, SmsAnswer).sid

    async def send_email(self, to: str, subject: str, text: str) -> str:
        """Hand an e-mail over and return the provider's id; raises Rejected or Unavailable."""
        paragraphs = "".join(f"<p>{html.escape(part)}</p>" for part in text.split("\n\n"))
        answer = await self._post(
            "/v3/mail/send",
            headers={"authorization": f"Bearer {self.token}"},
            json={
                "to": to,
                "from": self.email_sender,
                "subject": subject,
                "text": text,
                "html": f"<!doctype html><title>{html.escape(subject)}</title>{paragraphs}",
            },
        )
        return _decoded(answer, EmailAnswer).message_id

    async def _post(
        self,
        path: str,
        *,
        headers: dict[str, str],
        data: dict[str, str] | None = None,
        json: dict[str, str] | None = None,
    ) -> httpx.Response:
        try:
            answer = await self.client.post(path, headers=headers, data=data, json=json)
        except httpx.HTTPError as failure:
            raise Unavailable(f"the provider does not answer: {type(failure).__name__}") from None
        if answer.is_success:
            return answer
        # Only what is said of this very message is final; wrong credentials (401, 403, 404) or
        # too many messages (429) are ours or theirs to mend, and the message waits.
        if answer.status_code in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY):
            raise Rejected(f"the provider refused it: {_code(answer)}")
        raise Unavailable(f"the provider answered {answer.status_code}")

    async def close(self) -> None:
        """Close the connections."""
        await self.client.aclose()


def _decoded(answer: httpx.Response, kind: type[AnswerT]) -> AnswerT:
    try:
        return msgspec.json.decode(answer.content, type=kind)
    except msgspec.DecodeError:
        # It was taken; sending it again would double it.
        raise Rejected("the provider took it, but its answer cannot be read") from None


def _code(answer: httpx.Response) -> str:
    """Return the provider's error number; its sentence may repeat personal data."""
    try:
        told = msgspec.json.decode(answer.content, type=dict[str, object])
    except msgspec.DecodeError:
        return str(answer.status_code)
    return str(told.get("code", answer.status_code))
