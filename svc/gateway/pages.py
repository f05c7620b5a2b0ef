"""The gateway's own pages: readiness with every dependency, the documents, and their reader."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Response, get

from svc.gateway.answers import JSON, SECURITY_HEADERS
from svc.mesh.discovery import survey

if TYPE_CHECKING:
    from svc.gateway.state import Gateway

HERE = Path(__file__).parent
SURVEY_S = 0.5
READER_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; frame-ancestors 'none'"
)


def handlers(gateway: Gateway) -> list[Any]:
    """Return the handlers of `/readyz`, `/docs`, `/openapi.json` and `/asyncapi.json`."""
    return [
        _ready(gateway),
        _file("/openapi.json", "openapi.json", JSON),
        _file("/asyncapi.json", "asyncapi.json", JSON),
        _file("/docs", "docs.html", "text/html; charset=utf-8", READER_POLICY),
    ]


def _ready(gateway: Gateway) -> Any:
    @get("/readyz", include_in_schema=False)
    async def readyz() -> Response[bytes]:
        connected = gateway.runtime.connection.is_connected
        checks = {"nats": connected, "keys": gateway.access.ready()}
        ready = all(checks.values()) and gateway.runtime.ready
        valkey, services = await asyncio.gather(gateway.valkey.alive(), _services(gateway))
        body = {
            "status": "ready" if ready else "not ready",
            "service": gateway.runtime.service.name,
            "instance": gateway.runtime.instance,
            "checks": {**checks, "valkey": valkey},
            "services": services,
        }
        return Response(
            msgspec.json.encode(body),
            status_code=200 if ready else 503,
            media_type=JSON,
            headers={"cache-control": "no-store"},
        )

    return readyz


async def _services(gateway: Gateway) -> dict[str, bool]:
    """Return for every service whether an instance answers `$SRV.PING` now."""
    runtime = gateway.runtime
    names = [contract.name for contract in gateway.contracts]
    if not runtime.connection.is_connected:
        return dict.fromkeys(names, False)
    answers = await survey(
        runtime.connection, runtime.service.name, "$SRV.PING", SURVEY_S, enough=len(names)
    )
    seen = {str(answer.get("name")) for answer in answers}
    return {name: name in seen for name in names}


def _file(path: str, file: str, media_type: str, policy: str | None = None) -> Any:
    body = (HERE / file).read_bytes()
    headers = {**SECURITY_HEADERS, "cache-control": "no-cache"}
    if policy:
        headers["content-security-policy"] = policy

    @get(path, include_in_schema=False, name=path)
    async def page() -> Response[bytes]:
        return Response(body, media_type=media_type, headers=headers)

    return page
