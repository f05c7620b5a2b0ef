"""What outcomes could cost the house, as bets are bought back, open again, or struck again."""

import asyncio

from svc.mesh.clock import new_id
from svc.sportsbook.contract import CASH_OUT, QUOTE_CASH_OUT
from svc.sportsbook.contract_offers import CashOut, QuoteOf
from tests.sportsbook.match import Match
from tests.sportsbook.players import Player
from tests.sportsbook.test_second_look import LIVE, waiting
from tests.support.mesh import Operator
from tests.support.platform import Platform


async def carried(platform: Platform, match: Match) -> int:
    """Return what the first outcome of a match could cost."""
    async with platform.database("sportsbook") as database:
        return await database.fetchval(
            "SELECT amount FROM exposure WHERE event_id = $1 AND outcome_id = '1'", match.event_id
        )


async def buys_back(player: Player, bet_id: str, fraction: float) -> int:
    """Take an offer for a part of a bet; return what was paid."""
    wanted = QuoteOf(user_id=player.user_id, bet_id=bet_id)
    quote = await player.operator.call(QUOTE_CASH_OUT, wanted)
    taken = await player.operator.call(
        CASH_OUT,
        CashOut(
            user_id=player.user_id,
            bet_id=bet_id,
            quote_id=quote.quote_id,
            fraction=fraction,
            idempotency_key=new_id(),
        ),
    )
    return taken.amount


async def test_what_was_paid_for_a_part_of_a_bet_still_counts_until_the_rest_is_gone(
    match: Match, player: Player, platform: Platform
) -> None:
    await match.odds()
    bet = await player.bets(match.leg())
    assert await carried(platform, match) == 1500
    paid = await buys_back(player, bet.bet_id, 0.9)
    assert await carried(platform, match) == 250 + paid - 1000
    paid += await buys_back(player, bet.bet_id, 0.5)
    assert await carried(platform, match) == 125 + paid - 1000
    await buys_back(player, bet.bet_id, 1)
    assert await carried(platform, match) == 0


async def test_a_bet_of_which_a_part_was_bought_back_is_open_again_at_the_risk_of_before(
    match: Match, player: Player, operator: Operator, platform: Platform
) -> None:
    other = Match(operator)
    await match.odds()
    await other.odds()
    bet = await player.bets(match.leg(), other.leg())
    paid = await buys_back(player, bet.bet_id, 0.4)
    left = 3750 + paid - 1000
    assert (await carried(platform, match), await carried(platform, other)) == (left, left)
    await match.settle({"1": 'result="0"'})
    await player.comes_to(bet.bet_id, "settled")
    assert (await carried(platform, match), await carried(platform, other)) == (0, 0)
    await match.roll_back()
    await player.comes_to(bet.bet_id, "accepted")
    assert (await carried(platform, match), await carried(platform, other)) == (left, left)


async def test_a_live_bet_that_is_struck_at_another_price_carries_the_risk_of_that(
    match: Match, player: Player, platform: Platform
) -> None:
    await match.odds(inside=LIVE)
    bet = asyncio.create_task(player.bets(match.leg(), policy="any"))
    await waiting(platform, 1, player)
    await match.odds({(1, ""): {"1": "2.60"}})
    await bet
    assert await carried(platform, match) == 1600
