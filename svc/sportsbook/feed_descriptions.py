"""The feed's descriptions of its markets, held in memory by language and renewed once a day."""

from datetime import datetime, timedelta
from weakref import WeakKeyDictionary

from svc.mesh.context import Context
from svc.mesh.errors import Refused, Unavailable
from svc.mesh.runtime import Runtime
from svc.sportsbook import feed_api, feed_names, feed_people, store_descriptions
from svc.sportsbook.feed_names import Descriptions

LANGUAGES = {"en": "en", "de": "de", "pt-BR": "pt"}
"""Our locales, and what the feed calls their languages."""
SPOKEN = {locale.partition("-")[0]: locale for locale in LANGUAGES}
FRESH = timedelta(hours=24)
RETRY = timedelta(minutes=5)
NONE = Descriptions()


class _Held:
    """What one instance holds, and when it asks the API again."""

    def __init__(self) -> None:
        self.by_locale: dict[str, Descriptions] = {}
        self.next_at: datetime | None = None


_of: WeakKeyDictionary[Runtime, _Held] = WeakKeyDictionary()


def of(context: Context, locale: str) -> Descriptions:
    """Return the descriptions in a language, or in English where the feed is not asked in it."""
    held = _of.get(context.runtime)
    if held is None:
        return NONE
    language = SPOKEN.get(locale.partition("-")[0], "en")
    return held.by_locale.get(locale) or held.by_locale.get(language, NONE)


async def load(context: Context) -> None:
    """Take from the database what was fetched before."""
    held = _of.setdefault(context.runtime, _Held())
    async with context.transaction() as tx:
        for locale in LANGUAGES:
            before = held.by_locale.get(locale, NONE)
            known = Descriptions(await store_descriptions.of(tx, locale))
            known.learn({person: name for person, name in before.people.items() if name})
            held.by_locale[locale] = known


async def sweep(context: Context) -> None:
    """Ask the API for who is wanted, and for all anew when it is time.

    Without an answer what is known stays.
    """
    held = _of.setdefault(context.runtime, _Held())
    now = context.now()
    if held.next_at is not None and now < held.next_at:
        await _learn(held, context)
        return
    try:
        for locale, language in LANGUAGES.items():
            await _fetch(locale, language, context)
    except Unavailable as failure:  # the next sweep asks again
        context.log.debug("descriptions not there yet", cause=failure.detail)
        return
    except Refused as refusal:
        context.log.warning("no descriptions", cause=refusal.detail)
        held.next_at = now + RETRY
        return
    held.next_at = now + FRESH
    await load(context)


async def _learn(held: _Held, context: Context) -> None:
    try:
        for locale, language in LANGUAGES.items():
            await feed_people.sweep(locale, language, held.by_locale.get(locale, NONE), context)
    except Unavailable as failure:  # the next sweep asks again
        context.log.debug("names not there yet", cause=failure.detail)


async def _fetch(locale: str, language: str, context: Context) -> None:
    for what in ("markets", "variants"):
        texts = feed_names.read(await feed_api.of(context).descriptions(what, language))
        async with context.transaction() as tx:
            await store_descriptions.put(tx, locale, texts)
