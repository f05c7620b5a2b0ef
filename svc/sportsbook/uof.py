"""The Unified Odds Feed as it comes in: XML to typed messages, with everything odd refused.

Attribute names and code numbers are those of the feed (docs.sportradar.com/uof). What this reader
does not know is ignored, what it needs and does not find is refused as Invalid with its place.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import ROUND_DOWN, Decimal
from hashlib import sha256
from typing import Any, cast
from xml.etree.ElementTree import (  # the tree types only; defusedxml does the parsing
    Element,
    ParseError,
    TreeBuilder,
    canonicalize,
    tostring,
)

import msgspec
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser
from msgspec import Struct

from svc.mesh.errors import Invalid
from svc.sportsbook.contract import EventStatus, MarketStatus
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
)

BODY_BYTES_MAX = 1_048_576
DEPTH_MAX = 16
SPECIFIERS_MAX = 255
ODDS_LIMIT = 1_000_000
ODDS_PLACES_MAX = 6
ODDS_PLACES = Decimal("0.000001")
"""Slips name odds with at most six digits before and after the point (OddsText)."""
WHOLE = re.compile(r"-?[0-9]{1,19}", re.ASCII)
ROOT_WHOLES = frozenset(
    "product timestamp request_id certainty start_time end_time change_type subscribed".split()  # noqa: SIM905 - a row of names
)
MARKET_WHOLES = frozenset({"id", "cashout_status"})
OUTCOME_WHOLES = frozenset({"result", "active"})
CHANCE_PLACES = Decimal("0.000000001")
CHANCES = frozenset(
    name + "probabilities" for name in ("", "win_", "half_win_", "refund_", "half_lose_")
)
MARKET_STATUS: Mapping[str, MarketStatus] = {
    "1": "active",
    "-1": "suspended",
    "0": "inactive",
    "-2": "handed_over",
    "-3": "settled",
    "-4": "cancelled",
}
EVENT_STATUS: Mapping[str, EventStatus] = {
    "0": "not_started",
    "1": "live",
    "2": "suspended",
    "3": "ended",
    "4": "closed",
    "5": "cancelled",
    "6": "delayed",
    "7": "interrupted",
    "8": "postponed",
    "9": "abandoned",
}


class Document(Struct, frozen=True):
    """A message with its kind (the root element) and its key: the hash of what it says."""

    kind: str
    content_key: bytes
    message: Message


class _Bounded(TreeBuilder):
    """A tree builder that refuses documents nested deeper than any message is."""

    depth = 0

    def start(self, tag: str, attrs: dict[Any, Any], /) -> Element:
        self.depth += 1
        if self.depth > DEPTH_MAX:
            raise Invalid(f"the document is nested deeper than {DEPTH_MAX} elements")
        return super().start(tag, attrs)

    def end(self, tag: str, /) -> Element:
        self.depth -= 1
        return super().end(tag)


def read(body: bytes) -> Document:
    """Read one message; raises Invalid with what is wrong and where."""
    root = parse(body)
    build, kind = BUILDERS.get(root.tag, (None, FixtureDocument))
    if build is None:
        raise Invalid(f"<{root.tag[:64]}> is no message that this feed door knows")
    _whole(root.attrib, ROOT_WHOLES)
    try:
        message = msgspec.convert(build(root), type=kind, strict=False)
    except msgspec.ValidationError as failure:
        raise Invalid(f"<{root.tag}> is not as it should be: {failure}") from None
    # A recovery sends the same message again with the number of the request in it; only at the
    # end of a recovery this number is what the message says.
    if kind is not SnapshotComplete:
        root.attrib.pop("request_id", None)
    text = canonicalize(tostring(root, encoding="unicode"), strip_text=True)
    return Document(root.tag, sha256(text.encode()).digest(), message)


def normal_specifiers(text: str) -> str:
    """Return specifiers sorted by key, so that one market has one name; raises Invalid.

    Values may hold `=`, `:` and `+`, so each is split on its first `=` only.
    """
    if not text:
        return ""
    if len(text) > SPECIFIERS_MAX:
        raise Invalid(f"specifiers are longer than {SPECIFIERS_MAX} characters")
    pairs = [part.partition("=") for part in text.split("|")]
    if any(not key or not mark for key, mark, _ in pairs):
        raise Invalid(f"specifiers {text!r} are not key=value joined by |")
    if len({key for key, _, _ in pairs}) != len(pairs):
        raise Invalid(f"specifiers {text!r} name a key twice")
    return "|".join(f"{key}={value}" for key, _, value in sorted(pairs))


def parse(body: bytes, bytes_max: int = BODY_BYTES_MAX) -> Element:
    """Parse XML that a stranger wrote; raises Invalid for what could do harm or is no XML."""
    if len(body) > bytes_max:
        raise Invalid(f"the message is larger than {bytes_max} bytes")
    parser = cast(
        "Any",
        DefusedXMLParser(
            target=_Bounded(), forbid_dtd=True, forbid_entities=True, forbid_external=True
        ),
    )
    try:
        parser.feed(body)
        return cast("Element", parser.close())
    except DefusedXmlException:
        raise Invalid("document types and entities are not allowed") from None
    except (ParseError, ValueError, LookupError) as failure:
        raise Invalid(f"this is not well-formed XML: {failure}") from None


def _whole(attributes: Mapping[str, Any], names: frozenset[str]) -> None:
    """Refuse numbers that are not written as whole ones: 1E-400 is not the result 0."""
    for name in names & attributes.keys():
        if not WHOLE.fullmatch(str(attributes[name])):
            raise Invalid(f"{name}={str(attributes[name])[:32]!r} is no whole number")


def _code(codes: Mapping[str, str], attributes: dict[str, Any], name: str) -> None:
    """Replace a code number by its word; raises Invalid for one that the feed does not have."""
    if name in attributes:
        code = str(attributes[name])
        if code not in codes:
            raise Invalid(f"{name}={code[:32]!r} is no code of the feed")
        attributes[name] = codes[code]


def _market(element: Element) -> dict[str, Any]:
    specifiers = normal_specifiers(element.get("specifiers", ""))
    outcomes = [dict(outcome.attrib) for outcome in element.iterfind("outcome")]
    _whole(element.attrib, MARKET_WHOLES)
    for outcome in outcomes:
        _whole(outcome, OUTCOME_WHOLES)
    return {**element.attrib, "specifiers": specifiers, "outcomes": outcomes}


def _plain(root: Element) -> dict[str, Any]:
    return dict(root.attrib)


def _with_markets(root: Element) -> dict[str, Any]:
    return {**root.attrib, "markets": [_market(each) for each in root.iterfind("market")]}


def _settlement(root: Element) -> dict[str, Any]:
    return {**root.attrib, "markets": [_market(each) for each in root.iterfind("outcomes/market")]}


def _odds_change(root: Element) -> dict[str, Any]:
    markets = [_market(each) for each in root.iterfind("odds/market")]
    for market in markets:
        _code(MARKET_STATUS, market, "status")
        for outcome in market["outcomes"]:
            outcome["odds"] = _price(outcome.get("odds"))
            for name in CHANCES & outcome.keys():
                outcome[name] = _chance(outcome[name])
    message: dict[str, Any] = {**root.attrib, "markets": markets}
    message.pop("sport_event_status", None)
    status = root.find("sport_event_status")
    if status is not None:
        message["sport_event_status"] = {**status.attrib}
        _code(EVENT_STATUS, message["sport_event_status"], "status")
    return message


def _price(text: str | None) -> Decimal | None:
    """Return odds as a number, or None: an inactive outcome may come without a price.

    A price of 1 or less, or one above what a slip can name, is no price that anybody may take.
    """
    if not text:
        return None
    try:
        odds = Decimal(text)
    except ArithmeticError:
        raise Invalid(f"odds={text[:32]!r} is no number") from None
    if not odds.is_finite():
        raise Invalid(f"odds={text[:32]!r} is no number")
    if not 1 < odds < ODDS_LIMIT:
        return None
    places = -int(odds.as_tuple().exponent)
    return odds.quantize(ODDS_PLACES, ROUND_DOWN) if places > ODDS_PLACES_MAX else odds


def _chance(text: str) -> Decimal | None:
    """Return a chance as a number, or None: what is none must not close a market."""
    try:
        chance = Decimal(text)
    except ArithmeticError:
        return None
    if not (chance.is_finite() and 0 <= chance <= 1):
        return None
    return chance.quantize(CHANCE_PLACES, ROUND_DOWN)


def _bet_stop(root: Element) -> dict[str, Any]:
    message = dict(root.attrib)
    _code(MARKET_STATUS, cast("dict[str, Any]", message), "market_status")
    return message


def _fixture(root: Element) -> dict[str, Any]:
    fixture = root.find("fixture")
    if fixture is None:
        raise Invalid("<fixtures_fixture> has no <fixture>")
    names = {
        each.get("qualifier", ""): each.get("name", "")
        for each in fixture.iterfind("competitors/competitor")
    }
    sport = fixture.find("tournament/sport")
    status = fixture.get("status")
    start = fixture.get("start_time") or fixture.get("scheduled")
    return {
        "event_id": fixture.get("id", ""),
        "generated_at": _instant(root.get("generated_at")),
        "start_time": _instant(start),
        "status": status if status in EVENT_STATUS.values() else None,
        "sport": "" if sport is None else sport.get("name", ""),
        "home": names.get("home", ""),
        "away": names.get("away", ""),
        "name": fixture.get("name", ""),
    }


def _instant(text: str | None) -> datetime | None:
    """Return an ISO 8601 instant in UTC; one without an offset is taken as UTC."""
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Invalid(f"{text[:64]!r} is no date and time") from None


BUILDERS: Mapping[str, tuple[Callable[[Element], dict[str, Any]], type[Message]]] = {
    "odds_change": (_odds_change, OddsChange),
    "bet_stop": (_bet_stop, BetStop),
    "bet_settlement": (_settlement, BetSettlement),
    "rollback_bet_settlement": (_with_markets, RollbackBetSettlement),
    "bet_cancel": (_with_markets, BetCancel),
    "rollback_bet_cancel": (_with_markets, RollbackBetCancel),
    "fixture_change": (_plain, FixtureChange),
    "alive": (_plain, Alive),
    "snapshot_complete": (_plain, SnapshotComplete),
    "fixtures_fixture": (_fixture, FixtureDocument),
}
