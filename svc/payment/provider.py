"""The payment provider over HTTP, in Stripe's manner, as a port with typed answers."""

from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import httpx
import msgspec
from msgspec import Struct

from svc.mesh.context import Context
from svc.mesh.errors import TimedOut, Unavailable
from svc.mesh.runtime import Runtime

TIMEOUT_S = 3.0
"""How long to wait for the provider; what it did meanwhile is asked for with the same key."""
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


class Payout(Struct, frozen=True, kw_only=True):
    """Money on its way to a bank account."""

    id: str
    status: str
    amount: int
    currency: str
    failure_code: str | None = None
    metadata: dict[str, str] = {}


class Refund(Struct, frozen=True, kw_only=True):
    """A payment, or a part of it, given back."""

    id: str
    status: str
    amount: int
    currency: str


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

    def __init__(self, url: str, key: str) -> None:
        """Prepare the client; nothing is sent yet."""
        self.client = httpx.AsyncClient(
            base_url=url,
            headers={"authorization": f"Bearer {key}"},
            timeout=TIMEOUT_S,
            trust_env=False,
        )

    async def pay_in(self, key: str, amount: int, currency: str, method: str) -> Intent:
        """Start a payment; `key` is the deposit's id."""
        body = {
            "amount": amount,
            "currency": currency.lower(),
            "payment_method": method,
            "metadata": {"deposit_id": key},
        }
        return await self._ask("POST", "/v1/payment_intents", Intent, key, body)

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
        headers = {"idempotency-key": key} if key else {}
        try:
            answer = await self.client.request(method, path, json=body, headers=headers)
        except httpx.ConnectError as failure:
            raise Unavailable("the payment provider cannot be reached") from failure
        except (httpx.HTTPError, httpx.InvalidURL) as failure:
            raise TimedOut("the payment provider did not answer in time") from failure
        if answer.is_server_error or answer.status_code in NOT_OURS:
            raise Unavailable(f"the payment provider answered {answer.status_code}")
        try:
            if answer.is_success:
                return msgspec.json.decode(answer.content, type=kind)
            problem = msgspec.json.decode(answer.content, type=ProblemAnswer).error
        except msgspec.DecodeError as failure:
            raise Unavailable("the payment provider answered another form") from failure
        raise Rejected(problem.code or "rejected", problem.message)


_OF: WeakKeyDictionary[Runtime, Provider] = WeakKeyDictionary()


def open_for(context: Context) -> None:
    """Make the client of this service instance, with the address and key of its settings."""
    url, key = context.setting("PAYMENT_PROVIDER_URL"), context.setting("PAYMENT_PROVIDER_KEY")
    _OF[context.runtime] = Provider(url, key)


def of(context: Context) -> Provider:
    """Return the client of this service instance."""
    return _OF[context.runtime]


async def close_for(context: Context) -> None:
    """Hang up when the service stops."""
    if found := _OF.pop(context.runtime, None):
        await found.close()
