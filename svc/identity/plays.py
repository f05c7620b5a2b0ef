"""Stake and loss limits over all products: counted in one place, under the lock of the player.

Only players who have such a limit are counted, so nobody else's play waits for this.
"""

from datetime import timedelta

from svc.identity import play_store, rules, store, users
from svc.identity.contract_limits import CountStake, StakesTold
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

    Stakes of one player stand in line here, so that two products never both see what is left.
    """
    async with context.transaction() as tx:
        await users.locked(tx, request.user_id)
        if await play_store.is_known(tx, request.stake_id):
            return Empty()
        limits = [each for each in await store.limits(tx, request.user_id) if each.kind in PLAYED]
        now = context.now()
        for limit in limits:
            since = now - rules.PERIODS[limit.period]
            staked, returned = await play_store.sums(tx, request.user_id, since)
            rules.check_play(limit, staked, returned, request.amount)
        await play_store.count(tx, request)
    return Empty()


async def told(event: CloudEvent[StakesTold], tx: Tx, context: Context) -> None:
    """Take in how stakes stand: the newest telling of each holds, in whatever order they come."""
    _ = context
    await play_store.take_in(tx, event.data.user_id, event.data.stakes, event.time)
