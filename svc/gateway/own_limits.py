"""Stakes of callers from outside, held against the limits that players have set for themselves.

The products have stakes counted by identity before they ask the wallet; who comes over gRPC asks no
product, so the door has it done. The transfer's id is the stake's: asked again, it counts once.
"""

from svc.identity import contract as identity
from svc.mesh.context import Context
from svc.mesh.errors import Conflict, NotFound, Refused, Unavailable
from svc.wallet import contract as wallet


async def deduct(context: Context, request: wallet.Transfer) -> wallet.Receipt:
    """Take money from a player, counted before if it is a stake.

    Raises identity's LimitExceeded, and what the wallet raises: after a refusal the stake is not
    counted any more, after an unknown outcome (Unavailable, TimedOut) it is until asked again.
    """
    if request.kind not in wallet.STAKES or not request.amount:
        return await context.call(wallet.DEDUCT_BALANCE, request)
    stake = identity.CountStake(
        user_id=request.user_id,
        stake_id=request.transfer_id,
        amount=request.amount,
        placed_at=context.now(),
    )
    try:
        await context.call(identity.COUNT_STAKE, stake)
    except NotFound:
        context.log.info("a stake of nobody who could have limits")
    try:
        return await context.call(wallet.DEDUCT_BALANCE, request)
    except Conflict:  # what was taken under this id with another body is counted
        raise
    except Refused:
        await _returned(context, identity.play.CountReturn(stake_id=request.transfer_id))
        raise


async def credit(context: Context, request: wallet.Transfer) -> wallet.Receipt:
    """Give money to a player; what is paid for a stake counts against their losses no more."""
    receipt = await context.call(wallet.CREDIT_BALANCE, request)
    if request.stake_transfer_id and request.kind in wallet.PAID_FOR_STAKES and request.amount:
        paid = identity.play.CountReturn(
            stake_id=request.stake_transfer_id,
            payment_id=request.transfer_id,
            amount=request.amount,
        )
        await _returned(context, paid)
    return receipt


async def rollback(context: Context, request: wallet.Rollback) -> wallet.Receipt:
    """Undo a transfer; a stake or a payment for one counts no more."""
    receipt = await context.call(wallet.ROLLBACK, request)
    await _returned(context, identity.play.CountReturn(stake_id=request.original_transfer_id))
    return receipt


async def _returned(context: Context, told: identity.play.CountReturn) -> None:
    """Tell identity what came back. Money has moved or not by then, so the answer is the wallet's.

    Untold, the player may stake less than they could, until the same is asked again.
    """
    try:
        await context.call(identity.play.COUNT_RETURN, told)
    except Unavailable as failure:
        context.log.warning("what came back of a stake is not counted", cause=failure.detail)
