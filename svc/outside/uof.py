"""The messages of the Unified Odds Feed and its fixture document, as XML.

Names of attributes and code numbers are those of Sportradar's public description of the feed
(docs.sportradar.com/uof): market status 1 active, -1 suspended, 0 deactivated, -2 handed over,
-3 settled, -4 cancelled; result 1 won, 0 lost; times in Unix milliseconds.
"""

from decimal import Decimal
from typing import Literal
from xml.etree import ElementTree as ET

from defusedxml.ElementTree import fromstring
from msgspec import Struct, field, structs


class Outcome(Struct, kw_only=True, forbid_unknown_fields=True):
    """One outcome, in odds (odds, active), in a settlement (result, factors) or just named."""

    id: str
    odds: Decimal | None = None
    probabilities: Decimal | None = None
    win_probabilities: Decimal | None = None
    half_win_probabilities: Decimal | None = None
    refund_probabilities: Decimal | None = None
    half_lose_probabilities: Decimal | None = None
    lose_probabilities: Decimal | None = None
    active: Literal[0, 1] | None = None
    team: Literal[1, 2] | None = None
    result: Literal[-1, 0, 1] | None = None
    void_factor: Decimal | None = None
    dead_heat_factor: Decimal | None = None


class Market(Struct, kw_only=True, forbid_unknown_fields=True):
    """One line of a market: its identity is the id together with the specifiers."""

    id: int
    specifiers: str | None = None
    extended_specifiers: str | None = None
    status: Literal[1, 0, -1, -2, -3, -4] | None = None
    favourite: int | None = None
    cashout_status: Literal[1, -1, -2] | None = None
    void_reason: int | None = None
    outcomes: list[Outcome] = []


class EventStatus(Struct, kw_only=True, forbid_unknown_fields=True):
    """Where the event stands: 0 not started, 1 live, 3 ended, 4 closed; the clock as mm:ss."""

    status: int
    reporting: int | None = None
    match_status: int
    home_score: int | None = None
    away_score: int | None = None
    match_time: str | None = None


class Message(Struct, kw_only=True, forbid_unknown_fields=True, tag_field="message"):
    """What all feed messages carry; a timestamp of None is for the sender to fill in."""

    product: int | None = 1
    timestamp: int | None = None
    request_id: int | None = None


class OddsChange(Message, kw_only=True, tag="odds_change"):
    event_id: str
    odds_change_reason: int | None = None
    status: EventStatus | None = None
    betting_status: int | None = None
    betstop_reason: int | None = None
    markets: list[Market] = []


class BetStop(Message, kw_only=True, tag="bet_stop"):
    event_id: str
    groups: str = "all"
    market_status: Literal[0, -1] | None = None


class BetSettlement(Message, kw_only=True, tag="bet_settlement"):
    event_id: str
    certainty: Literal[1, 2] = 2
    markets: list[Market]


class RollbackBetSettlement(Message, kw_only=True, tag="rollback_bet_settlement"):
    event_id: str
    markets: list[Market]


class BetCancel(Message, kw_only=True, tag="bet_cancel"):
    event_id: str
    start_time: int | None = None
    end_time: int | None = None
    superceded_by: str | None = None
    markets: list[Market]


class RollbackBetCancel(Message, kw_only=True, tag="rollback_bet_cancel"):
    event_id: str
    start_time: int | None = None
    end_time: int | None = None
    markets: list[Market]


class FixtureChange(Message, kw_only=True, tag="fixture_change"):
    event_id: str
    change_type: int | None = None
    start_time: int | None = None
    next_live_time: int | None = None


class Alive(Message, kw_only=True, tag="alive"):
    subscribed: Literal[0, 1] = 1


class SnapshotComplete(Message, kw_only=True, tag="snapshot_complete"):
    """Ends a recovery; without the request's id nobody can tell which."""


FeedMessage = (
    OddsChange
    | BetStop
    | BetSettlement
    | RollbackBetSettlement
    | BetCancel
    | RollbackBetCancel
    | FixtureChange
    | Alive
    | SnapshotComplete
)


class Team(Struct, kw_only=True, forbid_unknown_fields=True):
    id: str
    name: str


class Fixture(
    Struct, kw_only=True, forbid_unknown_fields=True, tag_field="message", tag="fixtures_fixture"
):
    """A match with its names; times are RFC 3339. The API's document `fixtures_fixture`."""

    event_id: str
    start_time: str
    generated_at: str | None = None
    status: str = "not_started"
    home: Team = field(default_factory=lambda: Team(id="sr:competitor:7001", name="Rovers"))
    away: Team = field(default_factory=lambda: Team(id="sr:competitor:7002", name="Wanderers"))
    tournament: Team = field(default_factory=lambda: Team(id="sr:tournament:71", name="Cup"))
    sport: Team = field(default_factory=lambda: Team(id="sr:sport:1", name="Soccer"))
    category: Team = field(default_factory=lambda: Team(id="sr:category:72", name="Islands"))


Document = FeedMessage | Fixture


def _node(tag: str, attributes: Struct, *children: ET.Element) -> ET.Element:
    """Make an element of a struct's plain fields; those that are None or lists are left out."""
    node = ET.Element(tag)
    for name in structs.asdict(attributes):
        value: object = getattr(attributes, name)
        if isinstance(value, Decimal):
            node.set(name, f"{value:f}")
        elif isinstance(value, str | int):
            node.set(name, str(value))
    node.extend(children)
    return node


def _market(market: Market) -> ET.Element:
    return _node("market", market, *(_node("outcome", outcome) for outcome in market.outcomes))


def _status(status: EventStatus) -> ET.Element:
    node = _node("sport_event_status", status)
    match_time = node.attrib.pop("match_time", None)
    if match_time is not None:
        ET.SubElement(node, "clock", match_time=match_time, stopped="false")
    return node


def _odds_change(message: OddsChange) -> ET.Element:
    node = _node("odds_change", message)
    if message.status is not None:
        node.append(_status(message.status))
    odds = ET.SubElement(node, "odds")
    for name in ("betting_status", "betstop_reason"):
        if name in node.attrib:
            odds.set(name, node.attrib.pop(name))
    odds.extend(_market(market) for market in message.markets)
    return node


def _fixture(fixture: Fixture) -> ET.Element:
    root = ET.Element("fixtures_fixture")
    if fixture.generated_at is not None:
        root.set("generated_at", fixture.generated_at)
    node = ET.SubElement(root, "fixture", id=fixture.event_id, start_time=fixture.start_time)
    node.attrib |= {"start_time_confirmed": "true", "liveodds": "booked", "status": fixture.status}
    parts = _node("sport", fixture.sport), _node("category", fixture.category)
    node.append(_node("tournament", fixture.tournament, *parts))
    competitors = ET.SubElement(node, "competitors")
    for team, qualifier in ((fixture.home, "home"), (fixture.away, "away")):
        competitor = _node("competitor", team)
        competitor.set("qualifier", qualifier)
        competitors.append(competitor)
    return root


def element(document: Document) -> ET.Element:
    """Build the XML tree of a feed message or of the fixture document."""
    match document:
        case Fixture():
            return _fixture(document)
        case OddsChange():
            return _odds_change(document)
        case BetSettlement():
            node = _node("bet_settlement", document)
            ET.SubElement(node, "outcomes").extend(_market(each) for each in document.markets)
            return node
        case RollbackBetSettlement() | BetCancel() | RollbackBetCancel():
            children = [_market(each) for each in document.markets]
            return _node(str(document.__struct_config__.tag), document, *children)
        case BetStop() | FixtureChange() | Alive() | SnapshotComplete():
            return _node(str(document.__struct_config__.tag), document)


def to_xml(tree: ET.Element) -> bytes:
    """Write a tree as an XML document in UTF-8."""
    return ET.tostring(tree, encoding="UTF-8", xml_declaration=True)


def producers(products: dict[int, tuple[str, str, int]]) -> ET.Element:
    """Build the API's list of producers: id -> name in URLs, scope, recovery window in minutes."""
    root = ET.Element("producers", response_code="OK")
    for product, (name, scope, window) in products.items():
        node = ET.SubElement(root, "producer", id=str(product), name=name, active="true")
        node.attrib |= {"scope": scope, "stateful_recovery_window_in_minutes": str(window)}
    return root


def answer(code: str, sentence: str) -> ET.Element:
    """Build the API's answer that isn't a document: ACCEPTED, NOT_FOUND, FORBIDDEN and so on."""
    root = ET.Element("response", response_code=code)
    ET.SubElement(root, "action").text = sentence
    return root


PREMATCH_PRODUCTS = frozenset({"3"})
SOCCER = "1"
LOW = frozenset({"bet_settlement", "rollback_bet_settlement", "bet_cancel", "rollback_bet_cancel"})


def routing_key(message: bytes, sport: str = SOCCER, node: str = "-") -> str:
    """Return the key under which the feed's exchange carries a message.

    Its parts: priority, pre-match or live, the kind, the sport, the event's URN and id, and the
    node that asked for it in a recovery, if it is for that node only.
    """
    root = fromstring(message)
    event_id, product = root.get("event_id"), root.get("product", "")
    if event_id is None:
        return f"-.-.-.{root.tag}.-.-.-.{node}"
    priority = "lo" if root.tag in LOW else "hi"
    scope = "pre.-" if product in PREMATCH_PRODUCTS else "-.live"
    urn, _, number = event_id.rpartition(":")
    return f"{priority}.{scope}.{root.tag}.{sport}.{urn}.{number}.{node}"
