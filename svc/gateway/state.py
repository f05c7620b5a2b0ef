"""What one running gateway holds in memory, shared by its HTTP, WebSocket and gRPC sides."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from svc import catalogue
from svc.gateway.access import Access, Holder
from svc.gateway.binding import Form, forms
from svc.gateway.idempotency import Idempotency
from svc.gateway.limits import Class, ClientAddress, Limiter
from svc.gateway.live import Hub
from svc.gateway.valkey import Valkey
from svc.mesh.context import Context
from svc.mesh.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from msgspec import Struct

    from svc.mesh.contract import Call, Contract
    from svc.mesh.runtime import Runtime

ENVELOPE_BYTES = 16 * 1024
"""What the gateway adds to a body at most: ids, headers, the address."""


class Gateway:
    """One running gateway."""

    def __init__(self, runtime: Runtime, contracts: Iterable[Contract]) -> None:
        """Derive everything from the contracts; nothing is connected yet."""
        self.runtime = runtime
        self.contracts = tuple(contracts)
        self.forms: list[Form] = forms(self.contracts)
        self.log: Any = runtime.log
        self.access = Access(runtime.clock)
        self.valkey = Valkey(runtime.own_redis)
        self.limiter = Limiter(self.valkey, self.setting)
        self.idempotency = Idempotency(self.valkey)
        self.address = ClientAddress(self.setting("TRUSTED_PROXIES", ""))
        self.hub = Hub(lambda: runtime.connection)
        self.closing: list[Callable[[], Awaitable[object]]] = []
        """What the end of the service closes, last opened first."""
        self.url = self.setting("GATEWAY_URL", "").rstrip("/")

    def setting(self, name: str, default: str) -> str:
        """Return a setting that need not be given."""
        return self.runtime.settings.get(name, default)

    def body_max(self, wanted: int, growth: float = 1.0) -> int:
        """Return how many bytes a body may have: what is wanted, cut by what NATS carries.

        `growth` is how much longer the body becomes in the message (base64: 4/3).
        """
        return min(wanted, int((self.runtime.connection.max_payload - ENVELOPE_BYTES) / growth))

    async def admit(
        self, kind: Class, holder: Holder | None, scope: Mapping[str, Any]
    ) -> dict[str, str]:
        """Take one token from the bucket of the user or address; raises RateLimited."""
        who = holder.user_id if holder else self.address.of(scope)
        return await self.limiter.admit(kind, who)

    async def ask(
        self,
        call: Call[Struct, Struct],
        body: bytes,
        *,
        correlation_id: str = "",
        traceparent: str = "",
        wait_s: float | None = None,
    ) -> bytes:
        """Send an encoded request and return the encoded answer, as it came.

        Raises what Context.call raises.
        """
        if not self.runtime.connection.is_connected:
            raise Unavailable("the gateway is not connected to NATS")
        context = Context(self.runtime, correlation_id=correlation_id, traceparent=traceparent)
        wanted_s = call.deadline_ms / 1000
        wait = wanted_s if wait_s is None else min(wait_s, wanted_s)
        context.deadline = time.time() + wait
        return await self.runtime.caller.call_raw(call, body, wait, context)


_gateways: WeakKeyDictionary[Runtime, Gateway] = WeakKeyDictionary()


def gateway_of(runtime: Runtime) -> Gateway:
    """Return the gateway of a runtime, made at first use."""
    if runtime not in _gateways:
        _gateways[runtime] = Gateway(runtime, catalogue.contracts())
    return _gateways[runtime]


def running_gateways() -> list[Gateway]:
    """Return every gateway that runs in this process."""
    return [gateway for runtime, gateway in _gateways.items() if runtime.ready]
