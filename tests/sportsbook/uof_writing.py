"""Messages of the feed written from their types, apart from the reader: for there and back."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from xml.etree import ElementTree as ET

from msgspec import Struct, structs

from svc.sportsbook.feed_names import VARIANTS, MarketText
from svc.sportsbook.uof_messages import (
    Alive,
    BetCancel,
    BetSettlement,
    BetStop,
    FixtureChange,
    FixtureDocument,
    Message,
    OddsChange,
    RollbackBetCancel,
    RollbackBetSettlement,
    SnapshotComplete,
    SportEventStatus,
)

TAGS: Mapping[type[Message], str] = {
    OddsChange: "odds_change",
    BetStop: "bet_stop",
    BetSettlement: "bet_settlement",
    RollbackBetSettlement: "rollback_bet_settlement",
    BetCancel: "bet_cancel",
    RollbackBetCancel: "rollback_bet_cancel",
    FixtureChange: "fixture_change",
    Alive: "alive",
    SnapshotComplete: "snapshot_complete",
}
MARKET = {"active": 1, "suspended": -1, "inactive": 0, "handed_over": -2, "settled": -3,
          "cancelled": -4}  # fmt: skip
EVENT = ("not_started", "live", "suspended", "ended", "closed", "cancelled", "delayed",
         "interrupted", "postponed", "abandoned")  # fmt: skip
CODES = {"status": MARKET, "market_status": MARKET}


def _text(name: str, value: object, tag: str) -> str | None:
    if value is None or isinstance(value, list | Struct):
        return None
    if tag == "sport_event_status" and name == "status":
        return str(EVENT.index(str(value)))
    if name in CODES and value in CODES[name]:
        return str(CODES[name][str(value)])
    if isinstance(value, bool):
        return str(int(value))
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def _node(tag: str, of: Struct, children: Sequence[ET.Element] = ()) -> ET.Element:
    node = ET.Element(tag)
    for name in of.__struct_fields__:
        text = _text(name, getattr(of, name), tag)
        if text is not None:
            node.set(name, text)
    node.extend(children)
    return node


def _market(market: Struct) -> ET.Element:
    outcomes = [_node("outcome", each) for each in getattr(market, "outcomes", [])]
    return _node("market", market, outcomes)


def _fixture(message: FixtureDocument) -> ET.Element:
    def told(at: datetime | None) -> str:
        return "" if at is None else at.isoformat()

    root = ET.Element("fixtures_fixture", generated_at=told(message.generated_at))
    node = ET.SubElement(root, "fixture", id=message.event_id, name=message.name)
    node.attrib |= {"start_time": told(message.start_time), "status": message.status or ""}
    tournament = ET.SubElement(node, "tournament")
    ET.SubElement(tournament, "sport", name=message.sport)
    teams = ET.SubElement(node, "competitors")
    for qualifier, name in (("home", message.home), ("away", message.away)):
        ET.SubElement(teams, "competitor", qualifier=qualifier, name=name)
    return root


def written(message: Message) -> bytes:
    """Return a message as XML."""
    if isinstance(message, FixtureDocument):
        return ET.tostring(_fixture(message))
    node = _node(TAGS[type(message)], message)
    markets = [_market(each) for each in structs.asdict(message).get("markets", [])]
    status = getattr(message, "sport_event_status", None)
    if isinstance(status, SportEventStatus):
        node.append(_node("sport_event_status", status))
    match message:
        case OddsChange():
            ET.SubElement(node, "odds").extend(markets)
        case BetSettlement():
            ET.SubElement(node, "outcomes").extend(markets)
        case _:
            node.extend(markets)
    return ET.tostring(node)


def written_descriptions(texts: Sequence[MarketText]) -> bytes:
    """Return descriptions of markets and variants as one document of the API."""
    root = ET.Element("descriptions")
    for text in texts:
        if text.market_id == VARIANTS:
            node = ET.SubElement(root, "variant", id=text.variant)
        else:
            node = ET.SubElement(root, "market", id=str(text.market_id), name=text.name)
            node.attrib |= {"variant": text.variant, "groups": text.groups}
        outcomes = ET.SubElement(node, "outcomes")
        for outcome, name in text.outcomes.items():
            ET.SubElement(outcomes, "outcome", id=outcome, name=name)
    return ET.tostring(root)
