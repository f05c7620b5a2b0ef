"""The feed's own descriptions of markets: documents of its API, and names made of their templates.

A template names specifiers in braces (docs.sportradar.com/uof, "Specifiers"): `{total}` as it is,
`{+hcp}` and `{-hcp}` signed, `{!goalnr}` as an ordinal, `{(minute-1)}` reckoned, `{$competitor1}` a
team of the event, `{%player}` somebody whom the specifier names.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal, InvalidOperation

from msgspec import Struct

from svc.mesh.errors import Invalid
from svc.sportsbook.uof import parse

BODY_BYTES_MAX = 16 * 1024 * 1024
"""All markets of the feed in one language are half a megabyte today."""
PERSON = re.compile(r"sr:(player|competitor):[0-9]{1,12}", re.ASCII)
"""Somebody whom outcomes and specifiers name by an id, and the feed's API by a profile."""
WANTED_MAX = 1_000
"""Names that wait to be asked for; what is wanted beyond that is noted when it is shown again."""
VARIANTS = 0
"""The market under which the outcomes of variants are kept, which have no market of their own."""
PLACE = re.compile(r"\{([^{}]*)\}")
RECKONED = re.compile(r"\((?P<name>\w+)(?P<change>[+-]\d{1,4})\)")
NAME_MAX = 255
ENGLISH = {1: "st", 2: "nd", 3: "rd"}
TEENS = range(11, 14)


class MarketText(Struct, frozen=True, kw_only=True):
    """What a market and its outcomes are called; `groups` are what bet_stop names it by."""

    market_id: int
    variant: str = ""
    name: str = ""
    groups: str = ""
    outcomes: dict[str, str] = {}


class Descriptions:
    """The feed's descriptions in one language."""

    def __init__(self, texts: Iterable[MarketText] = ()) -> None:
        """Order them by market and variant."""
        self.texts = {(text.market_id, text.variant): text for text in texts}
        self.people: dict[str, str] = {}
        self.wanted: set[str] = set()

    def market(self, market_id: int, specifiers: Mapping[str, str]) -> MarketText | None:
        """Return what describes a market: its own variant if there is one, else the market."""
        variant = specifiers.get("variant", "")
        return self.texts.get((market_id, variant)) or self.texts.get((market_id, ""))

    def named(self, text: str) -> str | None:
        """Return who is meant by ids, joined by commas; None for a text that holds something else.

        Somebody who is not known yet is noted as wanted, and stands there by the id.
        """
        ids = text.split(",")
        if not all(PERSON.fullmatch(each) for each in ids):
            return None
        unknown = [each for each in ids if each not in self.people]
        self.wanted.update(unknown[: max(WANTED_MAX - len(self.wanted), 0)])
        return ", ".join(self.people.get(each) or each for each in ids)

    def learn(self, names: Mapping[str, str]) -> None:
        """Take in names by id; an empty one says that the feed knows none."""
        self.people.update(names)
        self.wanted.difference_update(names)

    def outcome(self, market_id: int, specifiers: Mapping[str, str], outcome_id: str) -> str | None:
        """Return the template of an outcome's name, of the market's or of the variant's."""
        known = self.market(market_id, specifiers)
        if known is not None and outcome_id in known.outcomes:
            return known.outcomes[outcome_id]
        if person := self.named(outcome_id):
            return person
        variant = self.texts.get((VARIANTS, specifiers.get("variant", "")))
        return None if variant is None else variant.outcomes.get(outcome_id)


def read(body: bytes) -> list[MarketText]:
    """Read a document of descriptions of markets or of variants; raises Invalid."""
    root = parse(body, BODY_BYTES_MAX)
    found: list[MarketText] = []
    for element in root:
        number = element.get("id", "")
        outcomes = {
            each.get("id", ""): each.get("name", "")
            for each in element.iterfind("outcomes/outcome")
        }
        if element.tag == "variant":
            found.append(MarketText(market_id=VARIANTS, variant=number, outcomes=outcomes))
        elif element.tag == "market" and number.isascii() and number.isdecimal():
            found.append(
                MarketText(
                    market_id=int(number),
                    variant=element.get("variant", ""),
                    name=element.get("name", ""),
                    groups=element.get("groups", ""),
                    outcomes=outcomes,
                )
            )
    return found


def read_profile(body: bytes) -> str:
    """Return the name in a profile of a player or a team; raises Invalid."""
    root = parse(body, BODY_BYTES_MAX)
    person = root.find("player" if root.tag == "player_profile" else "competitor")
    name = "" if person is None else person.get("name", "").strip()
    if not name:
        raise Invalid(f"<{root.tag[:64]}> is no profile of anybody")
    return name[:NAME_MAX]


def render(
    template: str,
    specifiers: Mapping[str, str],
    words: Mapping[str, str],
    locale: str,
    named: Callable[[str], str | None] = str,
) -> str | None:
    """Return a name, or None when the specifiers lack what its template needs.

    `words` are those of the event: `competitor1`, `competitor2` and `event`; `named` says who is
    meant by an id.
    """
    missing = False

    def fill(place: re.Match[str]) -> str:
        nonlocal missing
        text = _filled(place[1], specifiers, words, locale)
        if text is not None and place[1].startswith("%"):
            text = named(text) or text
        missing = missing or text is None
        return text or ""

    name = PLACE.sub(fill, template)
    return None if missing or not name else name


def _filled(
    place: str, specifiers: Mapping[str, str], words: Mapping[str, str], locale: str
) -> str | None:
    sign = place[:1] if place[:1] in "$%!+-" else ""
    name = place[len(sign) :]
    if sign == "$":
        return words.get(name)
    value = _value(name, specifiers)
    if value is None or sign in {"", "%"}:
        return value
    try:
        number = Decimal(value)
        if sign == "!":
            return ordinal(int(number), locale)
        number = number if sign == "+" else -number
        return f"{number:+f}" if number else "0"
    except (InvalidOperation, ValueError, OverflowError):
        return None


def _value(name: str, specifiers: Mapping[str, str]) -> str | None:
    reckoned = RECKONED.fullmatch(name)
    if reckoned is None:
        return specifiers.get(name)
    try:
        return str(int(specifiers[reckoned["name"]]) + int(reckoned["change"]))
    except (KeyError, ValueError):
        return None


def ordinal(number: int, locale: str) -> str:
    """Return a number as a place in a row, as the language writes it."""
    language = locale.partition("-")[0]
    if language == "en":
        ending = "th" if number % 100 in TEENS else ENGLISH.get(number % 10, "th")
        return f"{number}{ending}"
    return f"{number}º" if language == "pt" else f"{number}."
