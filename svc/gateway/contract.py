"""gateway: the only door to the outside, for clients, webhooks, feeds and external callers.

The one module of this service that others may import.
"""

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

GATEWAY = Contract(
    name="gateway",
    version="1.0.0",
    purpose="The only door: HTTP, WebSocket, webhooks and gRPC.",
    answers=(ROUTES,),
)
