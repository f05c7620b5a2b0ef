"""Reading the feed: all ten kinds, their traps, and what is refused."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from svc.mesh.errors import Invalid
from svc.sportsbook import uof
from svc.sportsbook.uof_messages import (
    Alive,
    BetCancel,
    BetSettlement,
    BetStop,
    FixtureChange,
    FixtureDocument,
    OddsChange,
    RollbackBetCancel,
    RollbackBetSettlement,
    SnapshotComplete,
)

HEAD = 'product="1" event_id="sr:match:7" timestamp="1770000000000"'

KINDS = [
    (f"<odds_change {HEAD}/>", OddsChange),
    (f'<bet_stop {HEAD} groups="all"/>', BetStop),
    (f'<bet_settlement {HEAD} certainty="1"/>', BetSettlement),
    (f'<rollback_bet_settlement {HEAD}><market id="1"/></rollback_bet_settlement>',
     RollbackBetSettlement),
    (f'<bet_cancel {HEAD}><market id="1"/></bet_cancel>', BetCancel),
    ('<rollback_bet_cancel event_id="sr:match:7" timestamp="1"/>', RollbackBetCancel),
    (f'<fixture_change {HEAD} change_type="2"/>', FixtureChange),
    ('<alive product="1" timestamp="1" subscribed="0"/>', Alive),
    ('<snapshot_complete product="1" timestamp="1" request_id="9"/>', SnapshotComplete),
    ('<fixtures_fixture><fixture id="sr:match:7"/></fixtures_fixture>', FixtureDocument),
]  # fmt: skip


@pytest.mark.parametrize(("text", "kind"), KINDS, ids=[kind.__name__ for _, kind in KINDS])
def test_every_kind_is_read_into_its_own_type(text: str, kind: type) -> None:
    assert type(uof.read(text.encode()).message) is kind


def odds_change(market: str) -> OddsChange:
    text = f"<odds_change {HEAD}><odds>{market}</odds></odds_change>"
    message = uof.read(text.encode()).message
    assert isinstance(message, OddsChange)
    return message


def test_what_is_missing_means_active_and_what_is_unknown_is_ignored() -> None:
    market = odds_change(
        '<market id="18" name="Total" specifiers="total=2.5" extended_specifiers="x=1">'
        '<outcome id="12" name="over" odds="1.85" probabilities="8.97094E-4"/>'
        '<outcome id="sr:player:5" odds="2.0" active="0"/></market>'
    ).markets[0]
    assert market.status == "active"
    assert [outcome.active for outcome in market.outcomes] == [True, False]
    assert market.outcomes[1].id == "sr:player:5"


@pytest.mark.parametrize(
    ("text", "odds"),
    [
        ("1.85", Decimal("1.85")),
        ("1.850", Decimal("1.850")),
        ("1.5E+1", Decimal(15)),
        ("1.33333333", Decimal("1.333333")),
        ("1.0", None),
        ("8.97094E-4", None),
        ("1000000", None),
        ("", None),
    ],
)
def test_odds_are_decimals_of_the_string_and_no_price_at_or_below_one(
    text: str, odds: Decimal | None
) -> None:
    market = odds_change(f'<market id="1"><outcome id="1" odds="{text}"/></market>').markets[0]
    assert market.outcomes[0].odds == odds


@pytest.mark.parametrize(
    ("code", "status"),
    [("1", "active"), ("0", "inactive"), ("-1", "suspended"), ("-2", "handed_over"),
     ("-3", "settled"), ("-4", "cancelled")],
)  # fmt: skip
def test_codes_of_market_status_become_words(code: str, status: str) -> None:
    assert odds_change(f'<market id="1" status="{code}"/>').markets[0].status == status


@pytest.mark.parametrize(
    ("told", "normal"),
    [
        ("", ""),
        ("total=2.5", "total=2.5"),
        ("setnr=1|pointnr=3", "pointnr=3|setnr=1"),
        ("pointnr=3|setnr=1", "pointnr=3|setnr=1"),
        ("variant=sr:exact_goals:6+", "variant=sr:exact_goals:6+"),
        ("a=b=c", "a=b=c"),
    ],
)
def test_specifiers_are_sorted_by_key_and_split_on_the_first_sign(told: str, normal: str) -> None:
    assert uof.normal_specifiers(told) == normal


@pytest.mark.parametrize("bad", ["total", "=2.5", "a=1|", "a=1|a=2", "a=" + "1" * 255])
def test_specifiers_that_are_none_are_refused(bad: str) -> None:
    with pytest.raises(Invalid):
        uof.normal_specifiers(bad)


def test_a_settlement_has_result_and_factors() -> None:
    message = uof.read(
        f'<bet_settlement {HEAD} certainty="2"><outcomes><market id="1" result="1">'
        '<outcome id="1" result="1" void_factor="0.0" dead_heat_factor="1.0"/>'
        '<outcome id="2" result="0" void_factor="0.5"/><outcome id="3" result="-1"/>'
        "</market></outcomes></bet_settlement>".encode()
    ).message
    assert isinstance(message, BetSettlement)
    told = [(each.result, each.void_factor) for each in message.markets[0].outcomes]
    assert told == [(1, Decimal(0)), (0, Decimal("0.5")), (-1, Decimal(0))]


def test_a_fixture_names_teams_sport_and_start_in_utc() -> None:
    message = uof.read(
        b'<fixtures_fixture generated_at="2026-06-23T10:00:00Z"><fixture id="sr:match:7"'
        b' start_time="2026-06-23T20:00:00+02:00" status="not_started"><tournament id="t">'
        b'<sport id="sr:sport:1" name="Soccer"/></tournament><competitors>'
        b'<competitor id="1" name="Rovers" qualifier="home"/>'
        b'<competitor id="2" name="Wanderers" qualifier="away"/></competitors></fixture>'
        b"</fixtures_fixture>"
    ).message
    assert message == FixtureDocument(
        event_id="sr:match:7",
        generated_at=datetime(2026, 6, 23, 10, tzinfo=UTC),
        start_time=datetime(2026, 6, 23, 18, tzinfo=UTC),
        status="not_started",
        sport="Soccer",
        home="Rovers",
        away="Wanderers",
    )


def test_the_key_of_a_message_leaves_out_who_asked_for_it_and_how_it_was_written() -> None:
    first = uof.read(f'<bet_stop {HEAD} groups="all"/>'.encode())
    again = uof.read(
        b'<?xml version="1.0" encoding="UTF-8"?>\n<bet_stop groups="all" request_id="7"'
        b' timestamp="1770000000000"  product="1" event_id="sr:match:7"></bet_stop>'
    )
    other = uof.read(f'<bet_stop {HEAD} groups="score"/>'.encode())
    assert first.content_key == again.content_key
    assert first.content_key != other.content_key


LAUGHS = f'<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;">]><bet_stop {HEAD} groups=\'&y;\'/>'


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param("", id="nothing"),
        pytest.param("not xml", id="no xml"),
        pytest.param('{"odds": 2}', id="json"),
        pytest.param(f"<odds_change {HEAD}>", id="not closed"),
        pytest.param("<unknown/>", id="another document"),
        pytest.param(LAUGHS, id="entities"),
        pytest.param('<!DOCTYPE a SYSTEM "file:///etc/passwd"><alive/>', id="document type"),
        pytest.param("<alive/>", id="attributes missing"),
        pytest.param('<alive product="one" timestamp="1"/>', id="no number"),
        pytest.param('<alive product="1" timestamp="-1"/>', id="before 1970"),
        pytest.param('<bet_stop product="1" event_id="a b" timestamp="1"/>', id="event id"),
        pytest.param('<bet_stop product="1" event_id="a.*" timestamp="1"/>', id="wildcard"),
        pytest.param(f'<bet_stop {HEAD} market_status="7"/>', id="status code"),
        pytest.param(
            f'<odds_change {HEAD}><odds><market id="1" specifiers="x"/></odds></odds_change>',
            id="specifiers",
        ),
        pytest.param(
            f'<odds_change {HEAD}><odds><market id="1"><outcome id="1" odds="NaN"/></market>'
            "</odds></odds_change>",
            id="odds",
        ),
        pytest.param(
            f'<bet_settlement {HEAD}><outcomes><market id="1"><outcome id="1" result="1"'
            ' void_factor="1E-99999999"/></market></outcomes></bet_settlement>',
            id="tiny factor",
        ),
        pytest.param(
            f'<bet_settlement {HEAD}><outcomes><market id="1"><outcome id="1" result="1"'
            ' void_factor="1.5"/></market></outcomes></bet_settlement>',
            id="factor above one",
        ),
        pytest.param("<a>" * 10_000 + "</a>" * 10_000, id="too deep"),
        pytest.param(f"<alive>{' ' * 1_100_000}</alive>", id="too large"),
        pytest.param("<fixtures_fixture/>", id="no fixture"),
        pytest.param(
            '<fixtures_fixture><fixture id="sr:match:7" start_time="soon"/></fixtures_fixture>',
            id="no time",
        ),
        pytest.param(
            '<fixtures_fixture><fixture id="sr:match:7" start_time="0001-01-01T00:00:00+14:00"/>'
            "</fixtures_fixture>",
            id="before all time",
        ),
    ],
)
def test_what_is_no_message_is_refused_with_a_reason(bad: str) -> None:
    with pytest.raises(Invalid) as refused:
        uof.read(bad.encode())
    assert refused.value.detail
