"""Rate limits: token buckets in Valkey, each filled and emptied by one atomic script (valkey.py).

A bucket belongs to a user, or to a client address where nobody is logged in; the class of the route
decides its size. While Valkey is down nothing is limited: the door stays open (availability first,
the services keep their own rules).
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any, Literal

from svc.gateway.answers import RateLimited
from svc.gateway.valkey import Said, Valkey, ValkeyDown
from svc.mesh.errors import DeclarationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from svc.mesh.contract import Route

    OptionalSetting = Callable[[str, str], str]

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


class Bucket:
    """The bucket that one request takes its token from."""

    __slots__ = ("burst", "kind", "name", "rate")

    def __init__(self, kind: Class, who: str, rate: float, burst: int) -> None:
        """Name the bucket of a user id or address; it gets `rate` tokens a second."""
        self.kind = kind
        self.name = f"gateway:rate:{kind}:{who}"
        self.rate = rate
        self.burst = burst

    def let_in(self, said: Said) -> dict[str, str]:
        """Return the RateLimit fields (draft-ietf-httpapi-ratelimit-headers).

        Raises RateLimited with the seconds to wait.
        """
        if said.wait_ms > 0:
            seconds = -(-said.wait_ms // 1000)
            raise RateLimited(f"try again in {seconds} s", retry_after=seconds)
        rate, burst = self.rate, self.burst
        window = max(1, round(burst / rate))
        refill = max(0, round((burst - said.left) / rate))
        return {
            "ratelimit-policy": f'"{self.kind}";q={burst};w={window}',
            "ratelimit": f'"{self.kind}";r={said.left};t={refill}',
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

    def bucket(self, kind: Class, who: str) -> Bucket:
        """Return the bucket of a user id or address."""
        rate, burst = self.sizes[kind]
        return Bucket(kind, who, rate, burst)

    async def admit(self, kind: Class, who: str) -> dict[str, str]:
        """Take one token from the bucket of a user id or address; return the RateLimit fields.

        Raises RateLimited with the seconds to wait.
        """
        bucket = self.bucket(kind, who)
        try:
            said = await self.valkey.ask((bucket.name,), "take", bucket.rate, bucket.burst)
        except ValkeyDown:
            return {}
        return bucket.let_in(said)


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

    def of(self, scope: Mapping[str, Any]) -> str:
        """Return the nearest address that is not a trusted proxy's; the far end may be forged.

        `scope` is the request's, as ASGI has it. A proxy may add to the client's line or write one
        of its own below: together they are one list (RFC 9110, 5.3).
        """
        client = scope.get("client")
        peer: str = client[0] if client else ""
        if not self.networks:
            return peer
        pairs: Iterable[tuple[bytes, bytes]] = scope["headers"]
        lines = [value for name, value in pairs if name == b"x-forwarded-for"]
        forwarded = b",".join(lines).decode("latin-1").split(",")
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
