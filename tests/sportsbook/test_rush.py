"""Plain bets are struck from memory: the rows have the last word, many at once are one each."""

import asyncio

import pytest

from svc.sportsbook.book import changed
from svc.sportsbook.contract import (
    PLACE_BET,
    BetAccepted,
    EventDetail,
    LimitExceeded,
    Market,
    MarketClosed,
    OddsChanged,
    Outcome,
)
from svc.sportsbook.rules import Offer
from tests.sportsbook.match import Match
from tests.sportsbook.players import Player
from tests.support.mesh import Operator
from tests.support.platform import Platform

ELSEWHERE = {
    "the price moved": "UPDATE outcome SET odds = 3 WHERE event_id = $1",
    "the market was suspended": "UPDATE market SET status = 'suspended' WHERE event_id = $1",
    "the outcome was withdrawn": "UPDATE outcome SET active = false WHERE event_id = $1",
    "the event is over": "UPDATE event SET status = 'ended' WHERE event_id = $1",
}
"""What another instance wrote, before its news is here."""


@pytest.mark.parametrize("what", ELSEWHERE)
async def test_a_price_that_is_only_remembered_strikes_no_bet(
    match: Match, player: Player, platform: Platform, what: str
) -> None:
    await match.odds()
    for _ in range(2):  # the second is struck from memory
        await player.bets(match.leg())
    async with platform.database("sportsbook") as database:
        await database.execute(ELSEWHERE[what], match.event_id)
    with pytest.raises((OddsChanged, MarketClosed)):
        await player.bets(match.leg())
    assert await player.cash() == 8000


async def test_many_players_at_once_each_have_one_bet_and_one_cannot_spoil_it_for_others(
    match: Match, operator: Operator, platform: Platform
) -> None:
    await match.odds()
    players = [await Player(operator).with_money(1000) for _ in range(12)]
    await players[0].bets(match.leg())
    slips = [player.slip(match.leg()) for player in players[1:]]
    wrong = players[0].slip(match.leg("9.99"))
    asked = [*slips, wrong, *slips]  # each comes twice, as after a lost answer
    answers = await asyncio.gather(
        *(operator.call(PLACE_BET, slip) for slip in asked), return_exceptions=True
    )
    assert isinstance(answers[11], OddsChanged)
    first, again = answers[:11], answers[12:]
    assert all(isinstance(answer, BetAccepted) for answer in first)
    assert first == again
    async with platform.database("sportsbook") as database:
        held = await database.fetchval(
            "SELECT amount FROM exposure WHERE event_id = $1", match.event_id
        )
    assert held == 12 * 1500


async def test_bets_that_come_together_take_no_more_risk_than_one_after_the_other(
    match: Match, operator: Operator
) -> None:
    await match.odds({(1, ""): {"1": "100000", "2": "100000"}})
    players = [await Player(operator).with_money(1000) for _ in range(14)]
    answers = await asyncio.gather(
        *(player.bets(match.leg("100000")) for player in players), return_exceptions=True
    )
    assert sum(isinstance(answer, BetAccepted) for answer in answers) == 10
    assert sum(isinstance(answer, LimitExceeded) for answer in answers) == 4


def offer(**fields: object) -> Offer:
    known: dict[str, object] = {
        "odds": None, "active": True, "decided": False, "market_status": "active", "producer": 1,
        "event_status": "not_started", "starts_at": None,
    }  # fmt: skip
    return Offer(**{**known, **fields})  # pyright: ignore[reportArgumentType]


def shown(outcome_id: str, odds: str | None, *, active: bool = True) -> EventDetail:
    outcome = Outcome(outcome_id=outcome_id, name="", odds=odds, active=active)
    market = Market(market_id=1, specifiers="", name="", status="active", outcomes=[outcome])
    return EventDetail(
        event_id="sr:match:1", sport="", name="", starts_at=None, status="live", score="",
        markets=[market], version=2,
    )  # fmt: skip


def test_what_the_bucket_shows_becomes_what_is_remembered() -> None:
    key = ("sr:match:1", 1, "", "1")
    found = changed(offer(event_status="live"), key, shown("1", "2.75"))
    assert found is not None
    assert (str(found.odds), found.event_status, found.active) == ("2.75", "live", True)
    closed = changed(found, key, shown("1", None, active=False))
    assert closed is not None
    assert (closed.odds, closed.active) == (None, False)


def test_an_event_that_began_is_looked_up_for_how_long_its_odds_hold() -> None:
    assert changed(offer(), ("sr:match:1", 1, "", "1"), shown("1", "2.75")) is None


def test_a_selection_that_is_shown_no_more_is_forgotten() -> None:
    assert (
        changed(offer(event_status="live"), ("sr:match:1", 1, "", "2"), shown("1", "2.75")) is None
    )
    assert (
        changed(
            offer(event_status="live"), ("sr:match:1", 18, "total=2.5", "1"), shown("1", "2.75")
        )
        is None
    )
