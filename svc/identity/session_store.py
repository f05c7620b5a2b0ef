"""All SQL about sessions, refresh tokens and signing keys: one function per statement."""

from datetime import datetime

from msgspec import Struct

from svc.mesh.database import Tx


class RefreshRow(Struct, frozen=True, kw_only=True):
    """A refresh token with its session."""

    session_id: str
    user_id: str
    locale: str
    used_at: datetime | None
    revoked_at: datetime | None
    expires_at: datetime


async def open_session(
    tx: Tx,
    session_id: str,
    user_id: str,
    *,
    device: str,
    ip: str,
    created_at: datetime,
    expires_at: datetime,
) -> None:
    """Store a new session."""
    await tx.execute(
        """
        INSERT INTO sessions (session_id, user_id, device, ip, created_at, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6)
        """,
        session_id,
        user_id,
        device,
        ip,
        created_at,
        expires_at,
    )


async def add_refresh_token(tx: Tx, token_hash: bytes, session_id: str, now: datetime) -> None:
    """Store the hash of the one refresh token of a session that may be used next."""
    await tx.execute(
        "INSERT INTO refresh_tokens (token_hash, session_id, created_at) VALUES ($1, $2, $3)",
        token_hash,
        session_id,
        now,
    )


async def refresh_token(tx: Tx, token_hash: bytes) -> RefreshRow | None:
    """Return a refresh token with its session, locked, or None."""
    row = await tx.fetchrow(
        """
        SELECT s.session_id, s.user_id, u.locale, t.used_at, s.revoked_at, s.expires_at
        FROM refresh_tokens t JOIN sessions s USING (session_id) JOIN users u USING (user_id)
        WHERE t.token_hash = $1 FOR NO KEY UPDATE OF t, s
        """,
        token_hash,
    )
    if row is None:
        return None
    return RefreshRow(
        session_id=str(row["session_id"]),
        user_id=str(row["user_id"]),
        locale=row["locale"],
        used_at=row["used_at"],
        revoked_at=row["revoked_at"],
        expires_at=row["expires_at"],
    )


async def use_refresh_token(tx: Tx, token_hash: bytes, now: datetime) -> None:
    """Mark a refresh token as used up."""
    await tx.execute(
        "UPDATE refresh_tokens SET used_at = $2 WHERE token_hash = $1", token_hash, now
    )


async def extend_session(tx: Tx, session_id: str, expires_at: datetime) -> None:
    """Let a session live on after a refresh."""
    await tx.execute(
        "UPDATE sessions SET expires_at = $2 WHERE session_id = $1", session_id, expires_at
    )


async def revoke_session(
    tx: Tx, session_id: str, user_id: str, because: str, now: datetime
) -> bool:
    """End a session; False when it ended before or is not this user's."""
    revoked = await tx.fetchval(
        """
        UPDATE sessions SET revoked_at = $4, revoked_because = $3
        WHERE session_id = $1 AND user_id = $2 AND revoked_at IS NULL RETURNING true
        """,
        session_id,
        user_id,
        because,
        now,
    )
    return bool(revoked)


async def session_is_open(tx: Tx, session_id: str, user_id: str, now: datetime) -> bool:
    """Say whether a session of this user goes on."""
    found = await tx.fetchval(
        """
        SELECT true FROM sessions
        WHERE session_id = $1 AND user_id = $2 AND revoked_at IS NULL AND expires_at > $3
        """,
        session_id,
        user_id,
        now,
    )
    return bool(found)


async def purge_sessions(tx: Tx, ended_before: datetime) -> int:
    """Delete sessions that ended before an instant, with their tokens; return how many."""
    tag = await tx.execute(
        "DELETE FROM sessions WHERE LEAST(expires_at, revoked_at) < $1", ended_before
    )
    return int(tag.rsplit(" ", 1)[1])


async def add_signing_key(tx: Tx, kid: str, private_key: bytes, now: datetime) -> None:
    """Store the key that signs, unless there is one."""
    await tx.execute(
        """
        INSERT INTO signing_keys (kid, private_key, created_at) VALUES ($1, $2, $3)
        ON CONFLICT DO NOTHING
        """,
        kid,
        private_key,
        now,
    )


async def signing_key(tx: Tx) -> bytes | None:
    """Return the private key that signs, as its 32 raw bytes, or None before the first start."""
    found: bytes | None = await tx.fetchval(
        "SELECT private_key FROM signing_keys WHERE retired_at IS NULL"
    )
    return found


async def private_keys(tx: Tx, retired_after: datetime) -> list[bytes]:
    """Return every key whose tokens may still be in use: the one that signs, and later ones."""
    rows = await tx.fetch(
        """
        SELECT private_key FROM signing_keys
        WHERE retired_at IS NULL OR retired_at > $1 ORDER BY created_at
        """,
        retired_after,
    )
    return [row["private_key"] for row in rows]
