"""localization: translations, plurals and formats, over plain HTTP with ETags.

The one module of this service that others may import.
"""

from svc.mesh.contract import Call, Contract, Route
from svc.mesh.errors import Forbidden
from svc.mesh.types import Id, Reply, Request


class MissingOf(Request, frozen=True, kw_only=True):
    """Which keys were asked for and not found."""

    actor_id: Id | None = None


class Missing(Reply, frozen=True, kw_only=True):
    """What was asked for since the instance started.

    `missing` counts bundles asked for in vain, by `<locale>/<namespace>`; `requests` counts
    bundles served, by `<caller>/<namespace>`.
    """

    missing: dict[str, int]
    requests: dict[str, int]


MISSING = Call(
    "rpc.localization.v1.missing", MissingOf, Missing, "List what is not translated.",
    refuses=(Forbidden,), idempotent=True,
    route=Route(
        method="GET", path="/v1/admin/localization/missing", role="operator", tag="admin",
        from_token=("actor_id",),
    ),
)  # fmt: skip

LOCALIZATION = Contract(
    name="localization",
    version="1.0.0",
    purpose="Translations, plural and currency rules, over plain HTTP.",
    answers=(MISSING,),
    http=True,
)
