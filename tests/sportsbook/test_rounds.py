"""Markets with more bets than are settled at once: round by round, and each bet once."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from svc.mesh.database import Tx
from svc.sportsbook import feed, feed_results, settling
from tests.sportsbook.match import Match
from tests.sportsbook.players import Player, sweep, until
from tests.support.mesh import Operator
from tests.support.platform import Platform

BETS, STAKE, PAYOUT = 7, 1000, 2500
STAKED = 10_000 - BETS * STAKE


@pytest.fixture
async def struck(match: Match, player: Player, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Seven bets of 10.00 at 2.50, of which two are settled at once; 30.00 are left."""
    monkeypatch.setattr(settling, "AT_ONCE", 2)
    await match.odds()
    return [(await player.bets(match.leg("2.50"), stake=STAKE)).bet_id for _ in range(BETS)]


async def is_done(platform: Platform, match: Match) -> None:
    """Wait until no message of the match is worked on any more."""

    async def done() -> bool:
        async with platform.database("sportsbook") as database:
            return not await database.fetchval(
                "SELECT count(*) FROM feed_message WHERE event_id = $1 AND status = 'received'",
                match.event_id,
            )

    await until(done, "all messages are done")


async def test_all_bets_of_a_market_are_settled_and_paid_in_rounds(
    match: Match, player: Player, struck: list[str], platform: Platform
) -> None:
    await match.settle({"1": 'result="1"'})
    await player.gets_to(STAKED + BETS * PAYOUT)
    await is_done(platform, match)
    assert {(await player.bet(bet_id)).status for bet_id in struck} == {"settled"}


async def test_a_rollback_right_behind_opens_all_of_them_again(
    match: Match, player: Player, struck: list[str], platform: Platform
) -> None:
    await match.settle({"1": 'result="1"'})
    await match.roll_back()
    await is_done(platform, match)
    await player.gets_to(STAKED)
    assert {(await player.bet(bet_id)).status for bet_id in struck} == {"accepted"}
    await match.settle({"1": 'result="0"'})
    await is_done(platform, match)
    assert {(await player.bet(bet_id)).result for bet_id in struck} == {"lost"}
    assert await player.cash() == STAKED


async def test_bets_that_a_failed_round_left_are_settled_by_the_sweep(
    match: Match,
    player: Player,
    struck: list[str],
    operator: Operator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settle_more, failed = feed_results.settle_more, list[Sequence[str]]()

    async def fails_once(tx: Tx, event_id: str, bet_ids: Sequence[str]) -> None:
        if not failed:
            failed.append(bet_ids)
            raise ConnectionError
        await settle_more(tx, event_id, bet_ids)

    monkeypatch.setattr(feed_results, "settle_more", fails_once)
    monkeypatch.setattr(feed, "SWEEP_AFTER", timedelta(0))
    await match.settle({"1": 'result="1"'})
    await player.gets_to(STAKED + 2 * PAYOUT)
    assert len(failed[0]) == 2
    await sweep(operator)
    await player.gets_to(STAKED + BETS * PAYOUT)
    assert {(await player.bet(bet_id)).status for bet_id in struck} == {"settled"}


async def test_the_open_risk_follows_bets_as_they_are_struck_settled_and_open_again(
    match: Match, struck: list[str], platform: Platform, operator: Operator
) -> None:
    async def agrees() -> bool:
        """Say whether the sum of all changes is what the bets say."""
        async with platform.database("sportsbook") as database:
            return await database.fetchval(
                """
                SELECT (SELECT (sum(open_bets), sum(stakes), sum(potential_payout))
                        FROM open_risk WHERE currency = 'EUR')
                     = (SELECT (count(*)::numeric, sum(stake), sum(potential_payout))
                        FROM bet WHERE status = 'accepted' AND currency = 'EUR')
                """
            )

    assert len(struck) == BETS
    await until(agrees, "struck")
    await match.settle({"1": 'result="1"'})
    await is_done(platform, match)
    await match.roll_back()
    await is_done(platform, match)
    await sweep(operator)
    await until(agrees, "open again")
