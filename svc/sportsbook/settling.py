"""How accepted bets end: when their legs are decided, the payout is written and announced."""

from collections.abc import Sequence

from svc.mesh.database import Tx
from svc.sportsbook import house, rules, store_bets
from svc.sportsbook.contract import BET_CANCELLED, BET_SETTLED, BetCancelled, BetSettled, LegResult
from svc.sportsbook.store_bets import BetRow, LegRow

FEED_CANCELLED = "cancelled by the feed"


async def decide(tx: Tx, bet_ids: Sequence[str]) -> None:
    """Settle those of the bets that are accepted and decided; the others stay as they are.

    The bets are locked first and their legs read only then: of a settlement and an acceptance
    that run at the same time, the later one always sees what the earlier one wrote.
    """
    if not bet_ids:
        return
    locked = await store_bets.lock(tx, sorted(set(bet_ids)))
    accepted = [bet for bet in locked if bet.status == "accepted"]
    legs = await store_bets.legs(tx, [bet.bet_id for bet in accepted])
    for bet in accepted:
        if rules.decided([leg.word for leg in legs[bet.bet_id]]):
            await _finish(tx, bet, legs[bet.bet_id])


async def _finish(tx: Tx, bet: BetRow, legs: list[LegRow]) -> None:
    """Write a decided bet and announce it; the wallet pays under the transfer id."""
    words: list[LegResult] = [leg.word for leg in legs]
    result = rules.bet_result(words)
    cancelled = result == "void" and any(leg.cancelled for leg in legs)
    payout = rules.bet_return(bet.stake, [leg.factor for leg in legs], house.limits(tx.context))
    transfer_id = tx.context.new_id()
    status = "cancelled" if cancelled else "settled"
    await store_bets.finish(
        tx,
        bet.bet_id,
        status=status,
        result=result,
        payout=payout,
        transfer_id=transfer_id,
        now=tx.context.now(),
    )
    if cancelled:
        await tx.publish(
            BET_CANCELLED,
            BetCancelled(
                bet_id=bet.bet_id,
                user_id=bet.user_id,
                stake=bet.stake,
                refund=payout,
                currency=bet.currency,
                reason=FEED_CANCELLED,
                transfer_id=transfer_id,
                stake_transfer_id=bet.stake_transfer_id,
            ),
            subject=bet.bet_id,
        )
        return
    await tx.publish(
        BET_SETTLED,
        BetSettled(
            bet_id=bet.bet_id,
            user_id=bet.user_id,
            result=result,
            stake=bet.stake,
            payout=payout,
            currency=bet.currency,
            odds=rules.odds_text(bet.odds),
            transfer_id=transfer_id,
            stake_transfer_id=bet.stake_transfer_id,
        ),
        subject=bet.bet_id,
    )
