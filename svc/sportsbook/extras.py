"""What staff adds to bets: free bets for players, and deductions after a withdrawal (Rule 4)."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from svc.mesh.context import Context
from svc.mesh.errors import Invalid
from svc.sportsbook import settling, store_deductions, store_exposure, store_payout_day
from svc.sportsbook.contract_offers import (
    Deduction,
    FreeBet,
    FreeBets,
    FreeBetsOf,
    GrantFreeBet,
)
from svc.sportsbook.uof import normal_specifiers

CUT_AT_ONCE = 100
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
AHEAD = timedelta(days=1)


async def grant_free_bet(request: GrantFreeBet, context: Context) -> FreeBet:
    """Give a player a free bet that they may use within so many days."""
    now = context.now()
    free = store_exposure.FreeBet(
        free_bet_id=context.new_id(),
        user_id=request.user_id,
        amount=request.amount,
        currency=request.currency,
        expires_at=now + timedelta(days=request.days),
    )
    async with context.transaction() as tx:
        await store_exposure.grant(tx, free, request.actor_id, now)
    return _shown(free)


async def free_bets(request: FreeBetsOf, context: Context) -> FreeBets:
    """Return the free bets that a player may still use."""
    async with context.transaction() as tx:
        found = await store_exposure.free_bets(tx, request.user_id, context.now())
    return FreeBets(items=[_shown(free) for free in found])


def _shown(free: store_exposure.FreeBet) -> FreeBet:
    return FreeBet(
        free_bet_id=free.free_bet_id,
        amount=free.amount,
        currency=free.currency,
        expires_at=free.expires_at,
    )


async def deduct(request: Deduction, context: Context) -> None:
    """Deduct from the winnings of bets struck before a withdrawal; paid ones are put right.

    Source: Rule 4 of Tattersalls' Committee, as the odds of the withdrawn one said. Raises Invalid
    for a window that is none.
    """
    if not EARLIEST <= request.from_at < request.until_at <= context.now() + AHEAD:
        raise Invalid("the window begins before it ends, in our time - at `$.from_at`")
    ordered = store_deductions.Deduction(
        event_id=request.event_id,
        market_id=request.market_id,
        specifiers=normal_specifiers(request.specifiers),
        part=Decimal(request.percent) / 100,
        from_at=request.from_at,
        until_at=request.until_at,
    )
    async with context.transaction() as tx:
        await store_deductions.put(tx, ordered, request.actor_id)
        await settling.decide(tx, await store_deductions.apply(tx, ordered))


async def sweep(context: Context) -> None:
    """Pay more for bets that a day's limit had cut, where others of the day were taken back."""
    async with context.transaction() as tx:
        await settling.decide(tx, await store_payout_day.take_again(tx, CUT_AT_ONCE))
