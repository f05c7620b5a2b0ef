"""All bundles as they lie in `bundles/<locale>/<namespace>.json`, checked and merged once."""

from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path

import msgspec
from babel import Locale, UnknownLocaleError
from msgspec import Struct

from svc.localization import rules
from svc.localization.rules import Messages
from svc.mesh.errors import DeclarationError

FOLDER = Path(__file__).parent / "bundles"
RESERVED = frozenset({"formats"})
"""Names that are no namespaces, because the path `/v1/i18n/{locale}/formats` means another."""
RENDERED_MAX = 1_000
"""Bundles kept ready per process: locales are the client's free choice."""


class Bundle(Struct, frozen=True, kw_only=True):
    """The texts of a namespace for a locale, merged along its fallback chain.

    `resolved` is the language that most texts are in: its plural rule chooses between forms.
    """

    locale: str
    resolved: str
    namespace: str
    version: str
    rtl: bool
    messages: Messages


class Rendered(Struct, frozen=True):
    """A bundle as it travels: the bytes and the strong ETag that is their hash."""

    bundle: Bundle
    body: bytes
    etag: str


class Catalogue:
    """Every bundle of every language, in memory."""

    def __init__(self, bundles: Mapping[str, Mapping[str, Messages]]) -> None:
        """Take the bundles by namespace and locale."""
        self.bundles = bundles
        self.rendered: dict[tuple[str, str], Rendered] = {}

    @property
    def namespaces(self) -> list[str]:
        """Return all namespaces, sorted."""
        return sorted(self.bundles)

    def chain(self, locale: str, namespace: str) -> list[str]:
        """Return which locales answer for one, best first; empty for an unknown namespace."""
        return rules.chain(locale, frozenset(self.bundles.get(namespace, {})))

    def bundle(self, locale: str, namespace: str) -> Rendered | None:
        """Return the merged bundle of a normalised locale; None for an unknown namespace."""
        if namespace not in self.bundles:
            return None
        if (locale, namespace) not in self.rendered:
            if len(self.rendered) >= RENDERED_MAX:
                self.rendered.clear()
            self.rendered[locale, namespace] = self._render(locale, namespace)
        return self.rendered[locale, namespace]

    def _render(self, locale: str, namespace: str) -> Rendered:
        tags = self.chain(locale, namespace)
        messages: Messages = {}
        for tag in reversed(tags):
            messages |= self.bundles[namespace][tag]
        version = sha256(msgspec.json.encode(messages, order="sorted")).hexdigest()[:16]
        bundle = Bundle(
            locale=locale,
            resolved=tags[0],
            namespace=namespace,
            version=version,
            rtl=is_right_to_left(locale),
            messages=messages,
        )
        body = msgspec.json.encode(bundle, order="sorted")
        return Rendered(bundle, body, etag(body))


def etag(body: bytes) -> str:
    """Return the strong entity tag of a body: the same bytes, the same tag (RFC 9110, 8.8.3)."""
    return f'"{sha256(body).hexdigest()[:32]}"'


def is_right_to_left(locale: str) -> bool:
    """Say whether a locale is written from right to left; unknown ones are not."""
    try:
        return Locale.parse(locale, sep="-").character_order == "right-to-left"
    except UnknownLocaleError:
        return False


def load(folder: Path = FOLDER) -> Catalogue:
    """Read and check every bundle.

    Raises DeclarationError with every mistake on a line of its own: a service that would show
    half-translated texts does not start.
    """
    found: list[str] = []
    bundles: dict[str, dict[str, Messages]] = {}
    locales = sorted(path.name for path in folder.iterdir() if path.is_dir())
    found += [f"{name} is not a locale" for name in locales if rules.normalise(name) != name]
    for file in sorted(folder.glob("*/*.json")):
        if not rules.NAMESPACE.fullmatch(file.stem) or file.stem in RESERVED:
            found.append(f"{file.stem} cannot name a namespace ({file.parent.name})")
            continue
        try:
            messages = msgspec.json.decode(file.read_bytes(), type=Messages)
        except msgspec.DecodeError as failure:
            found.append(f"{file.parent.name}/{file.stem}: {failure}")
            continue
        bundles.setdefault(file.stem, {})[file.parent.name] = messages
    for namespace, by_locale in bundles.items():
        found += [
            f"{locale}/{namespace}.json is missing" for locale in locales if locale not in by_locale
        ]
        found += rules.mistakes(namespace, by_locale)
    if found:
        raise DeclarationError("bundles are not complete:\n  " + "\n  ".join(found))
    return Catalogue(bundles)


@cache
def catalogue() -> Catalogue:
    """Return the bundles of this installation, read at the first call."""
    return load()
