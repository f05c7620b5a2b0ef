"""All SQL about keys of external callers: one function per statement."""

from datetime import datetime

from svc.identity.contract_security import ApiKeyShown, MakeApiKey, PublishedApiKey
from svc.mesh.database import Tx


async def add(tx: Tx, key_id: str, digest: bytes, made: MakeApiKey, now: datetime) -> None:
    """Store a new key by its digest."""
    await tx.execute(
        """
        INSERT INTO api_keys (key_id, digest, name, scopes, created_at, created_by, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        """,
        key_id,
        digest,
        made.name,
        made.scopes,
        now,
        made.actor_id,
        made.expires_at,
    )


async def all_keys(tx: Tx) -> list[ApiKeyShown]:
    """Return every key, newest first."""
    rows = await tx.fetch(
        """
        SELECT key_id::text, name, scopes, created_at, expires_at, revoked_at
        FROM api_keys ORDER BY key_id DESC
        """
    )
    return [ApiKeyShown(**dict(row)) for row in rows]


async def open_keys(tx: Tx, now: datetime) -> list[tuple[bytes, PublishedApiKey]]:
    """Return the digests of keys that open something, with what they open."""
    rows = await tx.fetch(
        """
        SELECT digest, key_id::text, scopes, expires_at FROM api_keys
        WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $1)
        """,
        now,
    )
    return [
        (
            row["digest"],
            PublishedApiKey(
                key_id=row["key_id"], scopes=list(row["scopes"]), expires_at=row["expires_at"]
            ),
        )
        for row in rows
    ]


async def revoke(tx: Tx, key_id: str, now: datetime) -> bytes | None:
    """End a key for good and return its digest, or None when there is no such key."""
    found: bytes | None = await tx.fetchval(
        """
        UPDATE api_keys SET revoked_at = coalesce(revoked_at, $2) WHERE key_id = $1
        RETURNING digest
        """,
        key_id,
        now,
    )
    return found
