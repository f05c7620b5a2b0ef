"""All SQL about sessions, refresh tokens and signing keys: one function per statement."""

from datetime import datetime

from msgspec import Struct

from svc.identity.contract_security import SessionShown
from svc.mesh.database import Tx


class RefreshRow(Struct, frozen=True, kw_only=True):
    """A refresh token with its session."""

    session_id: str
    user_id: str
    locale: str
    created_at: datetime
    last_check_at: datetime
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
        INSERT INTO sessions
            (session_id, user_id, device, ip, created_at, expires_at, last_seen_at)
        VALUES ($1, $2, $3, $4, $5, $6, $5)
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
        SELECT s.session_id, s.user_id, u.locale, t.used_at, s.revoked_at, s.expires_at,
               s.created_at, coalesce(s.reality_check_at, s.created_at) AS last_check_at
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
        created_at=row["created_at"],
        last_check_at=row["last_check_at"],
        used_at=row["used_at"],
        revoked_at=row["revoked_at"],
        expires_at=row["expires_at"],
    )


async def use_refresh_token(tx: Tx, token_hash: bytes, now: datetime) -> None:
    """Mark a refresh token as used up."""
    await tx.execute(
        "UPDATE refresh_tokens SET used_at = $2 WHERE token_hash = $1", token_hash, now
    )


async def extend_session(
    tx: Tx, session_id: str, now: datetime, expires_at: datetime
) -> None:  # fmt: skip
    """Let a session live on after a refresh."""
    await tx.execute(
        "UPDATE sessions SET last_seen_at = $2, expires_at = $3 WHERE session_id = $1",
        session_id,
        now,
        expires_at,
    )


async def note_reality_check(tx: Tx, session_id: str, now: datetime) -> None:
    """Note that a player was told how long they have been logged in."""
    await tx.execute(
        "UPDATE sessions SET reality_check_at = $2 WHERE session_id = $1", session_id, now
    )


async def open_sessions(
    tx: Tx, user_id: str, current: str, now: datetime, *, limit: int | None = None
) -> list[SessionShown]:
    """Return the sessions of a user that go on, newest first; one of them is the current one.

    All of them, or as many as the limit says.
    """
    rows = await tx.fetch(
        """
        SELECT session_id::text, device, ip, created_at, last_seen_at, expires_at,
               session_id::text = $2 AS current
        FROM sessions WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $3
        ORDER BY session_id DESC LIMIT $4
        """,
        user_id,
        current,
        now,
        limit,
    )
    return [SessionShown(**dict(row)) for row in rows]


async def least_used(tx: Tx, user_id: str, now: datetime, *, keep: int, limit: int) -> list[str]:
    """Return the ids of sessions that go on, but for those to keep, which were used last."""
    rows = await tx.fetch(
        """
        SELECT session_id::text FROM sessions
        WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2
        ORDER BY last_seen_at DESC, session_id DESC OFFSET $3 LIMIT $4
        """,
        user_id,
        now,
        keep,
        limit,
    )
    return [row["session_id"] for row in rows]


async def is_session_of(tx: Tx, session_id: str, user_id: str) -> bool:
    """Say whether a session is a user's, ended or not."""
    found = await tx.fetchval(
        "SELECT true FROM sessions WHERE session_id = $1 AND user_id = $2", session_id, user_id
    )
    return bool(found)


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


async def add_signing_key(
    tx: Tx, kid: str, private_key: bytes, now: datetime, signs_from: datetime
) -> None:
    """Store the key that signs from an instant on, unless there is one that is not retired."""
    await tx.execute(
        """
        INSERT INTO signing_keys (kid, private_key, created_at, signs_from)
        VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING
        """,
        kid,
        private_key,
        now,
        signs_from,
    )


async def retire_signing_key(tx: Tx, now: datetime, at: datetime) -> bool:
    """Let the present key sign until an instant; False when it has not begun to sign yet."""
    found = await tx.fetchval(
        """
        UPDATE signing_keys SET retired_at = $2
        WHERE retired_at IS NULL AND signs_from <= $1 RETURNING true
        """,
        now,
        at,
    )
    return bool(found)


async def signing_key(tx: Tx, now: datetime) -> bytes | None:
    """Return the private key that signs, as its 32 raw bytes, or None before the first start."""
    found: bytes | None = await tx.fetchval(
        """
        SELECT private_key FROM signing_keys
        WHERE signs_from <= $1 AND (retired_at IS NULL OR retired_at > $1)
        ORDER BY signs_from DESC LIMIT 1
        """,
        now,
    )
    return found


async def private_keys(tx: Tx, retired_after: datetime) -> list[bytes]:
    """Return every key whose tokens are or will be in use, or may be still."""
    rows = await tx.fetch(
        """
        SELECT private_key FROM signing_keys
        WHERE retired_at IS NULL OR retired_at > $1 ORDER BY signs_from
        """,
        retired_after,
    )
    return [row["private_key"] for row in rows]
