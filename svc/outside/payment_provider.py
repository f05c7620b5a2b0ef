"""A payment provider in Stripe's manner: JSON calls in, signed webhooks out."""

import hmac
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import msgspec
from litestar import Litestar, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from msgspec import Struct

from svc.outside import settings as outside_settings
from svc.outside.payment_objects import (
    CancelIntent,
    CaptureIntent,
    CloseDispute,
    CompleteAction,
    CreateIntent,
    CreatePayout,
    CreateRefund,
    Listing,
    ListRefunds,
    OpenDispute,
    Thing,
)
from svc.outside.payments import PORT, PaymentFaults, Provider, Settings, find
from svc.outside.server import HttpRequest, Rejected, application as build, as_json, run

KEY_LENGTH_MAX = 255

Body = TypeVar("Body", bound=Struct)
Asked = TypeVar("Asked", bound=Listing)
Known = NamedDependency[Provider]
Key = FromPath[str]


def _shape(_request: HttpRequest, error: Rejected) -> Response[bytes]:
    kind = error.kind or ("api_error" if error.status >= 500 else "invalid_request_error")  # noqa: PLR2004 - HTTP
    body = {"type": kind, "message": error.message}
    return as_json({"error": body | ({"code": error.code} if error.code else {})}, error.status)


def _authorise(provider: Provider, request: HttpRequest) -> None:
    given = request.headers.get("authorization", "")
    if not hmac.compare_digest(given.encode(), f"Bearer {provider.settings.key}".encode()):
        raise Rejected(401, "Invalid API Key provided.")
    if provider.faults.take("error_5xx"):
        raise Rejected(503, "The provider is not available, nothing was done.")


async def _read(request: HttpRequest, kind: type[Body]) -> Body:
    return msgspec.json.decode(await request.body() or b"{}", type=kind)


async def _once(
    provider: Provider, request: HttpRequest, kind: type[Body], act: Callable[[Body], Thing]
) -> Response[bytes]:
    """Carry out a POST once per Idempotency-Key, and give the same answer ever after.

    As Stripe documents it: refusals are kept too, calls that fail validation are not, and the key
    with another request is an `idempotency_error`.
    """
    _authorise(provider, request)
    key = request.headers.get("idempotency-key", "")
    if len(key) > KEY_LENGTH_MAX:
        raise Rejected(400, "The idempotency key is longer than 255 characters.")
    ask = await _read(request, kind)
    asked = request.url.path.encode() + b" " + msgspec.json.encode(ask, order="deterministic")
    replayed = bool(key) and key in provider.answers
    if replayed:
        before, status, content = provider.answers[key]
        if before != asked:
            sentence = f"The idempotency key '{key}' was first used with another request."
            raise Rejected(400, sentence, kind="idempotency_error")
    else:
        try:
            answer = as_json(act(ask))
        except Rejected as error:
            answer = _shape(request, error)
        status, content = answer.status_code or 200, answer.content
        if key:
            provider.answers[key] = (asked, status, content)
    if provider.faults.take("timeout_after_success"):
        while (await request.receive())["type"] != "http.disconnect":
            pass
    headers = {"idempotent-replayed": "true"} if replayed else {}
    return Response(content, status_code=status, media_type="application/json", headers=headers)


@post("/v1/payment_intents")
async def create_intent(request: HttpRequest, provider: Known) -> Response[bytes]:
    return await _once(provider, request, CreateIntent, provider.create_intent)


@get("/v1/payment_intents/{key:str}")
async def get_intent(request: HttpRequest, provider: Known, key: Key) -> Response[bytes]:
    _authorise(provider, request)
    return as_json(find(provider.intents, key, "payment_intent"))


@post("/v1/payment_intents/{key:str}/capture")
async def capture_intent(
    request: HttpRequest, provider: Known, key: FromPath[str]
) -> Response[bytes]:
    return await _once(provider, request, CaptureIntent, partial(provider.capture, key))


@post("/v1/payment_intents/{key:str}/cancel")
async def cancel_intent(
    request: HttpRequest, provider: Known, key: FromPath[str]
) -> Response[bytes]:
    return await _once(provider, request, CancelIntent, partial(provider.cancel, key))


@post("/v1/refunds")
async def create_refund(request: HttpRequest, provider: Known) -> Response[bytes]:
    return await _once(provider, request, CreateRefund, provider.refund)


@post("/v1/payouts")
async def create_payout(request: HttpRequest, provider: Known) -> Response[bytes]:
    return await _once(provider, request, CreatePayout, provider.create_payout)


@get("/v1/payouts/{key:str}")
async def get_payout(request: HttpRequest, provider: Known, key: Key) -> Response[bytes]:
    _authorise(provider, request)
    return as_json(find(provider.payouts, key, "payout"))


def _listing(request: HttpRequest, kind: type[Asked]) -> Asked:
    """Read what a list is asked for; Stripe writes `created[gte]` in the query."""
    asked = {
        name.replace("created[gte]", "created_gte"): value
        for name, value in request.query_params.items()
        if name != "expand[]"
    }
    return msgspec.convert(asked, kind, strict=False)


def _list(url: str, items: Sequence[object], has_more: bool) -> Response[bytes]:
    return as_json({"object": "list", "url": url, "data": items, "has_more": has_more})


@get("/v1/refunds")
async def list_refunds(request: HttpRequest, provider: Known) -> Response[bytes]:
    """List the refunds of a payment, those that came back included."""
    _authorise(provider, request)
    page, has_more = provider.list_refunds(_listing(request, ListRefunds))
    return _list("/v1/refunds", page, has_more)


@get("/v1/events")
async def list_recent_events(request: HttpRequest, provider: Known) -> Response[bytes]:
    """List events as Stripe does, so that webhooks which never came can be asked for."""
    _authorise(provider, request)
    page, has_more = provider.list_events(_listing(request, Listing))
    return _list("/v1/events", [msgspec.Raw(parcel.content) for parcel in page], has_more)


@get("/v1/balance_transactions")
async def list_movements(request: HttpRequest, provider: Known) -> Response[bytes]:
    """List what moved the merchant's money; `source` is expanded only when asked for."""
    _authorise(provider, request)
    page, has_more = provider.list_movements(_listing(request, Listing))
    if request.query_params.get("expand[]") != "data.source":
        page = [provider.unexpanded(each) for each in page]
    return _list("/v1/balance_transactions", page, has_more)


@post("/simulate/complete_action/{key:str}")
async def complete_action(
    request: HttpRequest, provider: Known, key: FromPath[str]
) -> Response[bytes]:
    return as_json(provider.complete_action(key, await _read(request, CompleteAction)))


@post("/simulate/dispute")
async def open_dispute(request: HttpRequest, provider: Known) -> Response[bytes]:
    return as_json(provider.open_dispute(await _read(request, OpenDispute)))


@post("/simulate/dispute/{key:str}/close")
async def close_dispute(
    request: HttpRequest, provider: Known, key: FromPath[str]
) -> Response[bytes]:
    return as_json(provider.close_dispute(key, await _read(request, CloseDispute)))


@post("/simulate/faults")
async def set_faults(request: HttpRequest, provider: Known) -> Response[bytes]:
    """Set all switches at once: what the body doesn't name is off, so `{}` heals everything."""
    provider.set_faults(await _read(request, PaymentFaults))
    return as_json(provider.faults)


@get("/simulate/faults")
async def get_faults(provider: Known) -> Response[bytes]:
    return as_json(provider.faults)


@post("/simulate/forget_keys")
async def forget_keys(provider: Known) -> Response[bytes]:
    """Forget all idempotency keys, as Stripe does with those that are older than a day."""
    provider.answers.clear()
    return as_json({})


@get("/simulate/events")
async def list_events(provider: Known, about: FromQuery[str | None] = None) -> Response[bytes]:
    """List the webhooks, oldest first, with how far each got; `about` picks one object's."""
    items = [
        {
            "id": parcel.id,
            "type": parcel.kind,
            "about": parcel.about,
            "state": parcel.state,
            "attempts": parcel.attempts,
            "last_answer": parcel.last_answer,
            "event": msgspec.Raw(parcel.content),
        }
        for parcel in provider.courier.parcels
        if about in {None, parcel.about}
    ]
    return as_json({"items": items})


@post("/simulate/events/{key:str}/resend")
async def resend_event(provider: Known, key: Key) -> Response[bytes]:
    parcels = {parcel.id: parcel for parcel in provider.courier.parcels}
    provider.courier.resend(find(parcels, key, "event"))
    return as_json({"id": key}, 202)


def settings() -> Settings:
    """Read the provider's settings; a missing secret ends the program."""
    known = outside_settings.load()
    default_url = outside_settings.gateway_url(known) + "/webhooks/payment"
    return Settings(
        key=outside_settings.need(known, "PAYMENT_PROVIDER_KEY"),
        webhook_secret=outside_settings.need(known, "PAYMENT_WEBHOOK_SECRET"),
        webhook_url=known.get("PAYMENT_WEBHOOK_URL", default_url),
        port=outside_settings.port(known, "PAYMENT_PROVIDER_PORT", PORT),
    )


def application(told: Settings) -> Litestar:
    """Build the provider as an ASGI application with an empty memory."""
    provider = Provider(told)
    handlers = [
        create_intent,
        get_intent,
        capture_intent,
        cancel_intent,
        create_refund,
        list_refunds,
        create_payout,
        get_payout,
        list_recent_events,
        list_movements,
        complete_action,
        open_dispute,
        close_dispute,
        set_faults,
        get_faults,
        forget_keys,
        list_events,
        resend_event,
    ]
    return build(handlers, provider=provider, shape=_shape, on_shutdown=[provider.courier.close])


def program() -> tuple[Litestar, int]:
    """Return the application and its port, as the settings tell."""
    told = settings()
    return application(told), told.port


def main() -> None:
    """Run the provider until SIGTERM."""
    run({"payment_provider": program()})


if __name__ == "__main__":
    main()
