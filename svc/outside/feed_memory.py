"""What the odds feed said so far, so that a client which missed it can ask for it again."""

from collections import deque
from collections.abc import Iterator
from copy import deepcopy
from xml.etree import ElementTree as ET

STATEFUL = {"bet_settlement", "rollback_bet_settlement", "bet_cancel", "rollback_bet_cancel"}
STATEFUL_KEPT_MAX = 20_000
CLOSED = "4"

Line = tuple[str, str]


class _Book:
    """The last status and the last state of every line of one event at one producer."""

    def __init__(self) -> None:
        self.status: ET.Element | None = None
        self.lines: dict[Line, ET.Element] = {}


def _line(market: ET.Element) -> Line:
    return market.get("id", ""), market.get("specifiers", "")


class Memory:
    """Fixtures, books by (product, event), and the messages that settle or cancel, in order."""

    def __init__(self) -> None:
        """Start with nothing said."""
        self.fixtures: dict[str, ET.Element] = {}
        self._books: dict[tuple[str, str], _Book] = {}
        self._stateful: deque[ET.Element] = deque(maxlen=STATEFUL_KEPT_MAX)

    def remember(self, message: ET.Element) -> None:
        """Take in a message that was sent."""
        fixture = message.find("fixture")
        if message.tag == "fixtures_fixture" and fixture is not None:
            self.fixtures[fixture.get("id", "")] = message
        book = self._books.setdefault(self._key(message), _Book())
        if message.tag == "odds_change":
            book.status = message.find("sport_event_status")
            for market in message.iter("market"):
                book.lines[_line(market)] = deepcopy(market)
        elif message.tag == "bet_stop":
            for market in book.lines.values():
                if market.get("status", "1") == "1":
                    market.set("status", message.get("market_status", "-1"))
        elif message.tag in STATEFUL:
            self._stateful.append(message)
            for market in message.iter("market"):
                known = book.lines.get(_line(market))
                if message.tag == "bet_settlement" and known is not None:
                    known.set("status", "-3")
        self._forget_closed(message)

    def odds(self, product: int, event_id: str | None, now_ms: int) -> Iterator[ET.Element]:
        """Give the current odds of one producer's events, or of one event, as new messages."""
        for (of_product, of_event), book in tuple(self._books.items()):
            if of_product != str(product) or event_id not in {None, of_event} or not book.lines:
                continue
            message = ET.Element("odds_change", product=of_product, event_id=of_event)
            message.set("timestamp", str(now_ms))
            if book.status is not None:
                message.append(book.status)
            ET.SubElement(message, "odds").extend(book.lines.values())
            yield message

    def stateful(self, product: int, event_id: str | None, after_ms: int) -> Iterator[ET.Element]:
        """Give again, in order, what settled or canceled since; timestamps are the old ones."""
        for message in tuple(self._stateful):
            of_product, of_event = self._key(message)
            recent = int(message.get("timestamp", "0")) >= after_ms
            if of_product == str(product) and event_id in {None, of_event} and recent:
                yield deepcopy(message)

    @staticmethod
    def _key(message: ET.Element) -> tuple[str, str]:
        return message.get("product", ""), message.get("event_id", "")

    def _forget_closed(self, message: ET.Element) -> None:
        status = message.find("sport_event_status")
        if status is not None and status.get("status") == CLOSED:
            for key in [key for key in self._books if key[1] == message.get("event_id")]:
                del self._books[key]
