"""All SQL about users: one function per statement."""

from datetime import date, datetime

from asyncpg import Record
from msgspec import Struct

from svc.identity.contract import KycStatus, LimitKind, Period, PlayerLimit
from svc.identity.rules import Standing
from svc.mesh.database import Tx


class UserRow(Struct, frozen=True, kw_only=True):
    """A user without secrets."""

    user_id: str
    email: str
    phone: str | None
    date_of_birth: date | None
    currency: str
    locale: str
    marketing_opt_in: bool
    roles: list[str]
    kyc_status: KycStatus
    closed: bool
    excluded_until: datetime | None
    created_at: datetime

    def standing(self) -> Standing:
        """Return what decides about permissions."""
        return Standing(
            user_id=self.user_id,
            roles=self.roles,
            kyc_status=self.kyc_status,
            closed=self.closed,
            excluded_until=self.excluded_until,
        )


class NewUser(Struct, frozen=True, kw_only=True):
    """A user to be stored."""

    user_id: str
    email: str
    email_key: str
    phone: str | None
    password_hash: str
    date_of_birth: date | None
    currency: str
    locale: str
    marketing_opt_in: bool
    roles: list[str]
    created_at: datetime


async def insert_user(tx: Tx, user: NewUser) -> bool:
    """Store a user; False when the e-mail address or the phone number is taken."""
    inserted = await tx.fetchval(
        """
        INSERT INTO users (user_id, email, email_key, phone, password_hash, date_of_birth, currency,
                           locale, marketing_opt_in, roles, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
        ON CONFLICT DO NOTHING RETURNING true
        """,
        user.user_id,
        user.email,
        user.email_key,
        user.phone,
        user.password_hash,
        user.date_of_birth,
        user.currency,
        user.locale,
        user.marketing_opt_in,
        user.roles,
        user.created_at,
    )
    return bool(inserted)


async def email_taken(tx: Tx, email_key: str) -> bool:
    """Say whether an account has this address."""
    return bool(await tx.fetchval("SELECT true FROM users WHERE email_key = $1", email_key))


async def user(tx: Tx, user_id: str, *, lock: bool = False) -> UserRow | None:
    """Return a user, or None; `lock` keeps others from changing the row meanwhile."""
    row = await tx.fetchrow(
        f"""
        SELECT user_id, email, phone, date_of_birth, currency, locale, marketing_opt_in, roles,
               kyc_status, closed, excluded_until, created_at
        FROM users WHERE user_id = $1 {"FOR NO KEY UPDATE" if lock else ""}
        """,  # noqa: S608 -- no value is put into the text
        user_id,
    )
    return _user(row) if row else None


async def credentials(tx: Tx, email_key: str) -> tuple[str, str] | None:
    """Return (user id, password hash) of an address, or None."""
    row = await tx.fetchrow(
        "SELECT user_id, password_hash FROM users WHERE email_key = $1 AND NOT closed", email_key
    )
    return (str(row["user_id"]), row["password_hash"]) if row else None


async def password_hash(tx: Tx, user_id: str) -> str | None:
    """Return the password hash of a user whose account is open, or None."""
    found: str | None = await tx.fetchval(
        "SELECT password_hash FROM users WHERE user_id = $1 AND NOT closed", user_id
    )
    return found


async def set_password_hash(tx: Tx, user_id: str, old: str, new: str) -> None:
    """Replace a password hash, unless somebody replaced it meanwhile."""
    await tx.execute(
        "UPDATE users SET password_hash = $3 WHERE user_id = $1 AND password_hash = $2",
        user_id,
        old,
        new,
    )


async def update_profile(
    tx: Tx, user_id: str, phone: str | None, locale: str, *, marketing_opt_in: bool
) -> None:
    """Store what a user may change; raises asyncpg.UniqueViolationError for a taken phone."""
    await tx.execute(
        "UPDATE users SET phone = $2, locale = $3, marketing_opt_in = $4 WHERE user_id = $1",
        user_id,
        phone,
        locale,
        marketing_opt_in,
    )


async def set_roles(tx: Tx, user_id: str, roles: list[str]) -> None:
    """Store a user's roles."""
    await tx.execute("UPDATE users SET roles = $2 WHERE user_id = $1", user_id, roles)


async def set_kyc(tx: Tx, user_id: str, status: str, now: datetime) -> None:
    """Store the outcome of a verification."""
    await tx.execute(
        "UPDATE users SET kyc_status = $2, kyc_at = $3 WHERE user_id = $1", user_id, status, now
    )


async def exclude(tx: Tx, user_id: str, until: datetime) -> None:
    """Store until when a user is excluded."""
    await tx.execute("UPDATE users SET excluded_until = $2 WHERE user_id = $1", user_id, until)


async def confirm_exclusion(tx: Tx, user_id: str, service: str, until: datetime) -> None:
    """Store until when a service takes nothing of a user; the latest counts."""
    await tx.execute(
        """
        INSERT INTO exclusion_confirmations (user_id, service, until) VALUES ($1, $2, $3)
        ON CONFLICT (user_id, service) DO UPDATE
        SET until = GREATEST(exclusion_confirmations.until, excluded.until)
        """,
        user_id,
        service,
        until,
    )


async def exclusion_confirmed_by(tx: Tx, user_id: str, until: datetime) -> set[str]:
    """Return the services that take nothing of a user until an instant, or longer."""
    rows = await tx.fetch(
        "SELECT service FROM exclusion_confirmations WHERE user_id = $1 AND until >= $2",
        user_id,
        until,
    )
    return {row["service"] for row in rows}


async def limits(tx: Tx, user_id: str) -> list[PlayerLimit]:
    """Return all limits of a user as they were set."""
    rows = await tx.fetch(
        """
        SELECT kind, period, amount, pending_amount, pending_from
        FROM limits WHERE user_id = $1 ORDER BY kind, period
        """,
        user_id,
    )
    return [_limit(row) for row in rows]


async def limit(tx: Tx, user_id: str, kind: LimitKind, period: Period) -> PlayerLimit | None:
    """Return one limit, or None."""
    row = await tx.fetchrow(
        """
        SELECT kind, period, amount, pending_amount, pending_from
        FROM limits WHERE user_id = $1 AND kind = $2 AND period = $3
        """,
        user_id,
        kind,
        period,
    )
    return _limit(row) if row else None


async def put_limit(tx: Tx, user_id: str, new: PlayerLimit) -> None:
    """Store a limit in place of the one of its kind and period."""
    await tx.execute(
        """
        INSERT INTO limits (user_id, kind, period, amount, pending_amount, pending_from)
        VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (user_id, kind, period) DO UPDATE
        SET amount = excluded.amount, pending_amount = excluded.pending_amount,
            pending_from = excluded.pending_from
        """,
        user_id,
        new.kind,
        new.period,
        new.amount,
        new.pending_amount,
        new.pending_from,
    )


async def note_delivered(tx: Tx, user_id: str, channel: str, at: datetime) -> None:
    """Note that a message reached a user; a user who is not here is passed over."""
    await tx.execute(
        """
        INSERT INTO contact_health (user_id, channel, delivered_at)
        SELECT user_id, $2, $3 FROM users WHERE user_id = $1
        ON CONFLICT (user_id, channel) DO UPDATE
        SET delivered_at = GREATEST(contact_health.delivered_at, excluded.delivered_at)
        """,
        user_id,
        channel,
        at,
    )


async def note_failed(tx: Tx, user_id: str, channel: str, at: datetime) -> None:
    """Note that a message did not reach a user; a user who is not here is passed over."""
    await tx.execute(
        """
        INSERT INTO contact_health (user_id, channel, failed_at, failures)
        SELECT user_id, $2, $3, 1 FROM users WHERE user_id = $1
        ON CONFLICT (user_id, channel) DO UPDATE
        SET failed_at = GREATEST(contact_health.failed_at, excluded.failed_at),
            failures = contact_health.failures + 1
        """,
        user_id,
        channel,
        at,
    )


def _user(row: Record) -> UserRow:
    return UserRow(
        user_id=str(row["user_id"]),
        email=row["email"],
        phone=row["phone"],
        date_of_birth=row["date_of_birth"],
        currency=row["currency"],
        locale=row["locale"],
        marketing_opt_in=row["marketing_opt_in"],
        roles=list(row["roles"]),
        kyc_status=row["kyc_status"],
        closed=row["closed"],
        excluded_until=row["excluded_until"],
        created_at=row["created_at"],
    )


def _limit(row: Record) -> PlayerLimit:
    return PlayerLimit(
        kind=row["kind"],
        period=row["period"],
        amount=row["amount"],
        pending_amount=row["pending_amount"],
        pending_from=row["pending_from"],
    )
