"""The payment provider over HTTP, in Stripe's manner, as a port with typed answers."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

import httpx
import msgspec
from msgspec import Struct

from svc.mesh.context import Context
from svc.mesh.errors import DeclarationError, TimedOut, Unavailable
from svc.mesh.outgoing import CountedClient
from svc.mesh.runtime import Runtime
from svc.payment.breaker import Breaker

TIMEOUT_MS = 2_000
"""How long to wait for one answer of the provider, unless PAYMENT_PROVIDER_TIMEOUT_MS says."""
ATTEMPTS = 2
"""Twice at once, with the same key, so that nothing is done twice; the sweep goes on later."""
PAUSE_S = 0.1
FAILURES_MAX = 10
REST_S = 5.0
"""After so many failures in a row the provider is left alone for so long."""
PAGE = 100
NOT_OURS = frozenset({401, 403, 409, 429})
"""Answers that say nothing of the payment: a wrong key, a call still running, too many calls."""


class Failure(Struct, frozen=True, kw_only=True):
    """Why the provider could not take money."""

    code: str = ""
    message: str = ""


class Intent(Struct, frozen=True, kw_only=True):
    """A payment at the provider: amounts in minor units, the currency in lower case there."""

    id: str
    status: str
    amount: int
    currency: str
    amount_received: int = 0
    next_action: dict[str, Any] | None = None
    last_payment_error: Failure | None = None
    metadata: dict[str, str] = {}


class Movement(Struct, frozen=True, kw_only=True):
    """What moved our money at the provider, in minor units: `net` is `amount` less the fee.

    `source` is the charge, refund, payout or dispute that it belongs to.
    """

    id: str
    type: str
    net: int
    currency: str
    created: int
    amount: int = 0
    source: msgspec.Raw = msgspec.Raw(b"{}")


class Dispute(Struct, frozen=True, kw_only=True):
    """A payment that the player's bank takes back, until it is decided.

    `balance_transactions` tell what was taken and given back; older forms don't have them.
    """

    id: str = ""
    status: str
    amount: int
    currency: str
    payment_intent: str | None = None
    reason: str = ""
    balance_transactions: list[Movement] | None = None


class Payout(Struct, frozen=True, kw_only=True):
    """Money on its way to a bank account."""

    id: str
    status: str
    amount: int
    currency: str
    failure_code: str | None = None
    metadata: dict[str, str] = {}


class Refund(Struct, frozen=True, kw_only=True):
    """A payment, or a part of it, given back; one that `failed` came back from the bank."""

    id: str
    status: str
    amount: int
    currency: str
    payment_intent: str | None = None
    metadata: dict[str, str] = {}


ItemT = TypeVar("ItemT")


class Page(Struct, Generic[ItemT], frozen=True, kw_only=True):
    """A page of a list, newest first."""

    data: list[ItemT]
    has_more: bool = False


class Named(Struct, frozen=True, kw_only=True):
    """What every object has."""

    id: str


class Problem(Struct, frozen=True, kw_only=True):
    """What the provider says when it refuses."""

    code: str = ""
    message: str = ""


class ProblemAnswer(Struct, frozen=True, kw_only=True):
    """The body of a refusal."""

    error: Problem = msgspec.field(default_factory=Problem)


class Rejected(Exception):
    """The provider refused for good: the same request would be refused again."""

    def __init__(self, code: str, message: str) -> None:
        """Keep the provider's code and sentence."""
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


AnswerT = TypeVar("AnswerT", bound=Struct)


class Provider:
    """The provider's API. Every POST carries a key, so that asking again does nothing twice.

    All methods raise Rejected for a final no, TimedOut when the outcome is unknown, Unavailable
    when the provider answers an error of its own.
    """

    def __init__(self, url: str, key: str, timeout_s: float = TIMEOUT_MS / 1000) -> None:
        """Prepare the client; nothing is sent yet."""
        self.breaker = Breaker(time.monotonic, FAILURES_MAX, REST_S)
        self.client = CountedClient(
            "payment",
            "PaymentProvider",
            base_url=url,
            headers={"authorization": f"Bearer {key}"},
            timeout=timeout_s,
            trust_env=False,
        )

    async def pay_in(
        self, key: str, amount: int, currency: str, method: str, *, manual: bool = False
    ) -> Intent:
        """Start a payment; `key` is the deposit's id. With `manual` it is only authorised."""
        body: dict[str, Any] = {
            "amount": amount,
            "currency": currency.lower(),
            "payment_method": method,
            "metadata": {"deposit_id": key},
        }
        if manual:
            body["capture_method"] = "manual"
        return await self._ask("POST", "/v1/payment_intents", Intent, key, body)

    async def capture(self, key: str, provider_id: str, amount: int) -> Intent:
        """Take an authorised payment, or a part of it; the rest is let go."""
        path = f"/v1/payment_intents/{provider_id}/capture"
        return await self._ask("POST", path, Intent, key, {"amount_to_capture": amount})

    async def cancel(self, key: str, provider_id: str) -> Intent:
        """Let an authorised payment go."""
        return await self._ask("POST", f"/v1/payment_intents/{provider_id}/cancel", Intent, key, {})

    async def intent(self, provider_id: str) -> Intent:
        """Read how a payment stands."""
        return await self._ask("GET", f"/v1/payment_intents/{provider_id}", Intent)

    async def pay_out(self, key: str, amount: int, currency: str, method: str) -> Payout:
        """Send money to a bank account; `key` is the withdrawal's id."""
        body = {
            "amount": amount,
            "currency": currency.lower(),
            "destination": method,
            "metadata": {"withdrawal_id": key},
        }
        return await self._ask("POST", "/v1/payouts", Payout, key, body)

    async def payout(self, provider_id: str) -> Payout:
        """Read how a payout stands."""
        return await self._ask("GET", f"/v1/payouts/{provider_id}", Payout)

    async def give_back(self, key: str, provider_id: str, amount: int) -> Refund:
        """Give a payment back; `key` is the refund's id."""
        body = {"payment_intent": provider_id, "amount": amount, "metadata": {"refund_id": key}}
        return await self._ask("POST", "/v1/refunds", Refund, key, body)

    async def given_back(self, key: str, provider_id: str) -> Refund | None:
        """Return the refund of a payment that was made under our id, None when none was.

        Raises Unavailable also when the provider lists no refunds: that tells nothing of ours.
        """
        try:
            async for found in self._listed("/v1/refunds", ("payment_intent", provider_id)):
                refund = msgspec.json.decode(found, type=Refund)
                if refund.metadata.get("refund_id") == key:
                    return refund
        except Rejected as rejected:
            raise Unavailable(f"the refunds are not listed: {rejected}") from rejected
        return None

    async def events(self, since: datetime) -> AsyncIterator[bytes]:
        """Yield every event since an instant as it is, newest first, told to us or not."""
        async for event in self._listed("/v1/events", made_since(since)):
            yield event

    async def movements(self, since: datetime) -> AsyncIterator[Movement]:
        """Yield what moved our money since an instant, newest first, with its source."""
        async for found in self._listed(
            "/v1/balance_transactions", made_since(since), ("expand[]", "data.source")
        ):
            yield msgspec.json.decode(found, type=Movement)

    async def _listed(self, path: str, *asked: tuple[str, str]) -> AsyncIterator[bytes]:
        query = [("limit", str(PAGE)), *asked]
        after: list[tuple[str, str]] = []
        while True:
            url = str(httpx.URL(path, params=[*query, *after]))
            page = await self._ask("GET", url, Page[msgspec.Raw])
            for item in page.data:
                yield bytes(item)
            if not page.has_more or not page.data:
                return
            last = msgspec.json.decode(page.data[-1], type=Named)
            after = [("starting_after", last.id)]

    async def close(self) -> None:
        """Hang up."""
        await self.client.aclose()

    async def _ask(
        self,
        method: str,
        path: str,
        kind: type[AnswerT],
        key: str | None = None,
        body: dict[str, Any] | None = None,
    ) -> AnswerT:
        for attempt in range(1, ATTEMPTS + 1):
            if not self.breaker.admits():
                raise Unavailable("the payment provider failed too often, it is left alone")
            try:
                answer = await self._send(method, path, key, body)
            except Unavailable:
                self.breaker.failed()
                if attempt == ATTEMPTS:
                    raise
                await asyncio.sleep(PAUSE_S)
            else:
                self.breaker.succeeded()
                return _read(answer, kind)
        raise AssertionError("the last attempt returns or raises")

    async def _send(
        self, method: str, path: str, key: str | None, body: dict[str, Any] | None
    ) -> httpx.Response:
        headers = {"idempotency-key": key} if key else {}
        try:
            answer = await self.client.request(method, path, json=body, headers=headers)
        except httpx.ConnectError as failure:
            raise Unavailable("the payment provider cannot be reached") from failure
        except (httpx.HTTPError, httpx.InvalidURL) as failure:
            raise TimedOut("the payment provider did not answer in time") from failure
        if answer.is_server_error or answer.status_code in NOT_OURS:
            raise Unavailable(f"the payment provider answered {answer.status_code}")
        return answer


def made_since(since: datetime) -> tuple[str, str]:
    """Return what asks a list only for what was made since an instant."""
    return "created[gte]", str(int(since.timestamp()))


def _read(answer: httpx.Response, kind: type[AnswerT]) -> AnswerT:
    try:
        if answer.is_success:
            return msgspec.json.decode(answer.content, type=kind)
        problem = msgspec.json.decode(answer.content, type=ProblemAnswer).error
    except msgspec.DecodeError as failure:
        raise Unavailable("the payment provider answered another form") from failure
    raise Rejected(problem.code or "rejected", problem.message)


Ask = Callable[[Provider, str], Awaitable[Intent]]
"""Something to ask of a payment by its id at the provider."""
_OF: WeakKeyDictionary[Runtime, Provider] = WeakKeyDictionary()


def open_for(context: Context) -> None:
    """Make the client of this service instance, with the address and key of its settings."""
    url, key = context.setting("PAYMENT_PROVIDER_URL"), context.setting("PAYMENT_PROVIDER_KEY")
    wait_ms = context.runtime.settings.get("PAYMENT_PROVIDER_TIMEOUT_MS", str(TIMEOUT_MS))
    if not wait_ms.isdecimal() or int(wait_ms) < 1:
        raise DeclarationError("PAYMENT_PROVIDER_TIMEOUT_MS must be a number of milliseconds")
    _OF[context.runtime] = Provider(url, key, int(wait_ms) / 1000)


def of(context: Context) -> Provider:
    """Return the client of this service instance."""
    return _OF[context.runtime]


async def close_for(context: Context) -> None:
    """Hang up when the service stops."""
    if found := _OF.pop(context.runtime, None):
        await found.close()
