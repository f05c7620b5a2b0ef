"""The client of localization: texts in the user's language, kept while localization is down.

Bundles come over plain HTTP, are kept for five minutes and then revalidated by ETag. Nothing here
fails a piece of work: `text` falls back to an older bundle, and to the key itself at last. Clients
choose the locale, so whatever is held per locale is bounded: bundles, locks, requests under way.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import httpx
import msgspec
from msgspec import Struct
from prometheus_client import Counter

from svc.mesh import tls
from svc.mesh.errors import Unavailable
from svc.mesh.outgoing import CountedClient
from svc.mesh.settings import Settings

if TYPE_CHECKING:
    from babel import Locale

SERVICE = "localization"
SOURCE_LOCALE = "en"
TIMEOUT_S = 1.0
KEPT_S = 300.0
KEPT_MAX = 200
"""Bundles kept per process; of more, the one that nobody has used for longest is forgotten."""
FETCHES_MAX = 8
"""Requests to localization at once; others wait, and so none fails for want of a connection."""
PAUSE_S = 2.0
"""After a failure, this long nobody tries again: texts must not wait a second each."""
WARM_PAUSE_S = 1.0

PLACEHOLDER = re.compile(r"{([a-z][a-z0-9_]*)}")
MISSING_TEXTS = Counter("betmesh_missing_texts", "Texts shown as their keys.", ["namespace"])

Discover = Callable[[str], Awaitable[str | None]]
"""Finds the base URL of a service by name, or None while no instance answers."""


class Money(Struct, frozen=True):
    """An argument of a text that is shown as money: minor units of an ISO 4217 currency."""

    amount_minor: int
    currency: str


class Bundle(Struct, frozen=True, kw_only=True):
    """The texts of a namespace: `resolved` is the language they are in (plural rules)."""

    locale: str
    resolved: str = SOURCE_LOCALE
    namespace: str
    version: str
    rtl: bool = False
    messages: dict[str, str | dict[str, str]] = {}


class _Kept(Struct):
    """A bundle with its ETag, and until when it needs no question."""

    bundle: Bundle
    etag: str
    until: float


class Localizer:
    """The texts of one service, from localization, by locale and namespace."""

    def __init__(
        self, service: str, discover: Discover, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Fetch on behalf of `service`; `discover` finds localization, `clock` gives seconds."""
        self.discover = discover
        self.clock = clock
        self.base_url: str | None = None
        self.kept: dict[tuple[str, str], _Kept] = {}
        # A lock lives for as long as somebody holds it or waits for it.
        self.locks = WeakValueDictionary[tuple[str, str], asyncio.Lock]()
        self.fetches = asyncio.Semaphore(FETCHES_MAX)
        self.pause_until = 0.0
        self.warming: asyncio.Task[None] | None = None
        self.client = CountedClient(
            service,
            SERVICE,
            timeout=TIMEOUT_S,
            headers={"user-agent": f"betmesh-{service}", "accept": "application/json"},
            verify=tls.http_context(Settings()),
            trust_env=False,
        )

    async def text(self, locale: str, namespace: str, key: str, /, **arguments: object) -> str:
        """Return a text in the user's language, its placeholders filled in; never raises.

        Arguments may be text, int, Decimal, Money, date or datetime (shown in UTC); `count`
        chooses between plural forms. A text that nobody knows is shown as its key.
        """
        try:
            bundle = await self.bundle(locale, namespace)
        except Unavailable:
            bundle = None
        message = bundle.messages.get(key) if bundle else None
        if bundle is None or message is None:
            MISSING_TEXTS.labels(namespace).inc()
            return key
        if isinstance(message, dict):
            message = _plural_form(message, bundle.resolved, arguments.get("count"))

        def fill(found: re.Match[str]) -> str:
            name = found[1]
            return shown(arguments[name], locale) if name in arguments else found[0]

        return PLACEHOLDER.sub(fill, message)

    async def bundle(self, locale: str, namespace: str) -> Bundle:
        """Return the texts of a namespace, an older copy of them when localization is down.

        A namespace that localization does not know is an empty bundle. Raises Unavailable when
        nothing was ever read and localization does not answer.
        """
        place = (locale, namespace)
        kept = self._fresh(place)
        if kept is None:
            lock = self.locks.setdefault(place, asyncio.Lock())
            async with lock:
                kept = self._fresh(place) or await self._renewed(place)
        if kept is None:
            raise Unavailable("localization does not answer and nothing was read before")
        return kept.bundle

    def holds(self, locale: str, namespace: str) -> bool:
        """Say whether there is a bundle at hand, were it an old one."""
        return (locale, namespace) in self.kept

    async def warm(
        self, namespaces: Iterable[str], locales: Iterable[str] = (SOURCE_LOCALE,)
    ) -> None:
        """Read namespaces ahead of their use; what fails is tried again in the background."""
        wanted = [(locale, namespace) for locale in locales for namespace in namespaces]
        left = await self._warm_once(wanted)
        if left:
            self.warming = asyncio.create_task(self._keep_warming(left))

    async def close(self) -> None:
        """Stop warming and close the connections."""
        if self.warming:
            self.warming.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.warming
        await self.client.aclose()

    async def _keep_warming(self, wanted: list[tuple[str, str]]) -> None:
        while wanted:
            await asyncio.sleep(WARM_PAUSE_S)
            wanted = await self._warm_once(wanted)

    async def _warm_once(self, wanted: list[tuple[str, str]]) -> list[tuple[str, str]]:
        left: list[tuple[str, str]] = []
        for locale, namespace in wanted:
            try:
                await self.bundle(locale, namespace)
            except Unavailable:
                left.append((locale, namespace))
        return left

    def _fresh(self, place: tuple[str, str]) -> _Kept | None:
        """Return what needs no question, as the last one used."""
        kept = self.kept.get(place)
        if kept is None or self.clock() >= kept.until:
            return None
        self.kept[place] = self.kept.pop(place)
        return kept

    async def _renewed(self, place: tuple[str, str]) -> _Kept | None:
        """Ask localization; return the older copy, or None, while it does not answer."""
        kept = self.kept.get(place)
        if self.clock() < self.pause_until:
            return kept
        async with self.fetches:
            if self.clock() < self.pause_until:
                return kept
            try:
                fetched = await self._fetch(*place, kept)
            except Unavailable:
                self.base_url = None
                self.pause_until = self.clock() + PAUSE_S
                return kept
        self.kept.pop(place, None)
        self.kept[place] = fetched
        while len(self.kept) > KEPT_MAX:
            del self.kept[next(iter(self.kept))]
        return fetched

    async def _fetch(self, locale: str, namespace: str, kept: _Kept | None) -> _Kept:
        if self.base_url is None:
            self.base_url = await self.discover(SERVICE)
        if self.base_url is None:
            raise Unavailable("no instance of localization answers")
        url = f"{self.base_url.rstrip('/')}/v1/i18n/{locale}/{namespace}"
        headers = {"if-none-match": kept.etag} if kept and kept.etag else {}
        try:
            answer = await self.client.get(url, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as failure:
            raise Unavailable(f"localization does not answer: {type(failure).__name__}") from None
        until = self.clock() + KEPT_S
        if answer.status_code == HTTPStatus.NOT_MODIFIED and kept:
            return _Kept(kept.bundle, kept.etag, until)
        if answer.status_code in (HTTPStatus.NOT_FOUND, HTTPStatus.BAD_REQUEST):
            return _Kept(Bundle(locale=locale, namespace=namespace, version=""), "", until)
        if answer.status_code != HTTPStatus.OK:
            raise Unavailable(f"localization answered {answer.status_code}")
        try:
            bundle = msgspec.json.decode(answer.content, type=Bundle)
        except msgspec.DecodeError:
            raise Unavailable("localization answered something that is no bundle") from None
        return _Kept(bundle, answer.headers.get("etag", ""), until)


def shown(value: object, locale: str) -> str:
    """Return an argument as the locale writes it; money with the digits of its currency."""
    if isinstance(value, Money):
        from babel.numbers import format_currency, get_currency_precision

        amount = Decimal(value.amount_minor).scaleb(-get_currency_precision(value.currency))
        return format_currency(amount, value.currency, locale=_cldr(locale))
    if isinstance(value, datetime):
        from babel.dates import format_datetime

        return format_datetime(value, "medium", tzinfo=UTC, locale=_cldr(locale))
    if isinstance(value, date):
        from babel.dates import format_date

        return format_date(value, "medium", locale=_cldr(locale))
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        from babel.numbers import format_decimal

        return format_decimal(value, locale=_cldr(locale), decimal_quantization=False)
    return str(value)


def _plural_form(forms: dict[str, str], locale: str, count: object) -> str:
    if not isinstance(count, int | Decimal):
        return forms.get("other", "")
    return forms.get(_cldr(locale).plural_form(count), forms.get("other", ""))


@lru_cache(maxsize=64)
def _cldr(tag: str) -> Locale:
    """Return what CLDR knows of a locale, of English for one that it does not know.

    Babel is imported here and above only when something is formatted: most processes never do.
    """
    from babel import Locale, UnknownLocaleError

    try:
        return Locale.parse(tag, sep="-")
    except (UnknownLocaleError, ValueError):
        return Locale.parse(SOURCE_LOCALE)
