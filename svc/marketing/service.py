"""marketing, as the mesh runs it: what it hears and calls, then one handler for each."""

from decimal import Decimal
from fractions import Fraction

from svc.casino import contract as casino
from svc.identity import contract as identity
from svc.marketing import awards, loyalty as points, loyalty_store, rules, store, wagering
from svc.marketing.contract import (
    BONUSES,
    CAMPAIGNS,
    CONSUME_SPIN,
    LOYALTY,
    MARKETING,
    SPINS,
    Bonus,
    Bonuses,
    Campaign,
    Campaigns,
    CampaignsOf,
    ConsumeSpin,
    Loyalty,
    OfPlayer,
    SpinConsumed,
    Spins,
)
from svc.mesh.context import Context
from svc.mesh.database import Tx
from svc.mesh.envelope import CloudEvent
from svc.mesh.service import Hear, Service
from svc.payment import contract as payment
from svc.scheduler import contract as scheduler
from svc.sportsbook import contract as sportsbook
from svc.wallet import contract as wallet

EXPIRE_BONUSES = "expire-bonuses"
CAMPAIGNS_KEPT_S = 5


def _is_ours(job: scheduler.JobDue) -> bool:
    return job.service == "marketing"


marketing = Service(
    MARKETING,
    hears=(
        Hear(identity.USER_REGISTERED, "award spin chances and the welcome bonus"),
        Hear(identity.PROFILE_UPDATED, "keep language and consent"),
        Hear(identity.SELF_EXCLUDED, "award nothing more"),
        Hear(sportsbook.BET_PLACED, "note the pending loyalty points"),
        Hear(
            sportsbook.BET_SETTLED, "give the loyalty points of the stake, and count it as wagered"
        ),
        Hear(sportsbook.BET_CANCELLED, "take loyalty points back, and what was wagered"),
        Hear(sportsbook.BET_ROLLED_BACK, "take loyalty points back, and what was wagered"),
        Hear(
            sportsbook.BET_CASHED_OUT,
            "never count the stake as wagered; sold whole, it earns nothing",
        ),
        Hear(payment.PAYMENT_SUCCESS, "award the bonus on the first deposit"),
        Hear(payment.WITHDRAWAL_REQUESTED, "let bonuses that are not wagered be forfeited"),
        Hear(casino.CASINO_PAYOUT_COMPLETE, "give the loyalty points, and count as wagered"),
        Hear(wallet.BALANCE_CHANGED, "see when a bonus is credited and played out"),
        Hear(scheduler.JOB_DUE, "let bonuses expire", only=_is_ours),
    ),
    calls=(identity.AUTHORIZE,),
    asks=(scheduler.JOB_REQUESTED,),
    database=True,
    cache=True,
    localizes=("marketing",),
)


@marketing.answers(BONUSES)
async def bonuses(request: OfPlayer, context: Context) -> Bonuses:
    """List the player's awards, named in the player's language."""
    async with context.transaction() as tx:
        player = await store.find_player(tx, request.user_id)
        found = await store.awards_of(tx, request.user_id)
    locale = player.locale if player else "en"
    return Bonuses(
        items=[
            Bonus(
                award_id=award.award_id,
                campaign=award.campaign,
                name=await context.localizer.text(
                    locale, "marketing", f"campaign.{award.campaign}"
                ),
                kind=award.kind,
                amount=award.amount,
                currency=award.currency,
                spins=award.spins,
                status=award.status,
                awarded_at=award.awarded_at,
                expires_at=award.expires_at,
                product=award.product,
                wagering_required=award.wagering_required,
                wagered=award.wagered,
            )
            for award in found
        ]
    )


@marketing.answers(LOYALTY)
async def loyalty(request: OfPlayer, context: Context) -> Loyalty:
    """Tell points and tier; somebody without stakes has none and stands at the bottom."""
    async with context.transaction() as tx:
        player = await store.find_player(tx, request.user_id)
        pending = await loyalty_store.pending_points(tx, request.user_id)
    current, tier = (player.points, player.tier) if player else (0, rules.TIERS[0].name)
    above = rules.next_tier(current, tier)
    return Loyalty(
        points=current,
        pending=pending,
        tier=tier,
        next_tier=above[0] if above else None,
        points_to_next=above[1] if above else None,
    )


@marketing.answers(SPINS)
async def spins(request: OfPlayer, context: Context) -> Spins:
    """Count the player's spin chances by game."""
    async with context.transaction() as tx:
        by_game = await store.spins_left(tx, request.user_id, context.now())
    return Spins(remaining=sum(by_game.values()), by_game=by_game)


@marketing.answers(CONSUME_SPIN)
async def consume_spin(request: ConsumeSpin, context: Context) -> SpinConsumed:
    """Use one chance up, atomically; the same spin_id again gets the same answer."""
    async with context.transaction() as tx:
        used = await awards.consume_spin(tx, request, context.now())
    return SpinConsumed(
        spin_id=request.spin_id,
        bet_size=used.bet_size,
        currency=used.currency,
        remaining=used.remaining,
    )


@marketing.answers(CAMPAIGNS)
async def campaigns(request: CampaignsOf, context: Context) -> Campaigns:
    """List campaigns and their cost; the sums may be some seconds old."""
    await identity.require_permission(context, request.actor_id, "marketing.campaigns")

    async def load() -> Campaigns:
        async with context.transaction() as tx:
            totals = await store.campaign_totals(tx)
        running = {campaign.campaign for campaign in rules.CAMPAIGNS}
        items: list[Campaign] = []
        for name in sorted(running | totals.keys()):
            total = totals.get(name)
            items.append(
                Campaign(
                    campaign=name,
                    name=await context.localizer.text("en", "marketing", f"campaign.{name}"),
                    active=name in running,
                    awards=total.awards if total else 0,
                    amount=total.amount if total else 0,
                    spins=total.spins if total else 0,
                )
            )
        return Campaigns(items=items)

    return await context.cache.read_through("campaigns", Campaigns, load, ttl_s=CAMPAIGNS_KEPT_S)


@marketing.hears(identity.USER_REGISTERED)
async def welcome(event: CloudEvent[identity.UserRegistered], tx: Tx, context: Context) -> None:
    """Award what the welcome campaign gives: spin chances and a bonus amount."""
    user = event.data
    player = await store.lock_player(tx, user.user_id)
    await store.set_profile(tx, user.user_id, user.locale, user.marketing_opt_in)
    for campaign in (rules.WELCOME_SPINS, rules.WELCOME_BONUS):
        await awards.award(
            tx, player, campaign, context, amount=campaign.amount, currency=user.currency
        )


@marketing.hears(identity.PROFILE_UPDATED)
async def keep_profile(
    event: CloudEvent[identity.ProfileUpdated], tx: Tx, _context: Context
) -> None:
    """Keep language and consent."""
    await store.lock_player(tx, event.data.user_id)
    await store.set_profile(tx, event.data.user_id, event.data.locale, event.data.marketing_opt_in)


@marketing.hears(identity.SELF_EXCLUDED)
async def exclude(event: CloudEvent[identity.SelfExcludedData], tx: Tx, _context: Context) -> None:
    """Award nothing until the exclusion ends; what was awarded before stays."""
    await store.lock_player(tx, event.data.user_id)
    await store.set_excluded(tx, event.data.user_id, event.data.until)


@marketing.hears(sportsbook.BET_PLACED)
async def note_stake(event: CloudEvent[sportsbook.BetPlaced], tx: Tx, _context: Context) -> None:
    """Note the points that the stake will earn when it is settled."""
    bet = event.data
    await points.note(tx, "sportsbook", bet.bet_id, bet.user_id, bet.stake)


@marketing.hears(sportsbook.BET_SETTLED)
async def settle_stake(event: CloudEvent[sportsbook.BetSettled], tx: Tx, context: Context) -> None:
    """Give the points of a settled stake, and count it as wagered; a void one earns nothing."""
    bet = event.data
    stake = 0 if bet.result == "void" else bet.stake
    await points.decide(tx, "sportsbook", bet.bet_id, bet.user_id, stake=stake, at=event.time)
    if bet.result in ("void", "cashed_out"):
        await wagering.take_back(tx, "sportsbook", bet.bet_id, bet.user_id, at=event.time)
    elif not bet.free:  # a free bet's stake is the house's
        await wagering.settle(
            tx, "sportsbook", bet.bet_id, bet.user_id, amount=bet.stake, at=event.time,
            context=context, odds=Decimal(bet.odds),
        )  # fmt: skip


@marketing.hears(sportsbook.BET_CANCELLED)
async def cancel_stake(
    event: CloudEvent[sportsbook.BetCancelled], tx: Tx, _context: Context
) -> None:
    """Take the points of a voided bet back, those that it had earned already included."""
    bet = event.data
    await points.decide(tx, "sportsbook", bet.bet_id, bet.user_id, stake=0, at=event.time)
    await wagering.take_back(tx, "sportsbook", bet.bet_id, bet.user_id, at=event.time)


@marketing.hears(sportsbook.BET_ROLLED_BACK)
async def reopen_stake(
    event: CloudEvent[sportsbook.BetRolledBack], tx: Tx, _context: Context
) -> None:
    """Take points back and count no more as wagered: the bet is open again, or settled at once."""
    bet = event.data
    await points.reopen(tx, "sportsbook", bet.bet_id, bet.user_id, at=event.time)
    await wagering.take_back(tx, "sportsbook", bet.bet_id, bet.user_id, at=event.time)


@marketing.hears(sportsbook.BET_CASHED_OUT)
async def buy_back_stake(
    event: CloudEvent[sportsbook.BetCashedOut], tx: Tx, _context: Context
) -> None:
    """Never count the stake of a bet that was bought back, were it a part of it.

    One that was bought back whole is never settled, so it earns no points, and is open no more.
    """
    bet = event.data
    await store.lock_player(tx, bet.user_id)
    if bet.whole:
        await points.decide(tx, "sportsbook", bet.bet_id, bet.user_id, stake=0, at=event.time)
    await wagering.take_back(
        tx, "sportsbook", bet.bet_id, bet.user_id, at=event.time, bought_back=True
    )


@marketing.hears(payment.PAYMENT_SUCCESS)
async def award_deposit_bonus(
    event: CloudEvent[payment.PaymentSuccess], tx: Tx, context: Context
) -> None:
    """Award 100 % of the first deposit as bonus money, up to the campaign's amount."""
    deposit = event.data
    if not deposit.first:
        return
    player = await store.lock_player(tx, deposit.user_id)
    if player.withdrew_at is not None and event.time <= player.withdrew_at:
        return  # the withdrawal that came after the deposit was heard first: nothing is left to win
    amount = rules.deposit_bonus(deposit.amount)
    await awards.award(
        tx, player, rules.DEPOSIT_BONUS, context, amount=amount, currency=deposit.currency,
        deposit=rules.rewarded(deposit.amount),
    )  # fmt: skip


@marketing.hears(payment.WITHDRAWAL_REQUESTED)
async def forfeit_bonuses(
    event: CloudEvent[payment.WithdrawalRequested], tx: Tx, context: Context
) -> None:
    """End the bonuses that are not played out: who withdraws before gives them up."""
    player = await store.lock_player(tx, event.data.user_id)
    await store.note_withdrawal(tx, player.user_id, event.time)
    await awards.forfeit(tx, player, event.time, context)


@marketing.hears(casino.CASINO_PAYOUT_COMPLETE)
async def settle_round(
    event: CloudEvent[casino.CasinoPayoutComplete], tx: Tx, context: Context
) -> None:
    """Give the points of a round's stake, won or lost, and count it as its game is weighted."""
    played = event.data
    await points.decide(
        tx, "casino", played.round_id, played.user_id, stake=played.stake, at=event.time
    )
    weight = rules.GAME_WEIGHTS.get(played.game_id, Fraction(0))
    await wagering.settle(
        tx, "casino", played.round_id, played.user_id, amount=rules.counted(played.stake, weight),
        at=event.time, context=context,
    )  # fmt: skip


@marketing.hears(wallet.BALANCE_CHANGED)
async def follow_balance(
    event: CloudEvent[wallet.BalanceChanged], tx: Tx, _context: Context
) -> None:
    """See when a bonus is credited, and how much bonus money there is."""
    change = event.data
    await store.lock_player(tx, change.user_id)
    await store.mark_credited(tx, change.transfer_id, event.time)
    await store.set_bonus_balance(tx, change.user_id, change.bonus, event.time)


@marketing.hears(scheduler.JOB_DUE)
async def run_job(event: CloudEvent[scheduler.JobDue], tx: Tx, context: Context) -> None:
    """End bonuses whose time is over, or of which nothing has been left for a while."""
    if event.data.name == EXPIRE_BONUSES:
        await awards.expire(tx, context)


@marketing.on_start
async def ask_for_jobs(context: Context) -> None:
    """Ask to be woken each minute, so that a bonus expires within a minute of its time."""
    async with context.transaction() as tx:
        await tx.publish(
            scheduler.JOB_REQUESTED,
            scheduler.JobRequested(service="marketing", name=EXPIRE_BONUSES, cron="0 * * * * *"),
            subject=f"marketing.{EXPIRE_BONUSES}",
        )
