"""Names from the feed's own descriptions: templates, variants, languages, groups of a bet stop."""

from pathlib import Path

import pytest

from svc.mesh.errors import Invalid
from svc.outside import descriptions, uof as told
from svc.platform.installation import ROOT
from svc.sportsbook import feed_names
from svc.sportsbook.feed_names import Descriptions, MarketText, ordinal, render
from svc.sportsbook.names import in_groups

SAMPLES = ROOT.parent / "shared" / "uof" / "captured"
WORDS = {"competitor1": "Rovers", "competitor2": "Wanderers", "event": "Rovers v Wanderers"}
VALUES = {"total": "2.5", "hcp": "-1.5", "goalnr": "3", "minute": "16", "player": "sr:player:5"}


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("over {total}", "over 2.5"),
        ("{$competitor1} ({+hcp})", "Rovers (-1.5)"),
        ("{$competitor2} ({-hcp})", "Wanderers (+1.5)"),
        ("{!goalnr} goal", "3rd goal"),
        ("{!(goalnr+1)} goal", "4th goal"),
        ("after {(minute-1)} minutes", "after 15 minutes"),
        ("{%player} scores", "sr:player:5 scores"),
        ("{$event}", "Rovers v Wanderers"),
        ("both teams", "both teams"),
        ("{nothing}", None),
        ("{!player}", None),
        ("{(player+1)}", None),
        ("{$competitor3}", None),
        ("{}", None),
        ("", None),
    ],
)
def test_a_template_is_filled_with_what_its_specifiers_say(template: str, name: str | None) -> None:
    assert render(template, VALUES, WORDS, "en") == name


@pytest.mark.parametrize(
    ("number", "locale", "text"),
    [(1, "en", "1st"), (2, "en", "2nd"), (11, "en", "11th"), (22, "en", "22nd"),
     (113, "en", "113th"), (3, "de", "3."), (3, "pt-BR", "3º")],
)  # fmt: skip
def test_places_in_a_row_are_written_as_the_language_does(
    number: int, locale: str, text: str
) -> None:
    assert ordinal(number, locale) == text


def known(language: str) -> Descriptions:
    texts: list[MarketText] = []
    for what in ("markets", "variants"):
        document = descriptions.document(what, language)
        assert document is not None
        texts += feed_names.read(told.to_xml(document))
    return Descriptions(texts)


def test_a_variants_outcomes_are_named_by_the_variant() -> None:
    specifiers = {"variant": "sr:exact_goals:2+"}
    assert known("de").outcome(21, specifiers, "sr:exact_goals:2+:3") == "zwei oder mehr"
    assert known("de").outcome(21, {}, "sr:exact_goals:2+:3") is None
    assert known("pt").outcome(60, {}, "2") == "empate"
    assert known("en").market(4711, {}) is None


@pytest.mark.parametrize(
    ("market", "groups", "stopped"),
    [(60, "1st_half", True), (60, "10_min|corners", False), (100, "10_min|corners", True),
     (100, "all", True), (4711, "10_min", True), (18, "score", True), (18, "10_min", False)],
)  # fmt: skip
def test_a_bet_stop_stops_the_groups_that_the_feed_describes(
    market: int, groups: str, *, stopped: bool
) -> None:
    assert in_groups(market, groups, known("en")) is stopped


@pytest.mark.parametrize("bad", [b"", b"<", b"<!DOCTYPE a><market_descriptions/>"])
def test_what_are_no_descriptions_is_refused(bad: bytes) -> None:
    with pytest.raises(Invalid):
        feed_names.read(bad)


@pytest.mark.parametrize(("name", "least"), [("markets", 1_100), ("variants", 50)])
def test_every_description_of_the_real_feed_has_a_name_without_braces(
    name: str, least: int
) -> None:
    path: Path = SAMPLES / f"{name}.xml"
    if not path.exists():
        pytest.skip("the samples of the feed are not beside this checkout")
    texts = feed_names.read(path.read_bytes())
    assert len(texts) >= least
    for text in texts:
        for template in (*([text.name] if text.name else []), *text.outcomes.values()):
            names = feed_names.PLACE.findall(template)
            plain = [each.lstrip("$%!+-").strip("()").partition("+")[0].partition("-")[0]
                     for each in names]  # fmt: skip
            shown = render(template, dict.fromkeys(plain, "2"), WORDS | {"venue": "x"}, "en")
            assert shown is not None, template
            assert "{" not in shown
