"""Stake and loss limits over all products: counted in one place, under the lock of the player.

Of the products only players who have such a limit are counted, so nobody else's play waits for
this. The gRPC door, which keeps nothing, has every stake counted that comes from outside.
"""

from datetime import timedelta

from svc.identity import play_store, rules, store, users
from svc.identity.contract_limits import CountReturn, CountStake, StakesTold
from svc.mesh.context import Context
from svc.mesh.database import Tx
from svc.mesh.envelope import CloudEvent
from svc.mesh.types import Empty

KEPT = timedelta(days=31)
"""Longer than the longest window of a limit."""
PLAYED = frozenset({"stake", "loss"})
"""The limits on play; deposits are counted where they are made."""


async def count(request: CountStake, context: Context) -> Empty:
    """Count a stake, once under its id; raises NotFound, and LimitExceeded above any limit.

    Stakes of one player stand in line here, so that two products never both see what is left. Who
    asks again for more than was counted has the difference counted; what came back stays back.
    """
    async with context.transaction() as tx:
        await users.locked(tx, request.user_id)
        known = await play_store.staked(tx, request.user_id, request.stake_id)
        if known is not None and (known == 0 or known >= request.amount):
            return Empty()
        further = request.amount - (known or 0)
        limits = [each for each in await store.limits(tx, request.user_id) if each.kind in PLAYED]
        now = context.now()
        for limit in limits:
            since = now - rules.PERIODS[limit.period]
            staked, returned = await play_store.sums(tx, request.user_id, since)
            rules.check_play(limit, staked, returned, further)
        await play_store.count(tx, request)
    return Empty()


async def count_return(request: CountReturn, context: Context) -> Empty:
    """Count what was paid for a stake, or that it is back; one that was never counted is not."""
    async with context.transaction() as tx:
        if request.payment_id is None:
            await play_store.take_back(tx, request.stake_id)
        else:
            await play_store.count_return(
                tx, request.stake_id, request.payment_id, request.amount, context.now()
            )
    return Empty()


async def told(event: CloudEvent[StakesTold], tx: Tx, context: Context) -> None:
    """Take in how stakes stand: the newest telling of each holds, in whatever order they come."""
    _ = context
    await play_store.take_in(tx, event.data.user_id, event.data.stakes, event.time)
