"""Real samples of the feed, where they lie beside the checkout: read, written, read again."""

from pathlib import Path

import pytest

from svc.mesh.errors import Invalid
from svc.platform.installation import ROOT
from svc.sportsbook import uof
from svc.sportsbook.uof_messages import BetSettlement, BetStop, FixtureDocument, OddsChange
from tests.sportsbook.uof_writing import TAGS, written

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
