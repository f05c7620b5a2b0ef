"""The rules of identity: who may have an account, what a limit is now, who may do what."""

import calendar
from datetime import date, datetime, timedelta
from typing import Literal

import phonenumbers
from babel.numbers import is_currency
from email_validator import EmailNotValidError, validate_email
from msgspec import Struct, structs

from svc.identity.contract import (
    SERVICES,
    LimitExceeded,
    Period,
    PlayerLimit,
    Profile,
    SelfExcluded,
    UnderAge,
)
from svc.mesh.errors import Conflict, Forbidden, Invalid

AGE_MIN = 18
PERIODS: dict[Period, timedelta] = {
    "day": timedelta(days=1), "week": timedelta(days=7), "month": timedelta(days=30),
}  # fmt: skip
"""Windows of players' own limits, rolling (UKGC RTS 12: 24 hours, 7 days, month)."""
COOLING_OFF = timedelta(hours=24)
"""How long a raised limit waits (UKGC RTS 12: "cooling-off", 24 hours are typical)."""
REFRESH_LIFETIME = timedelta(days=30)
SESSIONS_MAX = 200
"""Sessions that a user has at once: what lists all or ends all of them has to come to its end."""
STAFF_ROLES = frozenset({"operator", "admin"})
ADMIN_PERMISSIONS = frozenset({"identity.set_roles", "identity.api_keys", "identity.rotate_keys"})
"""What changes who may do what is not for every member of staff."""
PLAYER_PERMISSIONS = frozenset({"bet", "play", "deposit", "withdraw", "bonus"})
OPEN_TO_EXCLUDED = frozenset({"withdraw"})
"""An excluded player still gets their money (UKGC LCCP 3.5.3)."""
NEEDS_KYC = frozenset({"bet", "play", "deposit"})
"""What waits for verification when KYC_REQUIRED=1 (UKGC LCCP 17.1.1: before gambling)."""


class Standing(Struct, frozen=True, kw_only=True):
    """What decides about a user's permissions."""

    user_id: str
    roles: list[str]
    kyc_status: str
    closed: bool
    excluded_until: datetime | None


class LimitStep(Struct, frozen=True, kw_only=True):
    """A limit after a change: what holds and what waits, and whether what holds is new."""

    limit: PlayerLimit
    holds: bool
    changed: bool


def check_age(born: date, today: date) -> None:
    """Raise UnderAge before the 18th birthday, UTC; born on 29 February counts from 1 March."""
    if (today.year - AGE_MIN, today.month, today.day) < (born.year, born.month, born.day):
        raise UnderAge(f"players must be at least {AGE_MIN} years old")


def normalised_email(text: str) -> tuple[str, str]:
    """Return an address as we write it, and the key by which it is unique.

    Raises Invalid when it is no address. Nothing is looked up: no DNS, no network.
    """
    try:
        found = validate_email(text.strip(), check_deliverability=False, test_environment=True)
    except EmailNotValidError as failure:
        raise Invalid(f"{failure} - at `$.email`") from failure
    return found.normalized, found.normalized.casefold()


def key_of(email: str) -> str:
    """Return what an address is known by; what is no address is known by nobody."""
    try:
        return normalised_email(email)[1]
    except Invalid:
        return ""


def normalised_phone(text: str) -> str:
    """Return a number in E.164; raises Invalid when no such number can exist.

    Possible lengths are checked, not assigned ranges: those change faster than any table.
    """
    try:
        number = phonenumbers.parse(text)
    except phonenumbers.NumberParseException as failure:
        raise Invalid(f"{failure} - at `$.phone`") from failure
    if not phonenumbers.is_possible_number(number):
        raise Invalid("there is no telephone number of this form - at `$.phone`")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def check_currency(code: str) -> None:
    """Raise Invalid when ISO 4217 does not know a code."""
    if not is_currency(code):
        raise Invalid(f"{code} is no ISO 4217 currency - at `$.currency`")


def change_limit(current: PlayerLimit | None, wanted: PlayerLimit, now: datetime) -> LimitStep:
    """Set a limit: the first one and a lower one hold at once, a higher one waits.

    A raise holds once it is asked for again after COOLING_OFF, which confirms it; asking before
    does not make it wait anew. A lower limit, and another raise, drop the raise that waits (UKGC
    RTS 12).
    """
    if current is None or wanted.amount < current.amount:
        return LimitStep(limit=wanted, holds=True, changed=True)
    if wanted.amount == current.amount:
        dropped = current.pending_amount is not None
        return LimitStep(limit=wanted, holds=False, changed=dropped)
    if current.pending_amount == wanted.amount and current.pending_from is not None:
        confirmed = current.pending_from <= now
        limit = wanted if confirmed else current
        return LimitStep(limit=limit, holds=confirmed, changed=confirmed)
    since = now + COOLING_OFF
    raised = structs.replace(current, pending_amount=wanted.amount, pending_from=since)
    return LimitStep(limit=raised, holds=False, changed=True)


def check_play(limit: PlayerLimit, staked: int, returned: int, amount: int) -> None:
    """Hold a further stake against one limit; raises LimitExceeded. All in minor units.

    A stake limit counts stakes, a loss limit stakes less what came back of them; all limits apply,
    so the lowest wins.
    """
    used = staked - returned if limit.kind == "loss" else staked
    left = max(limit.amount - used, 0)
    if amount > left:
        raise LimitExceeded(
            f"your {limit.kind} limit per {limit.period} leaves {left}",
            kind=limit.kind, limit=limit.amount, left=left, period=limit.period,
        )  # fmt: skip


def check_application(kyc_status: str) -> None:
    """Raise Conflict where there is nothing to verify: it is under way, or done."""
    if kyc_status in {"pending", "verified"}:
        raise Conflict(f"the verification is {kyc_status}")


def is_reality_check_due(last: datetime, now: datetime, minutes: int) -> bool:
    """Say whether a player has been logged in so long since the last notice; 0 minutes: never."""
    return minutes > 0 and now - last >= timedelta(minutes=minutes)


def months_later(start: datetime, months: int) -> datetime:
    """Return the same time of day some calendar months later; the 31st becomes the last day."""
    index = start.year * 12 + start.month - 1 + months
    year, month = index // 12, index % 12 + 1
    day = min(start.day, calendar.monthrange(year, month)[1])
    return start.replace(year=year, month=month, day=day)


def longer_exclusion(current: datetime | None, wanted: datetime) -> datetime | None:
    """Return the new end of an exclusion, or None when the present one already lasts longer.

    An exclusion is never shortened (UKGC LCCP 3.5.3).
    """
    return wanted if current is None or wanted > current else None


def excluded(standing: Standing, now: datetime) -> bool:
    """Say whether a player is excluded or takes a time-out at an instant."""
    return standing.excluded_until is not None and standing.excluded_until > now


def authorize(
    standing: Standing, permission: str, now: datetime, *, kyc_required: bool = False
) -> None:
    """Let a user do something, or raise Forbidden or SelfExcluded (with `until`)."""
    if standing.closed:
        raise Forbidden("the account is closed")
    if permission in PLAYER_PERMISSIONS:
        _authorize_player(standing, permission, now, kyc_required=kyc_required)
        return
    service, dot, what = permission.partition(".")
    if not (dot and what and (service in SERVICES or service == "identity")):
        raise Forbidden(f"there is no permission {permission!r}")
    if permission in ADMIN_PERMISSIONS and "admin" not in standing.roles:
        raise Forbidden("this needs the role admin")
    if STAFF_ROLES.isdisjoint(standing.roles):
        raise Forbidden("this needs the role operator")


def _authorize_player(
    standing: Standing, permission: str, now: datetime, *, kyc_required: bool
) -> None:
    if permission not in OPEN_TO_EXCLUDED and excluded(standing, now):
        until = standing.excluded_until
        raise SelfExcluded(
            f"play is excluded until {until:%Y-%m-%d %H:%M} UTC",
            until=until.isoformat() if until else "",
        )
    if kyc_required and permission in NEEDS_KYC and standing.kyc_status != "verified":
        raise Forbidden("this needs a verified identity")


def status_of(standing: Standing, now: datetime) -> Literal["active", "excluded", "closed"]:
    """Return how a user stands towards external callers."""
    if standing.closed:
        return "closed"
    return "excluded" if excluded(standing, now) else "active"


def as_of(profile: Profile, now: datetime) -> Profile:
    """Return a profile as it is at an instant: past exclusions are gone."""
    until = profile.excluded_until
    return structs.replace(
        profile,
        excluded_until=until if until is not None and until > now else None,
    )
