"""The SQL of the feed's descriptions: one function per statement."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from svc.mesh.database import Tx
from svc.sportsbook.feed_names import MarketText


async def put(tx: Tx, locale: str, texts: Sequence[MarketText]) -> None:
    """Write descriptions in a language; those that are gone from the feed stay known."""
    await tx.executemany(
        """
        INSERT INTO market_description (locale, market_id, variant, name, groups, outcomes)
        VALUES ($1, $2, $3, $4, $5, $6::jsonb)
        ON CONFLICT (locale, market_id, variant) DO UPDATE
        SET name = excluded.name, groups = excluded.groups, outcomes = excluded.outcomes
        """,
        [
            (
                locale,
                text.market_id,
                text.variant,
                text.name,
                text.groups,
                msgspec.json.encode(text.outcomes).decode(),
            )
            for text in texts
        ],
    )


async def of(tx: Tx, locale: str) -> list[MarketText]:
    """Return all descriptions in a language."""
    rows = await tx.fetch(
        """
        SELECT market_id, variant, name, groups, outcomes::text FROM market_description
        WHERE locale = $1
        """,
        locale,
    )
    return [
        MarketText(
            market_id=row["market_id"],
            variant=row["variant"],
            name=row["name"],
            groups=row["groups"],
            outcomes=msgspec.json.decode(row["outcomes"], type=dict[str, str]),
        )
        for row in rows
    ]


async def people(tx: Tx, locale: str, person_ids: Sequence[str], since: datetime) -> dict[str, str]:
    """Return names in a language by id; an empty one only if it was asked for since an instant."""
    rows = await tx.fetch(
        """
        SELECT person_id, name FROM person
        WHERE locale = $1 AND person_id = ANY ($2::text[]) AND (name <> '' OR asked_at > $3)
        """,
        locale,
        list(person_ids),
        since,
    )
    return {row["person_id"]: row["name"] for row in rows}


async def put_person(tx: Tx, locale: str, person_id: str, name: str, now: datetime) -> None:
    """Write what somebody is called in a language; a name that is known stays while none comes."""
    await tx.execute(
        """
        INSERT INTO person (locale, person_id, name, asked_at) VALUES ($1, $2, $3, $4)
        ON CONFLICT (locale, person_id) DO UPDATE
        SET name = CASE WHEN excluded.name = '' THEN person.name ELSE excluded.name END,
            asked_at = excluded.asked_at
        """,
        locale,
        person_id,
        name,
        now,
    )
