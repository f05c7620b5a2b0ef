"""Players and teams that the feed names by their ids: their names are learned, in each language."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from svc.mesh.errors import Invalid
from svc.outside import descriptions, uof as outside
from svc.sportsbook import feed_names
from svc.sportsbook.contract import GET_EVENT, EventDetail, EventOf
from svc.sportsbook.feed_names import Descriptions, MarketText, render
from tests.sportsbook.match import Match
from tests.sportsbook.players import Player, sweep
from tests.sportsbook.provider import Provider, provided
from tests.support.mesh import Operator
from tests.support.waiting import until

NORTH, SOUTH, NOBODY = "sr:player:501", "sr:player:502", "sr:player:999"
ASK_AGAIN_S = 0.1
MARKETS = {
    (38, ""): {NORTH: "3.5", f"{NORTH},{SOUTH}": "9.0", NOBODY: "12.0"},
    (770, f"player={SOUTH}|total=1.5"): {"12": "1.9", "13": "1.9"},
    (4711, "team=sr:competitor:601"): {"sr:competitor:601": "2.1"},
}


@pytest.fixture
async def provider(match: Match, operator: Operator) -> AsyncGenerator[Provider]:
    assert match
    async with provided(operator) as found:
        yield found


async def shown(match: Match, locale: str | None = None) -> EventDetail:
    request = EventOf(event_id=match.event_id, locale=locale)
    return await match.operator.call(GET_EVENT, request)


def names(event: EventDetail) -> dict[str, list[str]]:
    return {each.name: sorted(told.name for told in each.outcomes) for each in event.markets}


async def test_players_and_teams_are_named_in_the_language_of_who_asks(
    match: Match, player: Player, provider: Provider, operator: Operator
) -> None:
    assert provider

    async def are_known() -> bool:
        await asyncio.sleep(ASK_AGAIN_S)  # asked more often, the machine would do little else
        await sweep(operator)
        await match.odds(MARKETS)
        found = [str(names(await shown(match, each))) for each in (None, "de", "pt-BR")]
        return all(
            word in text
            for text, words in zip(found, (NORTH_EN, NORTH_DE, NORTH_PT), strict=True)
            for word in words
        )

    await match.odds(MARKETS)
    await until(are_known, "the names are known")
    assert names(await shown(match)) == {
        "First goalscorer": ["Alexander North", "Alexander North, Charles South", NOBODY],
        "Charles South goals over 1.5": ["no", "yes"],
        "Market 4711 (team=sr:competitor:601)": ["City of Rovers"],
    }
    german = names(await shown(match, "de-AT"))
    assert german["Karl Süd Tore über 1.5"] == ["ja", "nein"]
    bet = await player.bet((await player.bets(match.leg("3.5", market=38, outcome=NORTH))).bet_id)
    assert bet.legs[0].name.endswith("First goalscorer · Alexander North")


NORTH_EN = ("Alexander North", "Charles South", "City of Rovers")
NORTH_DE = ("Alexander Nord", "Karl Süd", "Stadt Rovers")
NORTH_PT = ("Alexandre Norte", "Carlos Sul", "Cidade dos Rovers")


def profile(kind: str, person: str) -> bytes:
    found = descriptions.profile(kind, person, "en")
    assert found is not None
    return outside.to_xml(found)


def test_a_profile_is_read_for_its_name() -> None:
    assert feed_names.read_profile(profile("players", NORTH)) == "Alexander North"
    assert feed_names.read_profile(profile("competitors", "sr:competitor:601")) == "City of Rovers"


BLANK = b'<player_profile><player name=" "/></player_profile>'
TYPED = b'<!DOCTYPE a><player_profile><player name="x"/></player_profile>'


@pytest.mark.parametrize("bad", [b"", b"<x/>", b"<player_profile/>", BLANK, TYPED])
def test_what_is_no_profile_is_refused(bad: bytes) -> None:
    with pytest.raises(Invalid):
        feed_names.read_profile(bad)


def test_who_is_not_known_stands_there_by_the_id_and_is_wanted_once() -> None:
    known = Descriptions([MarketText(market_id=38, name="First goalscorer")])
    assert known.outcome(38, {}, NORTH) == NORTH
    assert known.outcome(38, {}, NORTH) == NORTH
    assert known.wanted == {NORTH}
    known.learn({NORTH: "Alexander North", SOUTH: ""})
    assert known.wanted == set()
    assert known.outcome(38, {}, f"{NORTH},{SOUTH}") == f"Alexander North, {SOUTH}"
    assert known.wanted == set()
    assert known.named("pre:outcometext:501") is None
    assert render("{%player} scores", {"player": NORTH}, {}, "en", known.named) == (
        "Alexander North scores"
    )
    assert render("{%server} serves", {"server": "1"}, {}, "en", known.named) == "1 serves"


def test_no_more_names_are_noted_as_wanted_than_can_be_asked_for() -> None:
    known = Descriptions()
    for number in range(feed_names.WANTED_MAX + 10):
        known.named(f"sr:player:{number}")
    assert len(known.wanted) == feed_names.WANTED_MAX
