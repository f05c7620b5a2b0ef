"""What events say is applied like what is asked, though nobody waits for the answer."""

from datetime import datetime

from svc.mesh.context import Context
from svc.mesh.database import Tx
from svc.mesh.errors import Refused, Unavailable
from svc.wallet import store
from svc.wallet.group import group_of
from svc.wallet.operations import Exclude, Operation


async def apply_heard(context: Context, *operations: Operation) -> None:
    """Apply what an event says; nobody waits for a refusal, so it is stored and logged.

    It is committed with what others ask, before the event's own transaction: the transfer's id
    makes it happen once, should the event come again because that one failed.
    """
    group = group_of(context)
    if group.has_written(operations[0].transfer_id):
        return  # most payouts of bets: the sportsbook asked for them in bulk
    answers = await group.apply(operations, [context] * len(operations))
    for operation, answer in zip(operations, answers, strict=True):
        if isinstance(answer, Refused):
            context.log.warning(
                "an event was refused",
                transfer_id=operation.transfer_id,
                refusal=answer.name,
                detail=answer.detail,
            )


async def exclude(tx: Tx, user_id: str, until: datetime) -> None:
    """Let no stake of a player be taken until an instant; a shorter exclusion changes nothing.

    Raises Unavailable while the player has no wallet: the event comes again then, so that a
    wallet which is opened later is excluded too.
    """
    context = tx.context
    if until <= context.now():
        return
    known = (await store.wallets(tx.connection, [user_id])).get(user_id)
    if known is None:
        raise Unavailable("the wallet to exclude from play is not open yet")
    if known.excluded_until is not None and known.excluded_until >= until:
        return
    # An id of its own: what is refused, because others do not see the wallet yet, is so for ever.
    wanted = Exclude(transfer_id=context.new_id(), user_id=user_id, until=until)
    [answer] = await group_of(context).apply([wanted], [context])
    if isinstance(answer, Refused):
        raise Unavailable(f"not excluded from play yet: {answer.detail}")
