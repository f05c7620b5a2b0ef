"""Bets on events that are being played are looked at twice; risk on an outcome has a limit."""

import asyncio

import pytest

from svc.mesh.errors import Unavailable
from svc.sportsbook.contract import (
    PLACE_BET,
    BetAccepted,
    LimitExceeded,
    MarketClosed,
    OddsChanged,
)
from tests.sportsbook.match import Match, now_ms
from tests.sportsbook.players import Player, until
from tests.support.mesh import Operator
from tests.support.platform import Platform

LIVE = '<sport_event_status status="1" home_score="0" away_score="0"/>'


async def waiting(platform: Platform, count: int, player: Player) -> None:
    """Wait until so many bets of a player wait for their second look."""

    async def there() -> bool:
        async with platform.database("sportsbook") as database:
            found = await database.fetchval(
                "SELECT count(*) FROM bet WHERE user_id = $1 AND recheck_at IS NOT NULL",
                player.user_id,
            )
        return found == count

    await until(there, f"{count} bets wait")


async def test_a_live_bet_is_held_against_the_price_after_its_delay(
    match: Match, player: Player, platform: Platform
) -> None:
    await match.odds(inside=LIVE)
    policies = ("none", "any", "higher")
    bets = [asyncio.create_task(player.bets(match.leg(), policy=each)) for each in policies]
    await waiting(platform, 3, player)
    assert await player.cash() == 10_000
    await match.odds({(1, ""): {"1": "2.60"}})
    strict, anyhow, higher = await asyncio.gather(*bets, return_exceptions=True)
    assert isinstance(strict, OddsChanged)
    for taken in (anyhow, higher):
        assert isinstance(taken, BetAccepted)
        assert (taken.odds, taken.potential_payout) == ("2.60", 2600)
        assert (await player.bet(taken.bet_id)).legs[0].odds == "2.60"
    assert await player.cash() == 8000


async def test_a_live_bet_is_refused_when_its_market_stopped_while_it_waited(
    match: Match, player: Player, platform: Platform
) -> None:
    await match.odds(inside=LIVE)
    bet = asyncio.create_task(player.bets(match.leg(), policy="any"))
    await waiting(platform, 1, player)
    await match.stop()
    with pytest.raises(MarketClosed):
        await bet
    assert await player.cash() == 10_000


async def test_a_bet_that_somebody_else_asks_the_wallet_about_is_not_refused_by_a_later_look(
    match: Match, player: Player, operator: Operator, platform: Platform
) -> None:
    await match.odds(inside=LIVE)
    slip = player.slip(match.leg())
    async with platform.database("wallet") as ledger, ledger.transaction():
        await ledger.execute("LOCK TABLE transfer IN ACCESS EXCLUSIVE MODE")
        first = asyncio.create_task(operator.call(PLACE_BET, slip))
        await waiting(platform, 1, player)
        async with platform.database("sportsbook") as database:
            await database.execute(
                "UPDATE bet SET recheck_at = recheck_at + interval '700 ms' WHERE user_id = $1",
                player.user_id,
            )
        second = asyncio.create_task(operator.call(PLACE_BET, slip))
        await waiting(platform, 0, player)
        await match.stop()
        answers = await asyncio.gather(first, second, return_exceptions=True)
    assert all(isinstance(each, Unavailable) for each in answers), answers

    async def accepted() -> bool:
        try:
            return (await operator.call(PLACE_BET, slip)).status == "accepted"
        except Unavailable:  # the wallet, which was silent, is still given a rest
            return False

    await until(accepted, "the bet is accepted")
    assert await player.cash() == 9000


async def test_an_outcome_takes_no_more_risk_than_its_limit_and_a_refusal_reserves_none(
    match: Match, player: Player, operator: Operator
) -> None:
    """The house may lose 10,000,000.00 on an outcome, 1,000,000.00 on a bet."""
    other = Match(operator)
    await match.odds({(1, ""): {"1": "100000", "2": "100000"}})
    await other.odds()
    for _ in range(10):
        assert (await player.bets(match.leg("100000"))).potential_payout == 100_000_000
    for _ in range(2):
        with pytest.raises(LimitExceeded) as refused:
            await player.bets(match.leg("100000"), other.leg(), stake=500)
        assert refused.value.members["alternative_stake"] == 0
    await player.with_money(500)
    assert (await player.bets(other.leg(), stake=500)).status == "accepted"


async def test_live_odds_that_nobody_has_renewed_for_too_long_take_no_bets(
    match: Match, player: Player, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPORTSBOOK_LIVE_DELAY_MS", "0")
    old = now_ms() - 700_000
    await match.odds({(1, ""): {"1": "2.50"}, (18, "total=2.5"): {"12": "1.90"}}, at_ms=old)
    assert (await player.bets(match.leg())).status == "accepted"  # not played yet: odds may be old
    await match.odds({(1, ""): {"1": "2.50"}}, inside=LIVE, at_ms=old + 1)
    for _ in range(2):
        with pytest.raises(MarketClosed) as refused:
            await player.bets(match.leg())
        assert refused.value.detail == "these odds are too old"
    await match.odds({(18, "total=2.5"): {"12": "1.95"}}, inside=LIVE)
    for _ in range(2):  # what the producer does not list stays as it is, and it has just spoken
        assert (await player.bets(match.leg())).status == "accepted"
    monkeypatch.setenv("SPORTSBOOK_LIVE_ODDS_SECONDS", "0")
    await match.odds({(1, ""): {"1": "2.50"}}, product=2, inside=LIVE, at_ms=old + 2)
    assert (await player.bets(match.leg())).status == "accepted"
