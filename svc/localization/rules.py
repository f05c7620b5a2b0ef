"""Locales, fallback chains and the checks that keep bundles of all languages alike."""

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise

Text = str | dict[str, str]
"""A message: one text, or one text per CLDR plural category (`other` is always there)."""
Messages = dict[str, Text]

SOURCE_LOCALE = "en"
"""The language in which texts are written first; the end of every fallback chain."""
PLURAL_CATEGORIES = frozenset({"zero", "one", "two", "few", "many", "other"})
"""https://www.unicode.org/reports/tr35/tr35-numbers.html#Language_Plural_Rules"""

LOCALE = re.compile(r"([A-Za-z]{2,3})(?:-([A-Za-z]{4}))?(?:-([A-Za-z]{2}|[0-9]{3}))?")
NAMESPACE = re.compile(r"[a-z][a-z0-9_]{0,63}")
KEY = re.compile(r"[a-z0-9][a-z0-9_.-]{0,127}")
PLACEHOLDER = re.compile(r"{([a-z][a-z0-9_]*)}")


def normalise(tag: str) -> str | None:
    """Return a BCP 47 tag in its usual letter case (`pt-br` -> `pt-BR`); None when malformed."""
    found = LOCALE.fullmatch(tag)
    if found is None:
        return None
    language, script, region = found.groups()
    parts = (language.lower(), script.title() if script else "", region.upper() if region else "")
    return "-".join(part for part in parts if part)


def chain(locale: str, available: frozenset[str]) -> list[str]:
    """Return the locales that answer for one, best first: de-AT -> de -> en.

    Another region of the same language comes before another language: pt-PT -> pt-BR -> en.
    """
    tags = [locale]
    while "-" in tags[-1]:
        tags.append(tags[-1].rpartition("-")[0])
    language = tags[-1] + "-"
    tags += sorted(tag for tag in available if tag.startswith(language) and tag not in tags)
    if SOURCE_LOCALE not in tags:
        tags.append(SOURCE_LOCALE)
    return [tag for tag in tags if tag in available]


def placeholders(text: Text) -> frozenset[str]:
    """Return the names in braces of a message, of all its plural forms together."""
    forms = text.values() if isinstance(text, dict) else (text,)
    return frozenset(name for form in forms for name in PLACEHOLDER.findall(form))


def mistakes(namespace: str, by_locale: Mapping[str, Messages]) -> Iterator[str]:
    """Yield what is wrong with the bundles of a namespace, as sentences; nothing when all is well.

    Every language must have the same keys, and every message the same placeholders: a text that
    says less in one language is a mistake of the translator that readers would find first.
    """
    for locale, messages in by_locale.items():
        for key, text in messages.items():
            yield from _mistakes_of_text(f"{locale}/{namespace}: {key}", key, text)
    for first, second in pairwise(sorted(by_locale)):
        keys, others = by_locale[first].keys(), by_locale[second].keys()
        for key in sorted(keys ^ others):
            lacking = second if key in keys else first
            yield f"{lacking}/{namespace}: {key} is missing, the other languages have it"
        for key in sorted(keys & others):
            here = placeholders(by_locale[first][key])
            there = placeholders(by_locale[second][key])
            if here != there:
                names = ", ".join(sorted(here ^ there))
                yield f"{namespace}: {key} differs between {first} and {second} in {names}"


def _mistakes_of_text(place: str, key: str, text: Text) -> Iterator[str]:
    if not KEY.fullmatch(key):
        yield f"{place} is not a key (lower case, digits, _ . -)"
    forms = text if isinstance(text, dict) else {"other": text}
    if "other" not in forms:
        yield f"{place} has no plural form `other`"
    if unknown := forms.keys() - PLURAL_CATEGORIES:
        yield f"{place} has forms that CLDR does not know: {', '.join(sorted(unknown))}"
    for form in forms.values():
        bare = PLACEHOLDER.sub("", form)
        if not form.strip() or "{" in bare or "}" in bare:
            yield f"{place} is empty or has a brace that names nothing"
