"""All SQL of an erasure: one function per statement."""

from datetime import datetime

from svc.identity.security_store import remove_factor, remove_recovery_codes
from svc.mesh.database import Tx


async def close(tx: Tx, user_id: str, now: datetime) -> None:
    """Close an account and overwrite what names a person; nobody's password opens it any more."""
    await tx.execute(
        """
        UPDATE users
        SET email = '', email_key = 'erased ' || user_id, phone = NULL, date_of_birth = NULL,
            password_hash = '$argon2id$erased', marketing_opt_in = false, closed = true,
            erased_at = $2
        WHERE user_id = $1
        """,
        user_id,
        now,
    )


async def forget_codes(tx: Tx, user_id: str) -> None:
    """Delete one-time codes."""
    await tx.execute("DELETE FROM one_time_codes WHERE user_id = $1", user_id)


async def forget_verification(tx: Tx, user_id: str) -> None:
    """Delete what was handed in to prove who the user is."""
    await tx.execute("DELETE FROM verifications WHERE user_id = $1", user_id)


async def forget_contact_health(tx: Tx, user_id: str) -> None:
    """Delete how the last messages fared."""
    await tx.execute("DELETE FROM contact_health WHERE user_id = $1", user_id)


async def forget_devices(tx: Tx, user_id: str) -> None:
    """Overwrite devices and addresses of sessions."""
    await tx.execute("UPDATE sessions SET device = '', ip = '' WHERE user_id = $1", user_id)


async def forget_where(tx: Tx, user_id: str) -> None:
    """Overwrite devices and addresses in the audit log; what happened stays."""
    await tx.execute("UPDATE security_events SET device = '', ip = '' WHERE user_id = $1", user_id)


FORGET = (
    remove_factor,
    remove_recovery_codes,
    forget_codes,
    forget_verification,
    forget_contact_health,
    forget_devices,
    forget_where,
)
