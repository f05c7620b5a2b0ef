"""What results, cancellations and their undoing do: to outcomes, to legs, and so to bets.

Results and cancellations count by what they say and by their own timestamp, not by when they come:
the same messages in any order, once or twice, leave the same legs behind.
"""

from collections.abc import Iterable

from svc.mesh.database import Tx
from svc.sportsbook import settling, store_results
from svc.sportsbook.uof_messages import (
    BetCancel,
    BetSettlement,
    MarketResult,
    RollbackBetCancel,
    RollbackBetSettlement,
)


async def settle(message: BetSettlement, tx: Tx) -> bool:
    """Record results and settle the bets on them; False when newer messages said all of it."""
    undone = await store_results.rolled_back(tx, message.event_id)
    markets = [
        market
        for market in with_results(message.markets)
        if undone.get((market.id, market.specifiers), 0) < message.timestamp
    ]
    if not markets:
        return not message.markets
    await store_results.close_markets(tx, message, markets)
    await store_results.put_results(tx, message, markets)
    await settling.decide(tx, await store_results.follow_results(tx, message.event_id, markets))
    return True


def with_results(markets: list[MarketResult]) -> Iterable[MarketResult]:
    """Yield markets with their decided outcomes; -1 is undecided and says nothing yet."""
    for market in markets:
        known = [outcome for outcome in market.outcomes if outcome.result >= 0]
        if known:
            yield MarketResult(id=market.id, specifiers=market.specifiers, outcomes=known)


async def take_back(message: RollbackBetSettlement, tx: Tx) -> None:
    """Take results back: legs are open again, and so are their bets."""
    if not message.markets:
        return
    await store_results.take_back_results(tx, message)
    changed = await store_results.follow_results(tx, message.event_id, message.markets)
    await settling.decide(tx, changed)


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
