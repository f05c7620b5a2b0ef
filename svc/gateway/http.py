"""HTTP: one handler per route and door of all contracts, and the pages of the gateway itself.

`routes` and `application_options` are what the mesh mounts (svc/mesh/http.py).
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Any

from litestar.config.cors import CORSConfig
from litestar.exceptions import HTTPException

from svc.gateway import pages, proxied, sockets
from svc.gateway.access import Holder, bearer
from svc.gateway.answers import JSON, Answer, AnyRequest, answer_of, document_of, methods_of, refuse
from svc.gateway.binding import (
    Form,
    complete,
    decode_body,
    decode_path,
    decode_query,
    idempotency_key,
)
from svc.gateway.limits import class_of
from svc.gateway.serving import address_of, handler, read_body, require_json
from svc.gateway.state import Gateway, gateway_of
from svc.mesh.contract import Door, RawMessage
from svc.mesh.errors import Refused, Unavailable
from svc.mesh.wire import encode

if TYPE_CHECKING:
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
    paths = [form.route.path for form in gateway.forms]
    paths += [door.path for contract in gateway.contracts for door in contract.doors]
    return [
        *(_options(gateway, path) for path in dict.fromkeys(paths)),
        *(_route(gateway, form) for form in gateway.forms),
        *(_door(gateway, door) for contract in gateway.contracts for door in contract.doors),
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


def _route(gateway: Gateway, form: Form) -> Any:
    async def work(request: AnyRequest, request_id: str, headers: dict[str, str]) -> Answer:
        return await _serve(gateway, form, request, request_id, headers)

    return handler(gateway, form.route.method, form.route.path, work)


def _options(gateway: Gateway, path: str) -> Any:
    async def work(request: AnyRequest, _: str, headers: dict[str, str]) -> Answer:
        headers["allow"] = ", ".join(methods_of(request))
        return Answer(NO_CONTENT, b"")

    return handler(gateway, "OPTIONS", path, work)


def _door(gateway: Gateway, door: Door) -> Any:
    async def work(request: AnyRequest, request_id: str, headers: dict[str, str]) -> Answer:
        headers |= await gateway.admit("door", None, request)
        limit = gateway.body_max(DOOR_BODY_MAX, BASE64_GROWTH)
        message = RawMessage(
            body=await read_body(request, limit),
            headers={name: request.headers.get(name, "") for name in door.headers},
            url=gateway.url + address_of(request),
        )
        reply = await gateway.ask(door.call, encode(message), correlation_id=request_id)
        return Answer(door.status, reply)

    return handler(gateway, "POST", door.path, work)


async def _serve(
    gateway: Gateway, form: Form, request: AnyRequest, request_id: str, headers: dict[str, str]
) -> Answer:
    """Serve one route: who asks, whether too often, what for; then ask the service."""
    place = form.route
    holder = None
    if place.role != "public":
        holder = gateway.access.require(bearer(request.headers.get("authorization")), place.role)
    headers |= await gateway.admit(class_of(place), holder, request)
    injected = _injected(gateway, form, request, holder)
    if form.has_body:
        require_json(request)
        sent = decode_body(form, await read_body(request, gateway.body_max(BODY_MAX)))
    else:
        sent = decode_query(form, request.query_params.multi_items())
    asked = complete(form, sent, injected)

    async def run() -> Answer:
        try:
            reply = await gateway.ask(
                form.call,
                asked,
                correlation_id=request_id,
                traceparent=traceparent_of(request),
            )
        except (Refused, Unavailable) as failure:
            return answer_of(failure)
        if place.media_type != JSON:
            return document_of(form, reply, request.url.path, request.query_params.multi_items())
        return Answer(place.status, b"" if place.status == NO_CONTENT else reply)

    if not place.idempotent:
        return await run()
    user = holder.user_id if holder else ""
    key = str(injected["idempotency_key"])
    scope = (user, place.method, request.url.path, key)
    return await gateway.idempotency.once(scope, asked, form.call.deadline_ms, run)


def traceparent_of(request: AnyRequest) -> str:
    """Return the client's W3C trace context, or a new one: traces of one request begin here."""
    given = request.headers.get("traceparent", "")
    if TRACEPARENT.fullmatch(given):
        return given
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


def _injected(
    gateway: Gateway, form: Form, request: AnyRequest, holder: Holder | None
) -> dict[str, object]:
    found: dict[str, object] = decode_path(form, request.path_params)
    if holder:
        found |= holder.fields(form.route.from_token)
    client = {
        "ip": gateway.address.of(request),
        "device": request.headers.get("user-agent", "")[:DEVICE_MAX],
    }
    found |= {name: client[name] for name in form.route.from_client}
    if form.route.idempotent:
        found["idempotency_key"] = idempotency_key(request.headers.get("idempotency-key"))
    return found
