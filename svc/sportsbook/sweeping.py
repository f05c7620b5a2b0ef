"""Bets that still wait for an answer: asked about again, or given up when they are too old."""

import asyncio
from collections.abc import Sequence
from datetime import datetime

from svc.mesh.context import Context
from svc.mesh.errors import Refused, Unavailable
from svc.sportsbook import house, placing, store_bets
from svc.sportsbook.store_bets import BetRow

SWEEP_BATCH = 500


async def sweep(context: Context) -> None:
    """Finish bets that still wait for the wallet, or for identity to count them, if that is due.

    Those that are too old are given up. Whoever is away holds up nobody that asks somebody else.
    """
    now = context.now()
    async with context.transaction() as tx:
        await store_bets.forget_struck(tx)
        waiting = await store_bets.pending(tx, now - house.PENDING_RETRY, SWEEP_BATCH)
    uncounted, counted = list[BetRow](), list[BetRow]()
    for bet in waiting:
        if _is_too_old(bet, now) or not bet.counted:
            uncounted.append(bet)
        else:
            counted.append(bet)
    for bets in (uncounted, counted):
        await _sweep(bets, context)


async def _sweep(bets: Sequence[BetRow], context: Context) -> None:
    """Finish bets side by side; while who they ask is away, one attempt says so."""
    try:
        for bet in bets[:1]:
            await _swept(bet, context)
        async with asyncio.TaskGroup() as group:
            for bet in bets[1:]:
                group.create_task(_swept(bet, context))
    except* Unavailable as away:
        causes = [str(each) for each in away.exceptions]
        context.log.warning("pending bets wait", waiting=len(bets), cause=causes[0])


def _is_too_old(bet: BetRow, now: datetime) -> bool:
    return bet.placed_at < now - house.PENDING_GIVEN_UP or bet.expired_at is not None


async def _swept(bet: BetRow, context: Context) -> None:
    """Finish a bet, or give it up; raises Unavailable while somebody is away."""
    now = context.now()
    try:
        if _is_too_old(bet, now):
            await placing.give_up(bet, context)
        elif bet.recheck_at is None or bet.recheck_at <= now:
            await placing.finish(bet, context)
    except Refused as refusal:
        context.log.info("pending bet rejected", bet_id=bet.bet_id, reason=refusal.name)
    except Unavailable:
        raise
    except Exception:
        # A bet that cannot be finished must not keep those behind it waiting.
        context.log.exception("a pending bet cannot be finished", bet_id=bet.bet_id)
