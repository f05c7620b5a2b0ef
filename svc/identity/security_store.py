"""All SQL about guesses, codes, second factors and the audit log: one function per statement."""

from datetime import datetime

from msgspec import Struct

from svc.identity.contract_security import SecurityEvent
from svc.mesh.database import Tx


class Factor(Struct, frozen=True, kw_only=True):
    """A second factor; unconfirmed, it asks for nothing."""

    secret: bytes
    confirmed: bool
    last_step: int


async def locked_until(tx: Tx, keys: list[bytes]) -> datetime | None:
    """Return until when the next guess waits, or None."""
    found: datetime | None = await tx.fetchval(
        "SELECT max(locked_until) FROM wrong_guesses WHERE key = ANY ($1)", keys
    )
    return found


async def count_failure(tx: Tx, key: bytes, now: datetime, stale_before: datetime) -> int:
    """Count a wrong guess and return how many there are; old ones are forgotten."""
    failures: int = await tx.fetchval(
        """
        INSERT INTO wrong_guesses (key, failures, last_at) VALUES ($1, 1, $2)
        ON CONFLICT (key) DO UPDATE
        SET failures = CASE WHEN wrong_guesses.last_at < $3 THEN 1
                            ELSE wrong_guesses.failures + 1 END,
            last_at = $2
        RETURNING failures
        """,
        key,
        now,
        stale_before,
    )
    return failures


async def lock_guesses(tx: Tx, key: bytes, until: datetime) -> None:
    """Let the next guess wait."""
    await tx.execute("UPDATE wrong_guesses SET locked_until = $2 WHERE key = $1", key, until)


async def forget_failures(tx: Tx, keys: list[bytes]) -> None:
    """Forget wrong guesses."""
    await tx.execute("DELETE FROM wrong_guesses WHERE key = ANY ($1)", keys)


async def purge_failures(tx: Tx, stale_before: datetime) -> None:
    """Delete counts that nobody has added to since an instant."""
    await tx.execute("DELETE FROM wrong_guesses WHERE last_at < $1", stale_before)


async def put_factor(tx: Tx, user_id: str, secret: bytes, now: datetime) -> bool:
    """Store the secret of a second factor that is to be confirmed; False when one is on."""
    found = await tx.fetchval(
        """
        INSERT INTO second_factors (user_id, secret, created_at) VALUES ($1, $2, $3)
        ON CONFLICT (user_id) DO UPDATE
        SET secret = excluded.secret, created_at = excluded.created_at, last_step = 0
        WHERE second_factors.confirmed_at IS NULL
        RETURNING true
        """,
        user_id,
        secret,
        now,
    )
    return bool(found)


async def factor(tx: Tx, user_id: str) -> Factor | None:
    """Return the second factor of a user, locked, or None."""
    row = await tx.fetchrow(
        """
        SELECT secret, confirmed_at IS NOT NULL AS confirmed, last_step
        FROM second_factors WHERE user_id = $1 FOR UPDATE
        """,
        user_id,
    )
    return Factor(**dict(row)) if row else None


async def use_step(tx: Tx, user_id: str, step: int, now: datetime) -> None:
    """Use up the codes to a step; the first one confirms the factor."""
    await tx.execute(
        """
        UPDATE second_factors SET last_step = $2, confirmed_at = coalesce(confirmed_at, $3)
        WHERE user_id = $1
        """,
        user_id,
        step,
        now,
    )


async def remove_factor(tx: Tx, user_id: str) -> None:
    """Delete the second factor."""
    await tx.execute("DELETE FROM second_factors WHERE user_id = $1", user_id)


async def remove_recovery_codes(tx: Tx, user_id: str) -> None:
    """Delete all recovery codes."""
    await tx.execute("DELETE FROM recovery_codes WHERE user_id = $1", user_id)


async def add_recovery_code(tx: Tx, user_id: str, code_hash: bytes) -> None:
    """Store the hash of a recovery code."""
    await tx.execute(
        "INSERT INTO recovery_codes (user_id, code_hash) VALUES ($1, $2)", user_id, code_hash
    )


async def use_recovery_code(tx: Tx, user_id: str, code_hash: bytes) -> bool:
    """Use a recovery code up; False when there is no such code."""
    found = await tx.fetchval(
        "DELETE FROM recovery_codes WHERE user_id = $1 AND code_hash = $2 RETURNING true",
        user_id,
        code_hash,
    )
    return bool(found)


async def add_event(tx: Tx, user_id: str | None, event: SecurityEvent) -> None:
    """Write an entry of the audit log; without a user the statement runs all the same."""
    await tx.execute(
        """
        INSERT INTO security_events (event_id, user_id, kind, at, actor_id, ip, device, detail)
        SELECT $1, $2::uuid, $3, $4, $5::uuid, $6, $7, $8 WHERE $2 IS NOT NULL
        """,
        event.event_id,
        user_id,
        event.kind,
        event.at,
        event.actor_id,
        event.ip,
        event.device,
        event.detail,
    )


async def events(tx: Tx, user_id: str, before: str | None, limit: int) -> list[SecurityEvent]:
    """Return entries of the audit log, newest first, older than an entry when that is given."""
    rows = await tx.fetch(
        """
        SELECT event_id::text, kind, at, actor_id::text, ip, device, detail
        FROM security_events WHERE user_id = $1 AND ($2::uuid IS NULL OR event_id < $2)
        ORDER BY event_id DESC LIMIT $3
        """,
        user_id,
        before,
        limit,
    )
    return [SecurityEvent(**dict(row)) for row in rows]
