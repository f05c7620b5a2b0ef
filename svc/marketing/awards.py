"""Giving awards, using spin chances up and ending bonuses, inside a transaction."""

from datetime import datetime, timedelta

from svc.marketing import rules, store
from svc.marketing.contract import (
    BONUS_AWARDED,
    BONUS_CONVERTED,
    BONUS_EXPIRED,
    BonusAwarded,
    BonusConverted,
    BonusExpired,
    ConsumeSpin,
    NoSpinsLeft,
)
from svc.marketing.store import Award, Player, UsedSpin
from svc.mesh.context import Context
from svc.mesh.database import Tx
from svc.mesh.errors import NotFound

EXPIRED_AT_ONCE_MAX = 500
"""Awards that one job ends; what is left is taken by the next, a minute later."""
PLAYED_OUT_AFTER = timedelta(hours=1)
"""A round that still runs may win bonus money; so long none does."""


async def award(
    tx: Tx,
    player: Player,
    campaign: rules.Campaign,
    context: Context,
    *,
    amount: int,
    currency: str,
    deposit: int = 0,
) -> None:
    """Give a campaign's award to a locked player, once; excluded players get nothing.

    The award keeps the terms of its campaign, which for a bonus on a deposit may count that too.
    """
    now = context.now()
    if rules.is_excluded(player.excluded_until, now) or (not amount and not campaign.spins):
        return
    terms = campaign.wagering
    given = Award(
        award_id=context.new_id(),
        user_id=player.user_id,
        campaign=campaign.campaign,
        kind=campaign.kind,
        amount=amount,
        currency=currency,
        spins=campaign.spins,
        status="active",
        transfer_id=context.new_id(),
        awarded_at=now,
        expires_at=now + campaign.valid_for,
        product=terms and terms.product,
        odds_min=terms and terms.odds_min,
        wagering_required=rules.wagering_required(terms, amount, deposit) if terms else 0,
        max_conversion=terms and rules.max_conversion(terms, amount),
    )
    if not await store.insert_award(tx, given):
        return
    if campaign.spins:
        await store.grant_spins(tx, given, campaign.game_id, campaign.bet_size)
    after = await store.follow(tx, given.user_id, given.transfer_id) if amount else None
    await tx.publish(
        BONUS_AWARDED,
        BonusAwarded(
            award_id=given.award_id,
            user_id=given.user_id,
            campaign=given.campaign,
            kind=given.kind,
            amount=given.amount,
            currency=given.currency,
            spins=given.spins,
            transfer_id=given.transfer_id,
            expires_at=given.expires_at,
            after=after,
        ),
        subject=given.user_id,
    )


async def consume_spin(tx: Tx, request: ConsumeSpin, now: datetime) -> UsedSpin:
    """Use one spin chance up under its spin_id.

    Raises NoSpinsLeft when there is none for the game (or the player is excluded), NotFound when
    the spin_id was used for another player or game.
    """
    player = await store.lock_player(tx, request.user_id)
    before = await store.find_used_spin(tx, request.spin_id)
    if before is not None:
        if (before.user_id, before.game_id) != (request.user_id, request.game_id):
            raise NotFound("this spin_id belongs to another spin")
        return before
    taken = None
    if not rules.is_excluded(player.excluded_until, now):
        taken = await store.take_spin(tx, request.user_id, request.game_id, now)
    if taken is None:
        raise NoSpinsLeft(f"there is no spin chance left for {request.game_id}")
    left = await store.spins_left(tx, request.user_id, now)
    used = UsedSpin(
        user_id=request.user_id,
        game_id=request.game_id,
        bet_size=taken["bet_size"],
        currency=taken["currency"],
        remaining=left.get(request.game_id, 0),
    )
    award_id = str(taken["award_id"])
    await store.insert_used_spin(tx, request.spin_id, award_id, used, now)
    if taken["remaining"] == 0:
        await store.close_award(tx, award_id, "completed", now)
    return used


async def forfeit(tx: Tx, player: Player, before: datetime, context: Context) -> None:
    """End all money awards of a locked player that were given before a withdrawal.

    What was wagered as required is cash by then, or becomes it before the wallet comes to this.

    With the bonus its winnings go, which are bonus money too; cash never does. The wallet takes
    what is there, so more is named than may be left: what is still on its way is included.
    """
    given = await store.lock_money_awards(tx, player.user_id, before)
    left = max(player.bonus_balance or 0, sum(each.amount for each in given))
    for position, each in enumerate(given):
        first = left - sum(other.amount for other in given[1:])
        amount = each.amount if position else first
        await store.close_award(tx, each.award_id, "forfeited", context.now())
        await _take_back(tx, each, amount, context, forfeited=True)


async def convert(tx: Tx, award_id: str, context: Context) -> None:
    """Complete an award of a locked player that was wagered as required: it becomes cash.

    The wallet knows how much is left; what other bonuses of the player gave stays theirs.
    """
    given = await store.lock_award(tx, award_id)
    if given is None or given.max_conversion is None:
        return
    await store.close_award(tx, award_id, "completed", context.now())
    transfer_id = context.new_id()
    await tx.publish(
        BONUS_CONVERTED,
        BonusConverted(
            award_id=award_id,
            user_id=given.user_id,
            amount=given.max_conversion,
            kept=await store.other_bonuses(tx, given),
            currency=given.currency,
            transfer_id=transfer_id,
            expiry_transfer_id=context.new_id(),
            after=await store.follow(tx, given.user_id, transfer_id),
        ),
        subject=given.user_id,
    )


async def expire(tx: Tx, context: Context) -> None:
    """End awards whose time is over; the wallet takes back what is left of bonus money.

    A bonus of which nothing is left was played out: it is completed, not expired.
    """
    now = context.now()
    # Players first, in the order of their ids, as everybody locks them: then their awards.
    for user_id, award_id in sorted(await store.expired(tx, now, EXPIRED_AT_ONCE_MAX)):
        player = await store.lock_player(tx, user_id)
        given = await store.lock_award(tx, award_id)
        if given is None:
            continue
        if given.kind == "free_spins":
            await store.close_award(tx, award_id, "expired", now)
            continue
        newer = await store.newer_bonuses(tx, given)
        left = rules.left_of_bonus(given.amount, newer, player.bonus_balance)
        await store.close_award(tx, award_id, "expired" if left else "completed", now)
        if left:
            await _take_back(tx, given, left, context)
    await store.complete_played_out(tx, now, now - PLAYED_OUT_AFTER)


async def _take_back(
    tx: Tx, given: Award, amount: int, context: Context, *, forfeited: bool = False
) -> None:
    transfer_id = context.new_id()
    await tx.publish(
        BONUS_EXPIRED,
        BonusExpired(
            award_id=given.award_id,
            user_id=given.user_id,
            amount=amount,
            currency=given.currency,
            transfer_id=transfer_id,
            forfeited=forfeited,
            after=await store.follow(tx, given.user_id, transfer_id),
        ),
        subject=given.user_id,
    )
