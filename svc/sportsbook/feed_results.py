"""What results, cancellations and their undoing do: to outcomes, to legs, and so to bets.

Results and cancellations count by what they say and by their own timestamp, not by when they come:
the same messages in any order, once or twice, leave the same legs behind.
"""

from collections.abc import Iterable, Sequence

from svc.mesh.database import Tx
from svc.sportsbook import settling, store_events, store_results
from svc.sportsbook.uof_messages import (
    BetCancel,
    BetSettlement,
    MarketRef,
    MarketResult,
    RollbackBetCancel,
    RollbackBetSettlement,
)


async def settle(message: BetSettlement, tx: Tx) -> list[str] | None:
    """Record results and settle the bets on them; None when newer messages said all of it.

    Returns the bets that are left for later rounds: see `settle_more`.
    """
    undone = await store_results.rolled_back(tx, message.event_id)
    markets = [
        market
        for market in with_results(message.markets)
        if undone.get((market.id, market.specifiers), 0) < message.timestamp
    ]
    if not markets:
        return None if message.markets else []
    await store_results.close_markets(tx, message, markets)
    await store_results.put_results(tx, message, markets)
    return await _follow(tx, message.event_id, markets)


async def _follow(tx: Tx, event_id: str, markets: Sequence[MarketRef | MarketResult]) -> list[str]:
    """Settle a first round of bets by what their outcomes say now; return those that are left."""
    behind = await store_results.behind(tx, event_id, markets)
    await _round(tx, event_id, behind[: settling.AT_ONCE])
    return behind[settling.AT_ONCE :]


async def _round(tx: Tx, event_id: str, bet_ids: Sequence[str]) -> None:
    if bet_ids:
        await store_results.follow(tx, event_id, bet_ids)
        await settling.decide(tx, bet_ids)


async def settle_more(tx: Tx, event_id: str, bet_ids: Sequence[str]) -> None:
    """Settle bets by what their outcomes say by now, whatever other messages came in between."""
    await store_events.hold_event(tx, event_id)
    await _round(tx, event_id, bet_ids)


def with_results(markets: list[MarketResult]) -> Iterable[MarketResult]:
    """Yield markets with their decided outcomes; -1 is undecided and says nothing yet."""
    for market in markets:
        known = [outcome for outcome in market.outcomes if outcome.result >= 0]
        if known:
            yield MarketResult(id=market.id, specifiers=market.specifiers, outcomes=known)


async def take_back(message: RollbackBetSettlement, tx: Tx) -> list[str]:
    """Take results back: legs are open again, and so are their bets.

    Returns the bets that are left for later rounds: see `settle_more`.
    """
    if not message.markets:
        return []
    await store_results.take_back_results(tx, message)
    return await _follow(tx, message.event_id, message.markets)


async def cancel(message: BetCancel, tx: Tx) -> bool:
    """Void the legs struck in a window; False when the cancellation was undone already."""
    markets = await store_results.put_voids(tx, message)
    await settling.decide(tx, await store_results.void_legs(tx, message, markets))
    return bool(markets) or not message.markets


async def undo_cancel(message: RollbackBetCancel, tx: Tx) -> bool:
    """Undo the cancellation of exactly this window; False when a newer one stands."""
    markets = await store_results.put_voids(tx, message)
    await settling.decide(tx, await store_results.revive_legs(tx, message, markets))
    return bool(markets) or not message.markets
