"""What marketing decides about bonus money, applied in the order in which it was decided."""

from svc.marketing import contract as marketing
from svc.mesh.context import Context
from svc.mesh.database import Tx
from svc.mesh.errors import Unavailable
from svc.mesh.types import AMOUNT_MAX
from svc.wallet import store
from svc.wallet.group import group_of
from svc.wallet.heard import apply_heard
from svc.wallet.operations import Credit, Deduct, EndBonus


async def credit(award: marketing.BonusAwarded, tx: Tx, context: Context) -> None:
    """Credit an award; spin chances are not money: marketing keeps them."""
    if award.kind == "free_spins":
        return
    await _wait_for(award.after, tx)
    await apply_heard(
        context,
        Credit(
            transfer_id=award.transfer_id,
            user_id=award.user_id,
            amount=award.amount,
            currency=award.currency,
            kind="bonus",
            reference=award.award_id,
            into=award.kind,
        ),
    )


async def expire(bonus: marketing.BonusExpired, tx: Tx, context: Context) -> None:
    """Take back what is left of a bonus."""
    await _wait_for(bonus.after, tx)
    await apply_heard(
        context,
        Deduct(
            transfer_id=bonus.transfer_id,
            user_id=bonus.user_id,
            amount=bonus.amount,
            currency=bonus.currency,
            kind="bonus_expiry",
            reference=bonus.award_id,
        ),
    )


async def convert(bonus: marketing.BonusConverted, tx: Tx, context: Context) -> None:
    """Turn what is left of a bonus into cash, and take back what is above its cap.

    Both are decided on the balance of that moment, and nothing comes between them.
    """
    await _wait_for(bonus.after, tx)
    into_cash = EndBonus(
        transfer_id=bonus.transfer_id,
        user_id=bonus.user_id,
        amount=bonus.amount,
        kept=bonus.kept,
        currency=bonus.currency,
        kind="bonus_conversion",
        reference=bonus.award_id,
    )
    above = EndBonus(
        transfer_id=bonus.expiry_transfer_id,
        user_id=bonus.user_id,
        amount=AMOUNT_MAX,
        kept=bonus.kept,
        currency=bonus.currency,
        kind="bonus_expiry",
        reference=bonus.award_id,
    )
    await apply_heard(context, into_cash, above)


async def _wait_for(transfer_id: str | None, tx: Tx) -> None:
    """Raise Unavailable until a transfer is decided: the event comes again then."""
    if transfer_id is None or group_of(tx.context).has_written(transfer_id):
        return
    if not await store.transfers(tx.connection, [transfer_id], ()):
        raise Unavailable("what was decided before about the player's bonus money is not here yet")
