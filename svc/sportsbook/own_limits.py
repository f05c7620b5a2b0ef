"""Players' own limits over all products: identity counts, here it is asked and told.

Bets of players without stake or loss limits are not `counted`, and nothing of this happens.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from svc.identity import contract as identity
from svc.mesh.context import Context
from svc.mesh.database import Tx
from svc.mesh.errors import NotFound, Refused, Unavailable
from svc.sportsbook import store_players
from svc.sportsbook.contract import LimitExceeded
from svc.sportsbook.store_bets import BetRow

LONGEST = timedelta(days=31)
"""Bets before this are in no limit's window."""


async def refusal(bet: BetRow, context: Context) -> Refused | None:
    """Have a pending bet counted, once; return why it passes a limit of the player's.

    Raises Unavailable (TimedOut) while identity does not answer: the bet stays pending.
    """
    stake = identity.CountStake(
        user_id=bet.user_id, stake_id=bet.bet_id, amount=bet.stake, placed_at=bet.placed_at
    )
    try:
        await context.call(identity.COUNT_STAKE, stake)
    except identity.LimitExceeded as exceeded:
        return LimitExceeded(exceeded.detail, **exceeded.members)
    except NotFound as unknown:
        return unknown
    except Unavailable as away:
        raise Unavailable(
            f"your limits cannot be looked at now; bet {bet.bet_id} is pending:"
            " ask again with the same Idempotency-Key"
        ) from away
    return None


def stands(bet: BetRow, *, payout: int | None = None, taken: bool = True) -> identity.ToldStake:
    """Return how a counted bet stands: its stake, if taken, and all that was paid for it."""
    parts = bet.cashed_out if bet.status != "cashed_out" else 0
    return identity.ToldStake(
        stake_id=bet.bet_id,
        staked=bet.stake if taken else 0,
        returned=parts + (payout or 0) if taken else 0,
        placed_at=bet.placed_at,
    )


async def tell(tx: Tx, stakes: Iterable[tuple[str, identity.ToldStake]]) -> None:
    """Tell identity how counted bets stand now; each with its player's id."""
    of_player: dict[str, list[identity.ToldStake]] = {}
    for user_id, stake in stakes:
        of_player.setdefault(user_id, []).append(stake)
    for user_id, told in of_player.items():
        for start in range(0, len(told), identity.TOLD_MAX):
            data = identity.StakesTold(
                user_id=user_id, stakes=told[start : start + identity.TOLD_MAX]
            )
            await tx.publish(identity.STAKES_TOLD, data, subject=user_id)


async def begin(tx: Tx, user_id: str, now: datetime) -> None:
    """Count the bets of the last month too, once their player has set a first limit."""
    await store_players.lock_all(tx, [user_id])
    begun = await store_players.count_bets(tx, user_id, now - LONGEST)
    await tell(tx, [(user_id, stake) for stake in begun])
