"""SQL of what payment knows of players: their currency, exclusion, verification and limits."""

from datetime import datetime

from svc.mesh.database import Tx
from svc.payment.rules import AnnouncedLimit, Player


async def lock(tx: Tx, user_id: str) -> Player:
    """Return a player, made if unknown; deposits of one player stand in line behind this."""
    await tx.execute(
        "INSERT INTO players (user_id) VALUES ($1) ON CONFLICT (user_id) DO NOTHING", user_id
    )
    rows = await tx.fetch(
        """
        SELECT user_id, currency, locale, kyc_status, excluded_until
        FROM players WHERE user_id = $1 FOR UPDATE
        """,
        user_id,
    )
    row = rows[0]
    return Player(
        user_id=str(row["user_id"]),
        currency=row["currency"],
        locale=row["locale"],
        kyc_status=row["kyc_status"],
        excluded_until=row["excluded_until"],
    )


async def locale_of(tx: Tx, user_id: str) -> str:
    """Return a player's language, English for one that is not known."""
    found: str | None = await tx.fetchval("SELECT locale FROM players WHERE user_id = $1", user_id)
    return found or "en"


async def register(tx: Tx, user_id: str, currency: str, locale: str) -> None:
    """Keep what a registration tells."""
    await tx.execute(
        "UPDATE players SET currency = $2, locale = $3 WHERE user_id = $1",
        user_id,
        currency,
        locale,
    )


async def set_locale(tx: Tx, user_id: str, locale: str) -> None:
    """Keep the language."""
    await tx.execute("UPDATE players SET locale = $2 WHERE user_id = $1", user_id, locale)


async def exclude(tx: Tx, user_id: str, until: datetime) -> None:
    """Exclude until an instant; an exclusion is never made shorter."""
    await tx.execute(
        """
        UPDATE players SET excluded_until = greatest(excluded_until, $2) WHERE user_id = $1
        """,
        user_id,
        until,
    )


async def set_kyc(tx: Tx, user_id: str, status: str, at: datetime) -> None:
    """Keep the newest state of the verification, in whatever order events come."""
    await tx.execute(
        """
        UPDATE players SET kyc_status = $2, kyc_at = $3
        WHERE user_id = $1 AND (kyc_at IS NULL OR kyc_at <= $3)
        """,
        user_id,
        status,
        at,
    )


async def announce_limit(tx: Tx, user_id: str, limit: AnnouncedLimit) -> None:
    """Keep a deposit limit, in minor units."""
    await tx.execute(
        """
        INSERT INTO deposit_limits (user_id, period, amount, announced_at, effective_at)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (user_id, period, announced_at) DO NOTHING
        """,
        user_id,
        limit.period,
        limit.amount,
        limit.announced_at,
        limit.effective_at,
    )


async def limits(tx: Tx, user_id: str) -> list[AnnouncedLimit]:
    """Return every deposit limit that was announced."""
    rows = await tx.fetch(
        """
        SELECT period, announced_at, effective_at, amount
        FROM deposit_limits WHERE user_id = $1
        """,
        user_id,
    )
    return [
        AnnouncedLimit(
            period=row["period"],
            announced_at=row["announced_at"],
            effective_at=row["effective_at"],
            amount=row["amount"],
        )
        for row in rows
    ]
