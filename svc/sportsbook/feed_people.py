"""Players and teams that outcomes and specifiers name by their ids: asked for once and kept.

Whoever shows a name that is not known yet shows the id, and notes that the name is wanted; the next
sweep asks for it, from the database first. So nobody waits for the feed's API.
"""

from datetime import timedelta

from svc.mesh.context import Context
from svc.mesh.errors import Refused
from svc.sportsbook import feed_api, feed_names, store_descriptions
from svc.sportsbook.feed_names import Descriptions

ASKED_AT_ONCE = 20
"""Profiles that one sweep asks the API for; the others wait for the next."""
ASKED_AGAIN = timedelta(days=1)
"""A name that the feed did not know is asked for again after this."""


async def sweep(locale: str, language: str, known: Descriptions, context: Context) -> None:
    """Learn names that were wanted in a language; raises Unavailable when the API is away."""
    wanted = sorted(known.wanted)
    if not wanted:
        return
    async with context.transaction() as tx:
        since = context.now() - ASKED_AGAIN
        found = await store_descriptions.people(tx, locale, wanted, since)
    known.learn(found)
    missing = [person for person in wanted if person not in found]
    for person in missing[:ASKED_AT_ONCE]:
        name = await _asked(person, language, context)
        async with context.transaction() as tx:
            await store_descriptions.put_person(tx, locale, person, name, context.now())
        known.learn({person: name})


async def _asked(person: str, language: str, context: Context) -> str:
    """Return what the feed calls somebody, or nothing when it refuses to say."""
    try:
        profile = await feed_api.of(context).profile(person, language)
        return feed_names.read_profile(profile)
    except Refused as refusal:
        context.log.info("no name", person=person, cause=refusal.detail)
        return ""
