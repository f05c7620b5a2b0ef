"""All SQL about verifications: one function per statement."""

from datetime import datetime

from svc.identity.contract_privacy import ExportedVerification
from svc.mesh.database import Tx


async def put(tx: Tx, user_id: str, applicant: ExportedVerification) -> None:
    """Store an application in place of the one before."""
    await tx.execute(
        """
        INSERT INTO verifications (user_id, first_name, last_name, street, city, country,
                                   document_number, submitted_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        ON CONFLICT (user_id) DO UPDATE
        SET first_name = excluded.first_name, last_name = excluded.last_name,
            street = excluded.street, city = excluded.city, country = excluded.country,
            document_number = excluded.document_number, submitted_at = excluded.submitted_at,
            handed_over_at = NULL
        """,
        user_id,
        applicant.first_name,
        applicant.last_name,
        applicant.street,
        applicant.city,
        applicant.country,
        applicant.document_number,
        applicant.submitted_at,
    )


async def of_user(tx: Tx, user_id: str) -> ExportedVerification | None:
    """Return what a user handed in, or None."""
    row = await tx.fetchrow(
        """
        SELECT first_name, last_name, street, city, country, document_number, submitted_at
        FROM verifications WHERE user_id = $1
        """,
        user_id,
    )
    return ExportedVerification(**dict(row)) if row else None


async def waiting_of(tx: Tx, user_id: str) -> ExportedVerification | None:
    """Return what a user handed in and nobody was asked about yet, or None."""
    row = await tx.fetchrow(
        """
        SELECT first_name, last_name, street, city, country, document_number, submitted_at
        FROM verifications WHERE user_id = $1 AND handed_over_at IS NULL
        """,
        user_id,
    )
    return ExportedVerification(**dict(row)) if row else None


async def waiting(tx: Tx, limit: int) -> list[str]:
    """Return the users whose applications nobody was asked about yet, oldest first."""
    rows = await tx.fetch(
        """
        SELECT user_id::text FROM verifications WHERE handed_over_at IS NULL
        ORDER BY submitted_at LIMIT $1
        """,
        limit,
    )
    return [row["user_id"] for row in rows]


async def handed_over(tx: Tx, user_id: str, submitted_at: datetime, now: datetime) -> None:
    """Note that whoever verifies has an application, unless a newer one came meanwhile."""
    await tx.execute(
        "UPDATE verifications SET handed_over_at = $3 WHERE user_id = $1 AND submitted_at = $2",
        user_id,
        submitted_at,
        now,
    )


async def verified_before(tx: Tx, instant: datetime) -> list[str]:
    """Return the users whose verification is older than an instant."""
    rows = await tx.fetch(
        "SELECT user_id::text FROM users WHERE kyc_status = 'verified' AND kyc_at < $1", instant
    )
    return [row["user_id"] for row in rows]
