"""Awards: a prize is stored and told in one transaction; the wallet credits what it hears."""

from svc.gaming import store
from svc.gaming.contract import PRIZE_AWARDED, PrizeAwarded, PrizeKind
from svc.mesh.database import Tx


async def award(
    tx: Tx,
    *,
    kind: PrizeKind,
    source_id: str,
    place: int,
    user_id: str,
    amount: int,
    currency: str,
) -> str:
    """Award one place of a source its prize, in minor units, and return the award's id."""
    context = tx.context
    prize = PrizeAwarded(
        award_id=context.new_id(),
        user_id=user_id,
        kind=kind,
        source_id=source_id,
        amount=amount,
        currency=currency,
        transfer_id=context.new_id(),
    )
    event_id = await tx.publish(PRIZE_AWARDED, prize, subject=prize.award_id)
    await store.insert_award(tx, prize, place, event_id, context.now())
    return prize.award_id
