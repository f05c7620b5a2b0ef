"""Rate limits: token buckets in Valkey, each filled and emptied by one atomic script.

A bucket belongs to a user, or to a client address where nobody is logged in; the class of the route
decides its size. While Valkey is down nothing is limited: the door stays open (availability first,
the services keep their own rules).
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from svc.gateway.answers import RateLimited
from svc.gateway.valkey import Valkey, ValkeyDown
from svc.mesh.errors import DeclarationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from litestar.connection import ASGIConnection

    from svc.mesh.contract import Route

    OptionalSetting = Callable[[str, str], str]

BUCKET = """
local rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local kept = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = tonumber(kept[1]) or burst
local at = tonumber(kept[2]) or now
tokens = math.min(burst, tokens + math.max(0, now - at) * rate / 1000)
local wait_ms = 0
if tokens >= 1 then
  tokens = tokens - 1
else
  wait_ms = math.ceil((1 - tokens) * 1000 / rate)
end
redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at', now)
redis.call('PEXPIRE', KEYS[1], math.ceil(burst * 1000 / rate) + 1000)
return {math.floor(tokens), wait_ms}
"""
"""Takes one token; returns what is left and how many milliseconds until there is one (0: taken)."""

Class = Literal["player", "public", "credentials", "door", "api_key"]
DEFAULTS: dict[Class, tuple[float, int]] = {
    "player": (100, 200),
    "public": (50, 200),
    "credentials": (20, 100),
    "door": (1000, 2000),
    "api_key": (1000, 2000),
}
"""Tokens per second and the size of the bucket. `credentials` are public writes (log-in, opening an
account): guessing passwords is worth slowing down. `door` is for feeds and webhooks, whose senders
prove themselves by signature and come in bursts; `api_key` for each caller over gRPC."""


@dataclass(frozen=True)
class Grant:
    """One request was let in; what is left of its bucket."""

    kind: Class
    burst: int
    rate: float
    remaining: int

    def headers(self) -> dict[str, str]:
        """Return the RateLimit fields (draft-ietf-httpapi-ratelimit-headers)."""
        window = max(1, round(self.burst / self.rate))
        refill = max(0, round((self.burst - self.remaining) / self.rate))
        return {
            "ratelimit-policy": f'"{self.kind}";q={self.burst};w={window}',
            "ratelimit": f'"{self.kind}";r={self.remaining};t={refill}',
        }


def class_of(route: Route) -> Class:
    """Return the rate class of a route."""
    if route.role != "public":
        return "player"
    return "public" if route.method == "GET" else "credentials"


class Limiter:
    """Lets requests in, or raises RateLimited."""

    def __init__(self, valkey: Valkey, setting: OptionalSetting) -> None:
        """Read `RATE_LIMIT_<CLASS>` settings of the form `<per second>/<burst>`, e.g. `50/100`."""
        self.sizes = {
            kind: _size(kind, setting(f"RATE_LIMIT_{kind.upper()}", f"{rate:g}/{burst}"))
            for kind, (rate, burst) in DEFAULTS.items()
        }
        self.valkey = valkey

    async def admit(self, kind: Class, who: str) -> dict[str, str]:
        """Take one token from the bucket of a user id or address; return the RateLimit fields.

        Raises RateLimited with the seconds to wait.
        """
        rate, burst = self.sizes[kind]
        try:
            remaining, wait_ms = await self.valkey.script(
                BUCKET, f"gateway:rate:{kind}:{who}", rate, burst
            )
        except ValkeyDown:
            return {}
        grant = Grant(kind, burst, rate, int(remaining))
        if wait_ms > 0:
            seconds = -(-int(wait_ms) // 1000)
            raise RateLimited(f"try again in {seconds} s", retry_after=seconds)
        return grant.headers()


def _size(kind: str, text: str) -> tuple[float, int]:
    rate, slash, burst = text.partition("/")
    try:
        size = (float(rate), int(burst))
    except ValueError:
        size = (0.0, 0)
    if not slash or size[0] <= 0 or size[1] < 1:
        raise DeclarationError(f"RATE_LIMIT_{kind.upper()} must look like 50/100, not {text!r}")
    return size


class ClientAddress:
    """Finds the address of a client: its peer's, unless the peer is a proxy that we trust."""

    def __init__(self, trusted: str) -> None:
        """Read `TRUSTED_PROXIES`, addresses or networks separated by commas."""
        try:
            self.networks = [
                ipaddress.ip_network(text.strip(), strict=False)
                for text in trusted.split(",")
                if text.strip()
            ]
        except ValueError as failure:
            raise DeclarationError(f"TRUSTED_PROXIES: {failure}") from failure

    def of(self, connection: ASGIConnection[Any, Any, Any, Any]) -> str:
        """Return the nearest address that is not a trusted proxy's; the far end may be forged."""
        peer = connection.client.host if connection.client else ""
        if not self.networks:
            return peer
        forwarded = connection.headers.get("x-forwarded-for", "").split(",")
        for hop in (peer, *(text.strip() for text in reversed(forwarded))):
            if not self._trusted(hop):
                return hop if _is_address(hop) else peer
        return peer

    def _trusted(self, text: str) -> bool:
        return _is_address(text) and any(
            ipaddress.ip_address(text) in network for network in self.networks
        )


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
