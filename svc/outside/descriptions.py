"""What the feed calls its markets: a few descriptions of our own, in three languages.

In the form of the API's documents: names are templates with specifiers in braces.
"""

from collections.abc import Mapping
from xml.etree import ElementTree as ET

LANGUAGES = ("en", "de", "pt")
HOME, AWAY = "{$competitor1}", "{$competitor2}"
HOME_LINE, AWAY_LINE = HOME + " ({+hcp})", AWAY + " ({-hcp})"
Words = tuple[str, str, str]

# Market -> its groups, its name in each language, and its outcomes.
MARKETS: Mapping[str, tuple[str, Words, Mapping[str, Words]]] = {
    "1": (
        "all|score|regular_play",
        ("Full time result", "Endstand", "Resultado final"),
        {"1": (HOME, HOME, HOME), "2": ("draw", "Remis", "empate"), "3": (AWAY, AWAY, AWAY)},
    ),
    "60": (
        "all|score|1st_half",
        ("First half result", "Halbzeitstand", "Resultado do primeiro tempo"),
        {"1": (HOME, HOME, HOME), "2": ("draw", "Remis", "empate"), "3": (AWAY, AWAY, AWAY)},
    ),
    "61": (
        "all|score|1st_half",
        ("{!goalnr} goal of the first half", "{!goalnr} Tor vor der Pause",
         "{!goalnr} gol do primeiro tempo"),
        {"6": (HOME, HOME, HOME), "7": ("none", "keines", "nenhum"), "8": (AWAY, AWAY, AWAY)},
    ),
    "66": (
        "all|score|1st_half",
        ("First half handicap {hcp}", "Handicap zur Pause {hcp}",
         "Handicap do primeiro tempo {hcp}"),
        {"1714": (HOME_LINE, HOME_LINE, HOME_LINE), "1715": (AWAY_LINE, AWAY_LINE, AWAY_LINE)},
    ),
    "21": ("all|score", ("Number of goals", "Anzahl der Tore", "Quantidade de gols"), {}),
    "770": (
        "all|player_props",
        ("{%player} goals over {total}", "{%player} Tore über {total}",
         "{%player} gols acima de {total}"),
        {"12": ("yes", "ja", "sim"), "13": ("no", "nein", "não")},
    ),
    "38": ("all|goalscorer", ("First goalscorer", "Erster Torschütze", "Primeiro marcador"), {}),
    "100": (
        "all|10_min",
        ("Result from minute {from} to {to}", "Ergebnis von Minute {from} bis {to}",
         "Resultado do minuto {from} ao {to}"),
        {"1": (HOME, HOME, HOME), "2": ("draw", "Remis", "empate"), "3": (AWAY, AWAY, AWAY)},
    ),
}  # fmt: skip
VARIANTS: Mapping[str, Mapping[str, Words]] = {
    "sr:exact_goals:2+": {
        "sr:exact_goals:2+:1": ("none", "keines", "nenhum"),
        "sr:exact_goals:2+:2": ("one", "eines", "um"),
        "sr:exact_goals:2+:3": ("two or more", "zwei oder mehr", "dois ou mais"),
    }
}
PEOPLE: Mapping[str, Words] = {
    "sr:player:501": ("Alexander North", "Alexander Nord", "Alexandre Norte"),
    "sr:player:502": ("Charles South", "Karl Süd", "Carlos Sul"),
    "sr:competitor:601": ("City of Rovers", "Stadt Rovers", "Cidade dos Rovers"),
}


def _outcomes(parent: ET.Element, outcomes: Mapping[str, Words], language: int) -> None:
    node = ET.SubElement(parent, "outcomes")
    for outcome, words in outcomes.items():
        ET.SubElement(node, "outcome", id=outcome, name=words[language])


def document(what: str, language: str) -> ET.Element | None:
    """Build the descriptions of `markets` or `variants`; None for what there is not."""
    if language not in LANGUAGES or what not in {"markets", "variants"}:
        return None
    number = LANGUAGES.index(language)
    root = ET.Element(f"{what.removesuffix('s')}_descriptions", response_code="OK")
    if what == "variants":
        for variant, outcomes in VARIANTS.items():
            _outcomes(ET.SubElement(root, "variant", id=variant), outcomes, number)
        return root
    for market, (groups, words, outcomes) in MARKETS.items():
        node = ET.SubElement(root, "market", id=market, name=words[number], groups=groups)
        if outcomes:
            _outcomes(node, outcomes, number)
    return root


def profile(kind: str, person: str, language: str) -> ET.Element | None:
    """Build the profile of one of the `players` or `competitors`; None for who there is not."""
    wanted = kind.removesuffix("s")
    if language not in LANGUAGES or person not in PEOPLE or f":{wanted}:" not in person:
        return None
    root = ET.Element(f"{wanted}_profile")
    ET.SubElement(root, wanted, id=person, name=PEOPLE[person][LANGUAGES.index(language)])
    return root
