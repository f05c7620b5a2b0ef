"""HTTP: one handler per route and door of all contracts, and the pages of the gateway itself.

`routes` and `application_options` are what the mesh mounts (svc/mesh/http.py).
"""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING, Any

from litestar.config.cors import CORSConfig
from litestar.exceptions import HTTPException

from svc.gateway import pages, proxied, sockets
from svc.gateway.access import Holder, bearer
from svc.gateway.answers import JSON, Answer, Asked, answer_of, document_of, refuse
from svc.gateway.binding import (
    Form,
    complete,
    decode_body,
    decode_path,
    decode_query,
    idempotency_key,
)
from svc.gateway.limits import class_of
from svc.gateway.serving import address_of, handlers, read_body, require_json
from svc.gateway.state import Gateway, gateway_of
from svc.mesh.contract import Door, RawMessage
from svc.mesh.errors import Refused, Unavailable
from svc.mesh.wire import encode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from svc.gateway.serving import Work
    from svc.mesh.context import Context

BODY_MAX = 1024 * 1024
DOOR_BODY_MAX = 4 * 1024 * 1024
DEVICE_MAX = 255
NO_CONTENT = 204
BASE64_GROWTH = 4 / 3
TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def routes(context: Context) -> list[Any]:
    """Return all handlers of the gateway."""
    gateway = gateway_of(context.runtime)
    works = [
        *((form.route.method, form.route.path, _work(gateway, form)) for form in gateway.forms),
        *(
            ("POST", door.path, _door(gateway, door))
            for contract in gateway.contracts
            for door in contract.doors
        ),
    ]
    return [
        *handlers(gateway, works),
        *proxied.handlers(gateway),
        *sockets.handlers(gateway),
        *pages.handlers(gateway),
    ]


def application_options(context: Context) -> dict[str, Any]:
    """Return what the whole application needs: problem documents for all failures, and CORS.

    `CORS_ORIGINS` names the browser origins, separated by commas, that may read answers.
    """
    gateway = gateway_of(context.runtime)
    origins = [text.strip() for text in gateway.setting("CORS_ORIGINS", "").split(",")]
    options: dict[str, Any] = {
        "exception_handlers": {HTTPException: refuse, Exception: refuse},
        "request_max_body_size": None,  # bodies are read here, with limits per door
    }
    if any(origins):
        options["cors_config"] = CORSConfig(
            allow_origins=[text for text in origins if text],
            allow_headers=["authorization", "content-type", "idempotency-key", "x-request-id"],
            expose_headers=["retry-after", "ratelimit", "ratelimit-policy", "x-request-id"],
        )
    return options


def _work(gateway: Gateway, form: Form) -> Work:
    async def work(asked: Asked) -> Answer:
        return await _serve(gateway, form, asked)

    return work


def _door(gateway: Gateway, door: Door) -> Work:
    async def work(asked: Asked) -> Answer:
        asked.told |= await gateway.admit("door", None, asked.scope)
        limit = gateway.body_max(DOOR_BODY_MAX, BASE64_GROWTH)
        message = RawMessage(
            body=await read_body(asked, limit),
            headers={name: asked.headers.get(name, "") for name in door.headers},
            url=gateway.url + address_of(asked),
        )
        reply = await gateway.ask(
            door.call,
            encode(message),
            correlation_id=asked.request_id,
            traceparent=traceparent_of(asked.headers),
        )
        return Answer(door.status, reply)

    return work


async def _serve(gateway: Gateway, form: Form, asked: Asked) -> Answer:
    """Serve one route: who asks, whether too often, what for; then ask the service.

    Who is not let in takes a token of their address, as anybody who is not logged in.
    """
    place = form.route
    holder = None
    if place.role != "public":
        try:
            holder = gateway.access.require(bearer(asked.headers.get("authorization")), place.role)
        except (Refused, Unavailable):
            asked.told |= await gateway.admit("public", None, asked.scope)
            raise
    if place.idempotent:
        return await _serve_once(gateway, form, asked, holder)
    asked.told |= await gateway.admit(class_of(place), holder, asked.scope)
    request, _ = await _request(gateway, form, asked, holder)
    return await _answered(gateway, form, asked, request)


async def _serve_once(gateway: Gateway, form: Form, asked: Asked, holder: Holder | None) -> Answer:
    """Serve a route with a key: one round trip to Valkey takes the token and claims the key.

    What is no request takes a token too, and whoever has none hears of that first.
    """
    kind = class_of(form.route)
    try:
        request, key = await _request(gateway, form, asked, holder)
    except (Refused, Unavailable):
        asked.told |= await gateway.admit(kind, holder, asked.scope)
        raise
    user = holder.user_id if holder else gateway.address.of(asked.scope)
    bucket = gateway.limiter.bucket(kind, user)
    return await gateway.idempotency.once(
        (holder.user_id if holder else "", form.route.method, asked.path, key),
        request,
        form.call.deadline_ms,
        lambda: _answered(gateway, form, asked, request),
        bucket=bucket,
        admitted=lambda said: asked.told.update(bucket.let_in(said)),
    )


async def _request(
    gateway: Gateway, form: Form, asked: Asked, holder: Holder | None
) -> tuple[bytes, str]:
    """Return what the service is asked, and the key of a route that has one."""
    injected = _injected(gateway, form, asked, holder)
    if form.has_body:
        require_json(asked)
        sent = decode_body(form, await read_body(asked, gateway.body_max(BODY_MAX)))
    else:
        sent = decode_query(form, asked.query())
    return complete(form, sent, injected), str(injected.get("idempotency_key", ""))


async def _answered(gateway: Gateway, form: Form, asked: Asked, request: bytes) -> Answer:
    place = form.route
    try:
        reply = await gateway.ask(
            form.call,
            request,
            correlation_id=asked.request_id,
            traceparent=traceparent_of(asked.headers),
        )
    except (Refused, Unavailable) as failure:
        return answer_of(failure)
    if place.media_type != JSON:
        return document_of(form, reply, asked.path, asked.query())
    return Answer(place.status, b"" if place.status == NO_CONTENT else reply)


def traceparent_of(headers: Mapping[str, str]) -> str:
    """Return the client's W3C trace context, or a new one: traces of one request begin here."""
    given = headers.get("traceparent", "")
    if given and TRACEPARENT.fullmatch(given):
        return given
    # No secrets: the 128 and 64 bits only have to be different.
    return f"00-{random.getrandbits(128):032x}-{random.getrandbits(64):016x}-01"


def _injected(
    gateway: Gateway, form: Form, asked: Asked, holder: Holder | None
) -> dict[str, object]:
    place = form.route
    found: dict[str, object] = decode_path(form, asked.path_params)
    if holder:
        found |= holder.fields(place.from_token)
    if place.from_client:
        client = {
            "ip": gateway.address.of(asked.scope),
            "device": asked.headers.get("user-agent", "")[:DEVICE_MAX],
        }
        found |= {name: client[name] for name in place.from_client}
    if place.idempotent:
        found["idempotency_key"] = idempotency_key(asked.headers.get("idempotency-key"))
    return found
