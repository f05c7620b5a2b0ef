"""What markets and outcomes are called, in a language: our own words first, then the feed's.

Common markets have templates of our own, whose wording comes from localization; all others are
named by the feed's descriptions. What neither knows is shown by its number, so that nothing that
the feed offers is without a name.
"""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation

from msgspec import Struct

from svc.mesh.localizer import Localizer
from svc.sportsbook.feed_names import Descriptions, render

NAMESPACE = "sportsbook"
NONE = Descriptions()


class Template(Struct, frozen=True):
    """A market that has words: the specifiers that they need, and its groups for bet_stop."""

    specifiers: tuple[str, ...] = ()
    groups: frozenset[str] = frozenset({"all", "score"})


MARKETS: Mapping[int, Template] = {
    1: Template(),
    8: Template(("goalnr",)),
    10: Template(),
    11: Template(),
    16: Template(("hcp",)),
    18: Template(("total",)),
    19: Template(("total",)),
    20: Template(("total",)),
    29: Template(),
    186: Template(),
}
"""Winner, nth goal, double chance, draw no bet, handicap, totals, both teams score, winner."""

OUTCOMES = frozenset(
    "1 2 3 4 5 6 7 8 9 10 11 12 13 74 76 1714 1715".split()  # noqa: SIM905 - a row of numbers
)


def in_groups(market_id: int, groups: str, known: Descriptions = NONE) -> bool:
    """Tell whether a bet_stop's groups concern a market; one that is unknown always is."""
    wanted = set(groups.split("|"))
    described, template = known.market(market_id, {}), MARKETS.get(market_id)
    if described is not None:
        return "all" in wanted or bool(wanted & set(described.groups.split("|")))
    return "all" in wanted or template is None or bool(wanted & template.groups)


def event_name(home: str, away: str, name: str) -> str:
    """Return the name of an event: its teams, else its own name."""
    return f"{home} v {away}" if home and away else name


class Names:
    """Names of one event's markets and outcomes, in one language."""

    def __init__(
        self,
        localizer: Localizer,
        locale: str,
        home: str,
        away: str,
        known: Descriptions = NONE,
    ) -> None:
        """Keep the language, the teams, and the feed's descriptions in that language."""
        self.known = known
        self.localizer = localizer
        self.locale = locale
        self.home = home
        self.away = away

    async def market(self, market_id: int, specifiers: str) -> str:
        """Return a market's name; `Market 18 (total=2.5)` when it has no words."""
        plain = f"Market {market_id}" + (f" ({specifiers})" if specifiers else "")
        values = _values(specifiers)
        template = MARKETS.get(market_id)
        if template is None or any(name not in values for name in template.specifiers):
            described = self.known.market(market_id, values)
            return (described and await self._described(described.name, values)) or plain
        return await self._text(f"market.{market_id}", plain, values)

    async def outcome(self, market_id: int, specifiers: str, outcome_id: str) -> str:
        """Return an outcome's name; its id when it has no words."""
        values = _values(specifiers)
        template = MARKETS.get(market_id)
        known = template is not None and all(name in values for name in template.specifiers)
        if not known or outcome_id not in OUTCOMES:
            described = self.known.outcome(market_id, values, outcome_id)
            plain = f"Outcome {outcome_id}"
            return (described and await self._described(described, values)) or plain
        return await self._text(f"outcome.{outcome_id}", f"Outcome {outcome_id}", values)

    async def _described(self, template: str, values: dict[str, str]) -> str | None:
        home = self.home or await self._word("home", "1")
        away = self.away or await self._word("away", "2")
        words = {
            "competitor1": home,
            "competitor2": away,
            "event": event_name(home, away, ""),
        }
        return render(template, values, words, self.locale, self.known.named)

    async def _text(self, key: str, fallback: str, values: dict[str, str]) -> str:
        home = self.home or await self._word("home", "1")
        away = self.away or await self._word("away", "2")
        text = await self.localizer.text(
            self.locale, NAMESPACE, key, home=home, away=away, **values
        )
        return fallback if text == key else text

    async def _word(self, key: str, fallback: str) -> str:
        text = await self.localizer.text(self.locale, NAMESPACE, key)
        return fallback if text == key else text


def _values(specifiers: str) -> dict[str, str]:
    """Return specifiers as the arguments of texts; a handicap also as each team's, signed."""
    values = {
        part.partition("=")[0]: part.partition("=")[2] for part in specifiers.split("|") if part
    }
    if "hcp" in values:
        try:
            line = Decimal(values["hcp"])
        except InvalidOperation:
            return {name: value for name, value in values.items() if name != "hcp"}
        values["hcp_home"], values["hcp_away"] = f"{line:+f}", f"{-line:+f}"
    return values
