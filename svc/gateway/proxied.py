"""Paths that another service answers over plain HTTP: the gateway hands question and answer on.

Where the service is, its discovery answer tells (`metadata.http`).
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import httpx

from svc.gateway.answers import Answer
from svc.gateway.serving import address_of, handlers as served
from svc.mesh import tls
from svc.mesh.errors import Unavailable
from svc.mesh.outgoing import CountedClient

if TYPE_CHECKING:
    from svc.gateway.answers import Asked
    from svc.gateway.serving import Work
    from svc.gateway.state import Gateway

PASSED_ON = ("if-none-match", "accept-language")
PASSED_BACK = ("etag", "cache-control", "content-language", "vary")
TIMEOUT_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Proxied:
    """A path as clients see it, and the service that answers the same path.

    `parameters` are patterns, which that service checks.
    """

    path: str
    service: str
    summary: str
    parameters: dict[str, str]


PROXIED = (
    Proxied(
        path="/v1/i18n/{locale}/{namespace}",
        service="localization",
        summary="Read the texts of a namespace, or `formats`",
        parameters={
            "locale": "^[A-Za-z]{2,3}(-[A-Za-z]{4})?(-([A-Za-z]{2}|[0-9]{3}))?$",
            "namespace": "^[a-z][a-z0-9_]{0,63}$",
        },
    ),
)


class Upstream:
    """Another service's HTTP, found by discovery and found again after a failure."""

    def __init__(self, gateway: Gateway, service: str) -> None:
        """Prepare; nothing is asked yet."""
        self.gateway = gateway
        self.service = service
        self.base_url: str | None = None
        self.client: httpx.AsyncClient | None = None

    async def get(self, address: str, headers: dict[str, str]) -> httpx.Response:
        """Ask for an address; raises Unavailable when the service does not answer."""
        if self.base_url is None:
            self.base_url = await self.gateway.runtime.find_http(self.service)
        if self.base_url is None:
            raise Unavailable(f"{self.service} has no running instance")
        if self.client is None:
            trust = tls.http_context(self.gateway.runtime.settings)
            # No proxy of the environment is asked for what is inside.
            self.client = CountedClient(
                "gateway", self.service, timeout=TIMEOUT_S, verify=trust, trust_env=False
            )
            self.gateway.closing.append(self.client.aclose)
        try:
            return await self.client.get(self.base_url.rstrip("/") + address, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as failure:
            self.base_url = None
            raise Unavailable(f"{self.service} does not answer") from failure


def handlers(gateway: Gateway) -> list[Any]:
    """Return a handler for every path that another service answers."""
    works = [
        ("GET", each.path, _work(gateway, Upstream(gateway, each.service))) for each in PROXIED
    ]
    return served(gateway, works)


def _work(gateway: Gateway, upstream: Upstream) -> Work:
    async def work(request: Asked) -> Answer:
        request.told |= await gateway.admit("public", None, request.scope)
        asked = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
        answer = await upstream.get(
            address_of(request),
            {**asked, "user-agent": "betmesh-gateway", "x-request-id": request.request_id},
        )
        if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise Unavailable(f"{upstream.service} failed")
        back = {name: answer.headers[name] for name in PASSED_BACK if name in answer.headers}
        media_type = answer.headers.get("content-type", "application/json")
        return Answer(answer.status_code, answer.content, media_type, back)

    return work
