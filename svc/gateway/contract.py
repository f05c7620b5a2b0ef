"""gateway: the only door to the outside, for clients, webhooks, feeds and external callers.

The one module of this service that others may import.
"""

from datetime import datetime
from typing import Literal

from msgspec import Struct

from svc.mesh.contract import Call, Contract, Route
from svc.mesh.errors import Forbidden
from svc.mesh.types import Id, Reply, Request


class RoutesOf(Request, frozen=True, kw_only=True):
    """Which routes are served."""

    actor_id: Id | None = None


class ServedRoute(Struct, frozen=True, kw_only=True):
    """One route and the call behind it."""

    method: str
    path: str
    role: str
    subject: str


class Routes(Reply, frozen=True, kw_only=True):
    """All routes."""

    items: list[ServedRoute]


ROUTES = Call(
    "rpc.gateway.v1.routes", RoutesOf, Routes, "List the routes that clients reach.",
    refuses=(Forbidden,), idempotent=True,
    route=Route(
        method="GET", path="/v1/admin/gateway/routes", role="operator", tag="admin",
        from_token=("actor_id",),
    ),
)  # fmt: skip

Mark = Literal["ok", "never-seen", "undeclared"]
"""`never-seen`: declared, but no process has counted it; `undeclared`: seen, but nobody said so."""


class TopologyOf(Request, frozen=True, kw_only=True):
    """Who talks to whom."""

    actor_id: Id | None = None


class TopologyNode(Struct, frozen=True, kw_only=True):
    """A service, a system outside, or staff; `instances` of it that answered just now."""

    name: str
    kind: Literal["service", "outside", "staff"]
    instances: int
    versions: list[str]


class TopologyEdge(Struct, frozen=True, kw_only=True):
    """Who calls or tells whom what, in the last minute, next to whether that is declared.

    `kind` is `call` (named by its verb), `event` (by its type; its time is from event to effect) or
    `http` (by its target). `errors` counts by name, refusals too.
    """

    kind: str
    source: str
    target: str
    name: str
    declared: bool
    seen: bool
    mark: Mark
    rate_per_s: float
    errors_per_s: float
    errors: dict[str, int]
    in_flight: int
    mean_ms: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


class Topology(Reply, frozen=True, kw_only=True):
    """The map of the last `window_s` seconds; a younger process is counted since it began."""

    at: datetime
    window_s: float
    nodes: list[TopologyNode]
    edges: list[TopologyEdge]


TOPOLOGY = Call(
    "rpc.gateway.v1.topology", TopologyOf, Topology,
    "Show who talks to whom: declared, and seen in the last minute.",
    refuses=(Forbidden,), idempotent=True,
    route=Route(
        method="GET", path="/v1/admin/topology", role="operator", tag="admin",
        from_token=("actor_id",),
    ),
)  # fmt: skip

GATEWAY = Contract(
    name="gateway",
    version="1.0.0",
    purpose="The only door: HTTP, WebSocket, webhooks and gRPC.",
    answers=(ROUTES, TOPOLOGY),
)
