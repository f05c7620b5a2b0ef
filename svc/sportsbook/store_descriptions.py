"""The SQL of the feed's descriptions: one function per statement."""

from collections.abc import Sequence

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
