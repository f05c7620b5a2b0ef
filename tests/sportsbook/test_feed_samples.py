"""Real samples of the feed, where they lie beside the checkout: read, written, read again."""

from datetime import timedelta
from pathlib import Path

import pytest

from svc.mesh.errors import Invalid
from svc.platform.installation import ROOT
from svc.sportsbook import feed_names, uof
from svc.sportsbook.feed_rules import PRODUCERS
from svc.sportsbook.uof_messages import BetSettlement, BetStop, FixtureDocument, OddsChange
from tests.sportsbook.uof_writing import TAGS, written, written_descriptions

SAMPLES = ROOT.parent / "shared" / "uof"
FEED = sorted((SAMPLES / "feed").glob("*.xml"))
DOCUMENTS = sorted((SAMPLES / "api").glob("*.xml")) + sorted((SAMPLES / "captured").glob("*.xml"))
NO_SAMPLES = "the samples of the feed are not beside this checkout"


def name(path: Path | None) -> str:
    return "none" if path is None else f"{path.parent.name}/{path.stem}"


@pytest.mark.parametrize("path", FEED or [None], ids=name)
def test_every_sample_goes_there_and_back_through_its_type(path: Path | None) -> None:
    if path is None:
        pytest.skip(NO_SAMPLES)
    message = uof.read(path.read_bytes()).message
    assert TAGS[type(message)] == path.stem
    assert uof.read(written(message)).message == message


@pytest.mark.parametrize("path", DOCUMENTS or [None], ids=name)
def test_documents_of_the_api_are_read_or_refused_by_name(path: Path | None) -> None:
    if path is None:
        pytest.skip(NO_SAMPLES)
    body = path.read_bytes()
    if path.stem == "fixtures_fixture":
        found = uof.read(body).message
        assert isinstance(found, FixtureDocument)
        assert uof.read(written(found)).message == found
        return
    with pytest.raises(Invalid, match="no message that this feed door knows"):
        uof.read(body)


@pytest.mark.parametrize(
    "name", ["api/market", "api/variant", "captured/market", "captured/variant"]
)
def test_descriptions_go_there_and_back_through_their_type(name: str) -> None:
    short = name.startswith("captured")
    path = SAMPLES / (f"{name}s.xml" if short else f"{name}_descriptions.xml")
    if not path.exists():
        pytest.skip(NO_SAMPLES)
    found = feed_names.read(path.read_bytes())
    assert found
    assert feed_names.read(written_descriptions(found)) == found


@pytest.mark.parametrize(
    ("document", "named"),
    [("player_profile", "Player Ten"), ("competitor_profile", "Team A")],
)
def test_profiles_of_the_api_are_read_for_the_name(document: str, named: str) -> None:
    path = SAMPLES / "api" / f"{document}.xml"
    if not path.exists():
        pytest.skip(NO_SAMPLES)
    assert feed_names.read_profile(path.read_bytes()) == named


def test_the_producers_are_those_that_the_api_lists() -> None:
    path = SAMPLES / "captured" / "producers.xml"
    if not path.exists():
        pytest.skip(NO_SAMPLES)
    listed = {
        int(each.get("id", "")): (
            each.get("api_url", "").rstrip("/").rpartition("/")[2],
            timedelta(minutes=int(each.get("stateful_recovery_window_in_minutes", ""))),
        )
        for each in uof.parse(path.read_bytes())
    }
    known = {number: (facts.path, facts.window) for number, facts in PRODUCERS.items()}
    assert {number: known.get(number) for number in listed} == listed


def test_what_the_samples_say_is_what_is_read() -> None:
    if not FEED:
        pytest.skip(NO_SAMPLES)
    read = {path.stem: uof.read(path.read_bytes()).message for path in FEED}
    odds, stop, settled = read["odds_change"], read["bet_stop"], read["bet_settlement"]
    assert isinstance(odds, OddsChange)
    assert isinstance(stop, BetStop)
    assert isinstance(settled, BetSettlement)
    assert [str(each.odds) for each in odds.markets[0].outcomes] == ["2.25", "3.55", "3.10"]
    assert str(odds.markets[0].outcomes[0].chances[0]) == "0.425694000"
    assert (stop.groups, stop.market_status) == ("all", "inactive")
    assert [each.result for each in settled.markets[0].outcomes] == [1, 0, 0]
