"""identity: who somebody is, what they may do, and the limits that protect them.

The one module of this service that others may import.
"""

from datetime import date, datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

from svc.identity import (
    contract_limits as play,
    contract_privacy as privacy,
    contract_security as security,
)
from svc.identity.contract_security import Email, FactorCode, GivenPassword, Password
from svc.mesh.context import Context
from svc.mesh.contract import Call, Contract, Event, Hedge, Route
from svc.mesh.errors import Conflict, Forbidden, NotFound, Refused, Unauthenticated
from svc.mesh.types import Amount, Currency, Empty, EventData, Id, LocaleTag, Reply, Request

SERVICES = (
    "gateway", "sportsbook", "payment", "wallet", "marketing", "casino", "gaming",
    "notification", "reporting", "localization", "scheduler",
)  # fmt: skip
"""The diagram's "All Services", as identity sees them: everybody else."""

KycStatus = Literal["none", "pending", "verified", "rejected", "expired"]
Phone = Annotated[
    str, Meta(pattern=r"^\+[1-9][0-9]{6,14}$(?!\n)", description="E.164: +4915112345678")
]
CONFIRM_EXCLUSION, confirm_exclusion = security.CONFIRM_EXCLUSION, security.confirm_exclusion
USER_ERASED, ISSUE_CODE = privacy.USER_ERASED, privacy.ISSUE_CODE
UserErased = privacy.UserErased
IssueCode = privacy.IssueCode
COUNT_STAKE, STAKES_TOLD, TOLD_MAX = play.COUNT_STAKE, play.STAKES_TOLD, play.TOLD_MAX
CountStake = play.CountStake
StakesTold = play.StakesTold
ToldStake = play.ToldStake
LimitExceeded = play.LimitExceeded
OpaqueText = Annotated[str, Meta(min_length=1, max_length=255)]
Period = Literal["day", "week", "month"]
LimitKind = Literal["deposit", "loss", "stake"]


class SelfExcluded(Refused):
    """The player is excluded or takes a time-out."""

    name = "self-excluded"
    status = 403


class UnderAge(Refused):
    """Players must be at least 18 years old."""

    name = "under-age"
    status = 422


class Register(Request, frozen=True, kw_only=True):
    """Open a player's account."""

    email: Email
    phone: Phone
    password: Password
    date_of_birth: date
    currency: Currency
    locale: LocaleTag = "en"
    marketing_opt_in: bool = False


class Registered(Reply, frozen=True, kw_only=True):
    """The new account."""

    user_id: Id


class LogIn(Request, frozen=True, kw_only=True):
    """Open a session; `code` only where a second factor is on."""

    email: Email
    password: GivenPassword
    code: FactorCode | None = None
    device: str = ""
    ip: str = ""


class Tokens(Reply, frozen=True, kw_only=True):
    """A short-lived access token and the refresh token that gets the next one."""

    access_token: str
    refresh_token: str
    token_type: str
    expires_in: int


class Refresh(Request, frozen=True, kw_only=True):
    """Swap a refresh token for new tokens; the old one is used up."""

    refresh_token: OpaqueText


class LogOut(Request, frozen=True, kw_only=True):
    """Revoke the session of the access token."""

    user_id: Id
    session_id: Id


class OfUser(Request, frozen=True, kw_only=True):
    """Something about one user."""

    user_id: Id


class PlayerLimit(Struct, frozen=True, kw_only=True):
    """One limit: at most `amount` minor units in a period; all apply, the lowest wins."""

    kind: LimitKind
    period: Period
    amount: Amount
    pending_amount: int | None = None
    pending_from: datetime | None = None


class Profile(Reply, frozen=True, kw_only=True):
    """What a user sees of themselves."""

    user_id: Id
    email: str
    phone: str
    date_of_birth: date | None
    currency: Currency
    locale: LocaleTag
    marketing_opt_in: bool
    kyc_status: KycStatus
    roles: list[str]
    limits: list[PlayerLimit]
    excluded_until: datetime | None
    created_at: datetime


class UpdateProfile(Request, frozen=True, kw_only=True):
    """Change what a user may change; absent fields stay."""

    user_id: Id
    phone: Phone | None = None
    locale: LocaleTag | None = None
    marketing_opt_in: bool | None = None


class SetLimits(Request, frozen=True, kw_only=True):
    """Set a limit: a lower one at once, a higher one by asking again after the cooling-off."""

    user_id: Id
    kind: LimitKind
    period: Period
    amount: Amount


class SelfExclude(Request, frozen=True, kw_only=True):
    """Exclude oneself, irrevocably, for 6 to 60 months (UKGC LCCP 3.5)."""

    user_id: Id
    months: Annotated[int, Meta(ge=6, le=60)] = 6


class TakeTimeOut(Request, frozen=True, kw_only=True):
    """Pause for 1 to 42 days."""

    user_id: Id
    days: Annotated[int, Meta(ge=1, le=42)]


class VerifyToken(Request, frozen=True, kw_only=True):
    """Check an access token against the sessions, revocations included."""

    token: Annotated[str, Meta(min_length=1, max_length=4096)]


class TokenHolder(Reply, frozen=True, kw_only=True):
    """Whose token it is."""

    user_id: Id
    session_id: Id
    roles: list[str]
    expires_at: datetime


class Authorize(Request, frozen=True, kw_only=True):
    """Ask for a permission: `<service>.<what>` (staff), `bet`, `play`, `deposit`, `withdraw`."""

    user_id: Id
    permission: OpaqueText


class Authorized(Reply, frozen=True, kw_only=True):
    """The user may."""

    user_id: Id
    roles: list[str]


class Contact(Reply, frozen=True, kw_only=True):
    """How to reach a user: personal data, for notification only."""

    user_id: Id
    email: str
    phone: str
    locale: LocaleTag
    marketing_opt_in: bool


class User(Reply, frozen=True, kw_only=True):
    """What external callers with the scope may know of a user; no personal data."""

    user_id: Id
    currency: Currency
    locale: LocaleTag
    kyc_status: KycStatus
    status: Literal["active", "excluded", "closed"]


class SetKyc(Request, frozen=True, kw_only=True):
    """Record the outcome of a verification."""

    user_id: Id
    status: KycStatus
    actor_id: Id | None = None


class AdminUser(Request, frozen=True, kw_only=True):
    """An operator looks at a user."""

    user_id: Id
    actor_id: Id | None = None


class UserRegistered(EventData, frozen=True, kw_only=True):
    """A player's account was opened; personal data stays with identity."""

    user_id: Id
    currency: Currency
    locale: LocaleTag
    marketing_opt_in: bool


class UserLoggedIn(EventData, frozen=True, kw_only=True):
    """A session was opened."""

    user_id: Id
    session_id: Id


class ProfileUpdated(EventData, frozen=True, kw_only=True):
    """A user changed their profile; `changed` names the fields."""

    user_id: Id
    locale: LocaleTag
    marketing_opt_in: bool
    changed: list[str]


class KycChanged(EventData, frozen=True, kw_only=True):
    """A user's verification state changed."""

    user_id: Id
    status: KycStatus


class LimitChanged(EventData, frozen=True, kw_only=True):
    """A player's limit took or will take effect."""

    user_id: Id
    kind: LimitKind
    period: Period
    amount: Amount
    effective_at: datetime


class SelfExcludedData(EventData, frozen=True, kw_only=True):
    """A player is excluded until an instant; open bets stand, withdrawals stay possible."""

    user_id: Id
    until: datetime
    time_out: bool


class SessionRevoked(EventData, frozen=True, kw_only=True):
    """A session ended before its tokens expire."""

    user_id: Id
    session_id: Id


USER_REGISTERED = Event("UserRegisteredEvent", "user", UserRegistered, "An account was opened.")
USER_LOGGED_IN = Event("UserLoggedInEvent", "user", UserLoggedIn, "A session was opened.")
PROFILE_UPDATED = Event("ProfileUpdatedEvent", "user", ProfileUpdated, "A profile was changed.")
KYC_CHANGED = Event("KycChangedEvent", "user", KycChanged, "A verification state changed.")
LIMIT_CHANGED = Event("LimitChangedEvent", "user", LimitChanged, "A player's limit changed.")
SELF_EXCLUDED = Event("SelfExcludedEvent", "user", SelfExcludedData, "A player was excluded.")
SESSION_REVOKED = Event("SessionRevokedEvent", "user", SessionRevoked, "A session was revoked.")

REGISTER = Call(
    "rpc.identity.v1.register", Register, Registered, "Open a player's account.",
    refuses=(Conflict, UnderAge), deadline_ms=5_000, workers=4,
    route=Route(method="POST", path="/v1/users", role="public", status=201, tag="identity"),
)  # fmt: skip
LOG_IN = Call(
    "rpc.identity.v1.log_in", LogIn, Tokens, "Open a session and get tokens.",
    refuses=(security.SecondFactorRequired, security.LockedOut, Unauthenticated),
    deadline_ms=5_000, workers=4,
    route=Route(
        method="POST", path="/v1/sessions", role="public", status=201, tag="identity",
        from_client=("ip", "device"),
    ),
)  # fmt: skip
REFRESH = Call(
    "rpc.identity.v1.refresh", Refresh, Tokens, "Get the next tokens.", refuses=(Unauthenticated,),
    route=Route(
        method="POST", path="/v1/sessions/refresh", role="public", status=201, tag="identity"
    ),
)  # fmt: skip
LOG_OUT = Call(
    "rpc.identity.v1.log_out", LogOut, Empty, "Revoke the current session.", idempotent=True,
    route=Route(
        method="DELETE", path="/v1/sessions/current", status=204, tag="identity",
        from_token=("user_id", "session_id"),
    ),
)  # fmt: skip
PROFILE = Call(
    "rpc.identity.v1.profile", OfUser, Profile, "Read one's profile.", refuses=(NotFound,),
    idempotent=True,
    route=Route(method="GET", path="/v1/users/me", tag="identity", from_token=("user_id",)),
)  # fmt: skip
UPDATE_PROFILE = Call(
    "rpc.identity.v1.update_profile", UpdateProfile, Profile, "Change one's profile.",
    refuses=(NotFound, Conflict),
    route=Route(method="PATCH", path="/v1/users/me", tag="identity", from_token=("user_id",)),
)  # fmt: skip
SET_LIMITS = Call(
    "rpc.identity.v1.set_limits", SetLimits, Profile, "Set one limit.", refuses=(NotFound,),
    route=Route(method="PUT", path="/v1/users/me/limits", tag="identity", from_token=("user_id",)),
)  # fmt: skip
SELF_EXCLUDE = Call(
    "rpc.identity.v1.self_exclude", SelfExclude, Profile, "Exclude oneself.",
    refuses=(NotFound, Forbidden), deadline_ms=5_000,
    route=Route(
        method="POST", path="/v1/users/me/self-exclusion", tag="identity", from_token=("user_id",)
    ),
)  # fmt: skip
TAKE_TIME_OUT = Call(
    "rpc.identity.v1.take_time_out", TakeTimeOut, Profile, "Pause for days.",
    refuses=(NotFound, Forbidden), deadline_ms=5_000,
    route=Route(
        method="POST", path="/v1/users/me/time-out", tag="identity", from_token=("user_id",)
    ),
)  # fmt: skip
VERIFY_TOKEN = Call(
    "rpc.identity.v1.verify_token", VerifyToken, TokenHolder, "Check an access token.",
    callers=SERVICES, refuses=(Unauthenticated,), idempotent=True,
)  # fmt: skip
AUTHORIZE = Call(
    "rpc.identity.v1.authorize", Authorize, Authorized, "Ask whether a user may do something now.",
    callers=SERVICES, refuses=(Forbidden, NotFound, SelfExcluded), idempotent=True, hedge=Hedge(),
)  # fmt: skip
CONTACT = Call(
    "rpc.identity.v1.contact", OfUser, Contact, "Read how to reach a user.",
    callers=("notification",), refuses=(NotFound,), idempotent=True,
)  # fmt: skip
GET_USER = Call(
    "rpc.identity.v1.get_user", OfUser, User, "Read a user without personal data.",
    callers=("gateway",), refuses=(NotFound,), idempotent=True,
)  # fmt: skip
ADMIN_USER = Call(
    "rpc.identity.v1.admin_user", AdminUser, Profile, "An operator reads a user.",
    refuses=(NotFound, Forbidden), idempotent=True,
    route=Route(
        method="GET", path="/v1/admin/users/{user_id}", role="operator", tag="admin",
        from_token=("actor_id",),
    ),
)  # fmt: skip
SET_KYC = Call(
    "rpc.identity.v1.set_kyc", SetKyc, Profile, "An operator records a verification's outcome.",
    refuses=(NotFound, Forbidden),
    route=Route(
        method="PUT", path="/v1/admin/users/{user_id}/kyc", role="operator", tag="admin",
        from_token=("actor_id",),
    ),
)  # fmt: skip

IDENTITY = Contract(
    name="identity",
    version="1.0.0",
    purpose="Users, sessions, roles, verification and the limits that protect players.",
    answers=(
        REGISTER, LOG_IN, REFRESH, LOG_OUT, PROFILE, UPDATE_PROFILE, SET_LIMITS, SELF_EXCLUDE,
        TAKE_TIME_OUT, VERIFY_TOKEN, AUTHORIZE, CONTACT, GET_USER, ADMIN_USER, SET_KYC,
        play.COUNT_STAKE, play.COUNT_RETURN, *security.CALLS, *privacy.CALLS,
    ),
    publishes=(
        USER_REGISTERED, USER_LOGGED_IN, PROFILE_UPDATED, KYC_CHANGED, LIMIT_CHANGED,
        SELF_EXCLUDED, SESSION_REVOKED, USER_ERASED, privacy.RESET_ASKED,
    ),
    accepts=(STAKES_TOLD,),
    readers=("gateway",),
)  # fmt: skip


async def require_permission(context: Context, actor_id: str | None, permission: str) -> None:
    """Let staff calls pass only after asking identity, so that a revoked role ends at once.

    The operator on NATS is known to the broker by key and needs no user. Raises Forbidden, or
    Unavailable while identity is down (players' calls never come here).
    """
    if context.caller == "operator":
        return
    if actor_id is None:
        raise Forbidden("an operator's identity is needed")
    await context.call(AUTHORIZE, Authorize(user_id=actor_id, permission=permission))
