"""What identity offers around a session's and an account's safety; contract.py names it all."""

from datetime import datetime

from svc.mesh.context import Context
from svc.mesh.contract import Call
from svc.mesh.errors import NotFound, Unavailable
from svc.mesh.types import Empty, Id, Request

MONEY_SERVICES = ("sportsbook", "casino", "payment")
"""Where a player's money is put at risk or paid in: each confirms that an exclusion holds there."""


class ConfirmExclusion(Request, frozen=True, kw_only=True):
    """The calling service takes nothing of a player any more, until that instant."""

    user_id: Id
    until: datetime


CONFIRM_EXCLUSION = Call(
    "rpc.identity.v1.confirm_exclusion", ConfirmExclusion, Empty,
    "Say that an exclusion holds where money moves.",
    callers=MONEY_SERVICES, refuses=(NotFound,), idempotent=True,
)  # fmt: skip


async def confirm_exclusion(context: Context, user_id: str, until: datetime) -> None:
    """Tell identity, after the commit that keeps an exclusion, that it holds in this service.

    The player's answer waits for this. Lost, it is asked for again: identity tells of the
    exclusion anew when the player does.
    """
    try:
        await context.call(CONFIRM_EXCLUSION, ConfirmExclusion(user_id=user_id, until=until))
    except (NotFound, Unavailable) as failure:
        context.log.info("exclusion not confirmed", cause=failure.detail)
