"""What admins change: who has which role."""

from svc.identity import audit, sessions, store, users
from svc.identity.contract_security import SetRoles
from svc.mesh.context import Context
from svc.mesh.errors import Conflict
from svc.mesh.types import Empty


async def set_roles(request: SetRoles, context: Context) -> Empty:
    """Give a user exactly these roles; their sessions end, so no token tells of old ones.

    Raises NotFound, Forbidden, or Conflict for roles that this user cannot have.
    """
    async with context.transaction() as tx:
        await users.require_staff(tx, request.actor_id, "identity.set_roles")
        user = await users.locked(tx, request.user_id)
        roles: list[str] = sorted(set(request.roles))
        if request.actor_id == request.user_id:
            raise Conflict("nobody changes their own roles")
        if "player" in roles and user.phone is None:
            raise Conflict("a player needs a phone number and a date of birth")
        if roles == sorted(user.roles):
            return Empty()
        await store.set_roles(tx, request.user_id, roles)
        detail = f"{'+'.join(sorted(user.roles))} to {'+'.join(roles)}"
        await audit.note(
            tx, request.user_id, "roles-changed", actor_id=request.actor_id, detail=detail
        )
        await sessions.revoke_all(tx, request.user_id, "roles-changed")
        tx.after_commit(lambda: users.forget_profile(context, request.user_id))
    return Empty()
