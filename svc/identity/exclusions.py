"""Exclusions: kept here, confirmed by each service where money moves, answered only then.

A bet, a round or a deposit that is on its way is decided under the lock of its player's row in the
service that takes it, and so is the exclusion; whichever is second sees the other. So once all have
confirmed, nothing can be accepted any more, and none of them ever had to ask identity.
"""

import asyncio
from datetime import datetime

from svc.identity import audit, rules, store, users
from svc.identity.contract import SELF_EXCLUDED, Profile, SelfExcludedData
from svc.identity.contract_security import MONEY_SERVICES, ConfirmExclusion
from svc.mesh.context import Context
from svc.mesh.database import Tx
from svc.mesh.errors import Forbidden, Unavailable

CONFIRMED_WITHIN_S = 3.5
"""How long an answer waits for confirmations; below the calls' deadline of five seconds."""
LOOKED_AT_EVERY_S = 0.02


async def exclude(context: Context, user_id: str, until: datetime, *, time_out: bool) -> Profile:
    """Exclude a player until an instant, or longer where they are already, everywhere.

    Raises NotFound, Forbidden for staff who never were players, and Unavailable when a service has
    not confirmed yet: the exclusion is kept then and reaches that service before anything else of
    the player's does; asking again waits for the confirmation.
    """
    async with context.transaction() as tx:
        user = await users.locked(tx, user_id)
        if user.phone is None:  # without one nobody is a player, so no service could confirm it
            raise Forbidden("only players can be excluded from play")
        longer = rules.longer_exclusion(user.excluded_until, until)
        if longer is not None:
            await store.exclude(tx, user_id, longer)
            kind = "time-out" if time_out else "self-exclusion"
            await audit.note(tx, user_id, kind, detail=f"until {longer.isoformat()}")
        holds = longer or user.excluded_until or until
        waiting = await _unconfirmed(tx, user_id, holds)
        if longer is not None or waiting:
            excluded = SelfExcludedData(user_id=user_id, until=holds, time_out=time_out)
            await tx.publish(SELF_EXCLUDED, excluded, subject=user_id)
        profile = await users.changed_profile(tx, user_id)
    await _confirmed(context, user_id, holds)
    return profile


async def confirm(request: ConfirmExclusion, context: Context) -> None:
    """Note that the calling service takes nothing of a player until an instant; may be repeated."""
    async with context.transaction() as tx:
        await users.found(tx, request.user_id)
        await store.confirm_exclusion(tx, request.user_id, context.caller, request.until)


async def _unconfirmed(tx: Tx, user_id: str, until: datetime) -> list[str]:
    wanted = tx.context.runtime.settings.get("EXCLUSION_CONFIRMED_BY", ",".join(MONEY_SERVICES))
    names = [] if wanted == "none" else [name.strip() for name in wanted.split(",")]
    confirmed = await store.exclusion_confirmed_by(tx, user_id, until)
    return [name for name in names if name not in confirmed]


async def _confirmed(context: Context, user_id: str, until: datetime) -> None:
    """Wait until every service has confirmed; another instance may be the one that was told."""
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + CONFIRMED_WITHIN_S
    while True:
        async with context.transaction() as tx:
            waiting = await _unconfirmed(tx, user_id, until)
        if not waiting:
            return
        if loop.time() >= give_up_at:
            raise Unavailable(
                "the exclusion is kept and will not be lost; not yet confirmed by "
                f"{', '.join(waiting)}: ask again to be told when it is",
                retry_after=2,
            )
        await asyncio.sleep(LOOKED_AT_EVERY_S)
