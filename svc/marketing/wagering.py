"""Wagering: what settled stakes count for, until a bonus becomes cash.

Of a stake only the last word counts, by event time, however the words arrive. What counted for a
bonus that has become cash, or has ended, stays as it was.
"""

from datetime import datetime
from decimal import Decimal

from svc.marketing import awards, rules, store, wagering_store
from svc.marketing.rules import Product
from svc.mesh.context import Context
from svc.mesh.database import Tx


async def settle(
    tx: Tx,
    product: Product,
    reference: str,
    user_id: str,
    *,
    amount: int,
    at: datetime,
    context: Context,
    odds: Decimal | None = None,
) -> None:
    """Let a stake of a locked player, settled at an instant, count once, as `amount` minor units.

    The oldest open bonus of the product comes first, and what is more than it needs goes to the
    next. Nothing counts while a player is excluded.
    """
    found = await wagering_store.lock_open(tx, user_id, product, at) if amount else []
    if not found:
        return
    player = await store.find_player(tx, user_id)
    if player is None or rules.is_excluded(player.excluded_until, at):
        return
    stands = 0
    known = await wagering_store.find_wager(tx, product, reference)
    if known is not None:
        said_at, counts, bought_back, stands = known
        if counts or bought_back or said_at > at:
            return
    await wagering_store.set_wager(tx, product, reference, user_id, at, counts=True)
    for award, part in rules.spread(amount - stands, odds, found):
        await wagering_store.count(tx, product, reference, award.award_id, part)
        if part == award.missing:
            await awards.convert(tx, award.award_id, context)


async def take_back(
    tx: Tx, product: Product, reference: str, user_id: str, *, at: datetime,
    bought_back: bool = False,
) -> None:  # fmt: skip
    """Let a stake of a locked player count no more: voided, open again, or bought back.

    A settlement of the same instant is the newer word: a bet is taken back and settled at once.
    """
    known = await wagering_store.find_wager(tx, product, reference)
    if known is not None and known[0] >= at and not bought_back:
        return
    await wagering_store.take_back(tx, product, reference)
    await wagering_store.set_wager(
        tx, product, reference, user_id, at, counts=False, bought_back=bought_back
    )
