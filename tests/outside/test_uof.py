"""Every message builder makes XML like the feed's samples, and the match settles by the rules."""

from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from defusedxml.ElementTree import fromstring
from msgspec import structs

from svc.outside import uof
from svc.outside.match import LINES, Goal, Plan, script, settled, units

SAMPLES = Path(__file__).parents[3] / "shared" / "uof"
OUTCOMES = [uof.Outcome(id="1"), uof.Outcome(id="2")]
LINE = uof.Market(id=1, specifiers="goalnr=1", void_reason=0, outcomes=OUTCOMES)
EVENT = "sr:match:7100001"

MESSAGES: list[uof.FeedMessage] = [
    uof.OddsChange(
        event_id=EVENT,
        odds_change_reason=1,
        status=uof.EventStatus(
            status=1, reporting=1, match_status=7, home_score=1, away_score=2, match_time="71:00"
        ),
        betting_status=1,
        betstop_reason=0,
        markets=[
            uof.Market(
                id=1,
                specifiers="goalnr=1",
                status=1,
                favourite=1,
                cashout_status=1,
                outcomes=[
                    uof.Outcome(
                        id="1",
                        odds=Decimal("2.25"),
                        probabilities=Decimal("4E-1"),
                        active=1,
                        team=1,
                    )
                ],
            )
        ],
    ),
    uof.BetStop(event_id=EVENT, market_status=0),
    uof.BetSettlement(
        event_id=EVENT,
        markets=[
            uof.Market(
                id=1,
                specifiers="goalnr=1",
                void_reason=0,
                outcomes=[
                    uof.Outcome(
                        id="1",
                        result=1,
                        void_factor=Decimal("0.0"),
                        dead_heat_factor=Decimal("1.0"),
                    )
                ],
            )
        ],
    ),
    uof.RollbackBetSettlement(
        event_id=EVENT,
        markets=[uof.Market(id=1, specifiers="goalnr=1", outcomes=OUTCOMES)],
    ),
    uof.BetCancel(start_time=1, end_time=2, event_id=EVENT, markets=[LINE]),
    uof.RollbackBetCancel(start_time=1, end_time=2, event_id=EVENT, markets=[LINE]),
    uof.FixtureChange(event_id=EVENT, change_type=3, start_time=1, next_live_time=1),
    uof.Alive(),
    uof.SnapshotComplete(),
]
# What a scripted match has no need of; a client must live without them anyway.
NOT_BUILT = {
    "sport_event_status": {
        "home_penalty_score", "away_penalty_score", "current_server", "expedite_mode", "tiebreak",
    },
    "clock": {"stoppage_time", "remaining_time"},
    "market": {"result"},
}  # fmt: skip


def attributes(tree: ET.Element) -> dict[str, set[str]]:
    """Return the attribute names of each element, by the element's name."""
    found: dict[str, set[str]] = {}
    for node in tree.iter():
        found.setdefault(node.tag, set()).update(node.keys())
    return found


def read(document: uof.Document) -> ET.Element:
    """Return the message as a reader of its XML sees it."""
    return fromstring(uof.to_xml(uof.element(document)))


@pytest.mark.parametrize("message", MESSAGES, ids=lambda each: type(each).__name__)
def test_a_message_has_the_attributes_of_the_feeds_sample(message: uof.FeedMessage) -> None:
    request_id = None if isinstance(message, uof.Alive) else 7
    built = read(structs.replace(message, timestamp=1_653_576_646_190, request_id=request_id))
    sample = SAMPLES / "feed" / f"{built.tag}.xml"
    if not sample.exists():
        pytest.skip("the feed's sample messages are not on this machine")
    expected = attributes(fromstring(sample.read_bytes()))
    for tag, names in attributes(built).items():
        assert names == expected[tag] - NOT_BUILT.get(tag, set()), tag


def test_the_fixture_document_has_the_parts_that_name_a_match() -> None:
    built = read(uof.Fixture(event_id=EVENT, start_time="2026-01-01T18:00:00+00:00"))
    fixture = built.find("fixture")
    assert fixture is not None
    assert (built.tag, fixture.get("id"), fixture.get("status")) == (
        "fixtures_fixture", EVENT, "not_started",
    )  # fmt: skip
    teams = [(each.get("qualifier"), each.get("name")) for each in fixture.iter("competitor")]
    assert teams == [("home", "Rovers"), ("away", "Wanderers")]
    sample = SAMPLES / "api" / "fixtures_fixture.xml"
    if not sample.exists():
        pytest.skip("the feed's sample fixture is not on this machine")
    expected = attributes(fromstring(sample.read_bytes()))
    for tag, names in attributes(built).items():
        assert names <= expected[tag], tag


def test_numbers_are_written_plainly_and_nothing_empty_is_written() -> None:
    change = uof.OddsChange(
        event_id=EVENT,
        markets=[uof.Market(id=1, outcomes=[uof.Outcome(id="1", odds=Decimal("1E+2"))])],
    )
    outcome = next(read(change).iter("outcome"))
    assert outcome.attrib == {"id": "1", "odds": "100"}


@pytest.mark.parametrize(
    ("market_id", "specifiers", "score", "expected"),
    [
        (1, None, (2, 1), {"1": "1", "2": "-1", "3": "-1"}),
        (1, None, (1, 1), {"1": "-1", "2": "1", "3": "-1"}),
        (10, None, (0, 1), {"9": "-1", "10": "1", "11": "1"}),
        (18, "total=2.5", (2, 1), {"12": "1", "13": "-1"}),
        (18, "total=3", (2, 1), {"12": "0", "13": "0"}),
        (16, "hcp=-1", (2, 1), {"1714": "0", "1715": "0"}),
        (16, "hcp=-0.25", (1, 1), {"1714": "-0.5", "1715": "0.5"}),
        (16, "hcp=-0.75", (1, 0), {"1714": "0.5", "1715": "-0.5"}),
        (16, "hcp=0.25", (0, 0), {"1714": "0.5", "1715": "-0.5"}),
    ],
)
def test_lines_are_settled_by_the_score(
    market_id: int, specifiers: str | None, score: tuple[int, int], expected: dict[str, str]
) -> None:
    got = {each: units(market_id, specifiers, each, score) for each in expected}
    assert got == {each: Decimal(won) for each, won in expected.items()}


@pytest.mark.parametrize(
    ("won", "odds", "returned"),
    [("1", "1.90", "1.90"), ("0.5", "1.90", "1.45"), ("0", "1.90", "1"), ("-0.5", "1.90", "0.5"),
     ("-1", "1.90", "0")],
)  # fmt: skip
def test_result_and_void_factor_give_the_right_return(won: str, odds: str, returned: str) -> None:
    score_of = {"1": (2, 0), "0.5": (1, 1), "0": (1, 0), "-0.5": (1, 1), "-1": (0, 1)}
    line_of = {"0": "hcp=-1", "0.5": "hcp=-0.25", "-0.5": "hcp=-0.25"}
    name = "1715" if won == "0.5" else "1714"
    lines = {each.specifiers: each for each in settled(score_of[won])}
    outcome = {each.id: each for each in lines[line_of.get(won, "hcp=-1")].outcomes}[name]
    factor = outcome.void_factor or Decimal(0)
    result = outcome.result or 0
    assert factor + (1 - factor) * result * Decimal(odds) == Decimal(returned)


def test_the_same_seed_gives_the_same_match_and_another_seed_another() -> None:
    first, again, other = (
        [uof.to_xml(uof.element(step.message)) for step in script(Plan(seed=seed))]
        for seed in (4, 4, 5)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize("seed", range(5))
def test_a_match_is_told_in_order_and_every_line_is_settled(seed: int) -> None:
    steps = list(script(Plan(seed=seed)))
    minutes = [step.minute for step in steps]
    assert minutes == sorted(minutes)
    settlements = [each.message for each in steps if isinstance(each.message, uof.BetSettlement)]
    assert [each.certainty for each in settlements] == [1, 2]
    assert settlements[0].markets == settlements[1].markets
    identities = [(each.id, each.specifiers) for each in settlements[0].markets]
    assert identities == [(market_id, specifiers) for market_id, specifiers, _ in LINES]
    for step in steps:
        if isinstance(step.message, uof.OddsChange):
            for outcome in (each for market in step.message.markets for each in market.outcomes):
                assert (outcome.active == 1) == (outcome.odds is not None)
                assert outcome.odds is None or outcome.odds > 1


def test_given_goals_are_played_and_betting_stops_before_each() -> None:
    goals = [Goal(minute=23, team="home"), Goal(minute=70, team="away")]
    steps = list(script(Plan(goals=goals)))
    assert steps[-1].score == (1, 1)
    for before, after in pairwise(steps):
        if after.score != before.score:
            assert isinstance(before.message, uof.BetStop)
    leading = next(step.message for step in steps if step.minute == 25)
    assert isinstance(leading, uof.OddsChange)
    odds = {each.id: each.odds or Decimal(0) for each in leading.markets[0].outcomes}
    assert odds["1"] < odds["3"]
