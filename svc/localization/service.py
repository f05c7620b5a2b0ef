"""localization, as the mesh runs it: one call for staff; the texts go over plain HTTP (http.py)."""

from svc.identity import contract as identity
from svc.localization.catalogue import catalogue
from svc.localization.contract import LOCALIZATION, MISSING, Missing, MissingOf
from svc.localization.usage import usage
from svc.mesh.context import Context
from svc.mesh.service import Service

localization = Service(LOCALIZATION, calls=(identity.AUTHORIZE,))


@localization.answers(MISSING)
async def missing(request: MissingOf, context: Context) -> Missing:
    """Tell what was asked for in vain and who asks for what, since this instance started."""
    await identity.require_permission(context, request.actor_id, "localization.missing")
    return Missing(missing=dict(usage.missing), requests=dict(usage.requests))


@localization.on_start
async def check_bundles(context: Context) -> None:
    """Read all bundles before anybody asks; mistakes in them end the start with their list."""
    context.log.info("bundles are complete", namespaces=catalogue().namespaces)
