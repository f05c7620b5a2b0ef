"""All SQL of codes that set a new password: one function per statement."""

from datetime import datetime

from svc.mesh.database import Tx


async def put_request(tx: Tx, reset_id: str, email_key: str, ip: str, now: datetime) -> None:
    """Keep that a code was asked for, whoever has the address."""
    await tx.execute(
        "INSERT INTO reset_requests (reset_id, email_key, ip, asked_at) VALUES ($1, $2, $3, $4)",
        reset_id,
        email_key,
        ip,
        now,
    )


async def take_request(tx: Tx, reset_id: str) -> tuple[str, str] | None:
    """Forget a request and return its (e-mail key, address); None when that was done."""
    row = await tx.fetchrow(
        "DELETE FROM reset_requests WHERE reset_id = $1 RETURNING email_key, ip", reset_id
    )
    return (row["email_key"], row["ip"]) if row else None


async def put_code(
    tx: Tx, user_id: str, reset_id: str, span: tuple[datetime, datetime, datetime], attempts: int
) -> bool:
    """Let a code be made from now until its end, in place of one from before the pause.

    `span` is when the pause began, now and the end. False when a code was asked for in the pause:
    of two requests at once the second finds the first.
    """
    found = await tx.fetchval(
        """
        INSERT INTO one_time_codes
            (user_id, purpose, reset_id, created_at, expires_at, attempts_left)
        VALUES ($1, 'password-reset', $2, $4, $5, $6)
        ON CONFLICT (user_id, purpose) DO UPDATE
        SET code_hash = NULL, reset_id = excluded.reset_id, created_at = excluded.created_at,
            expires_at = excluded.expires_at, attempts_left = excluded.attempts_left
        WHERE one_time_codes.created_at <= $3
        RETURNING true
        """,
        user_id,
        reset_id,
        *span,
        attempts,
    )
    return bool(found)


async def set_code(tx: Tx, user_id: str, reset_id: str, code_hash: str, now: datetime) -> bool:
    """Keep the code that was made; False when none is asked for any more."""
    found = await tx.fetchval(
        """
        UPDATE one_time_codes SET code_hash = $3
        WHERE user_id = $1 AND reset_id = $2 AND expires_at > $4 AND attempts_left > 0
        RETURNING true
        """,
        user_id,
        reset_id,
        code_hash,
        now,
    )
    return bool(found)


async def take_attempt(tx: Tx, user_id: str, now: datetime) -> str | None:
    """Use up one attempt at a code and return the code's hash, or None when there is none left."""
    found: str | None = await tx.fetchval(
        """
        UPDATE one_time_codes SET attempts_left = attempts_left - 1
        WHERE user_id = $1 AND purpose = 'password-reset' AND expires_at > $2
          AND attempts_left > 0 AND code_hash IS NOT NULL
        RETURNING code_hash
        """,
        user_id,
        now,
    )
    return found


async def use_code(tx: Tx, user_id: str, code_hash: str) -> bool:
    """Use a code up; False when somebody did before."""
    found = await tx.fetchval(
        "DELETE FROM one_time_codes WHERE user_id = $1 AND code_hash = $2 RETURNING true",
        user_id,
        code_hash,
    )
    return bool(found)


async def purge_requests(tx: Tx, before: datetime) -> None:
    """Delete requests that nobody looked at."""
    await tx.execute("DELETE FROM reset_requests WHERE asked_at < $1", before)
