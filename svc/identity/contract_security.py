"""What identity offers around the safety of accounts; contract.py names it to other services."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

from svc.mesh.context import Context
from svc.mesh.contract import Call, Route
from svc.mesh.errors import Conflict, Forbidden, NotFound, Refused, Unauthenticated, Unavailable
from svc.mesh.types import Empty, Id, Instant, Limit, Reply, Request, ShortText

MONEY_SERVICES = ("sportsbook", "casino", "payment", "wallet")
"""Where a player's money is put at risk or paid in: each confirms that an exclusion holds there.

The wallet is the last to refuse: of callers from outside too, who ask none of the others."""

Password = Annotated[str, Meta(min_length=10, max_length=128, description="10 to 128 characters")]
GivenPassword = Annotated[str, Meta(min_length=1, max_length=128)]
Email = Annotated[str, Meta(min_length=3, max_length=254, description="An e-mail address")]
Digits = Annotated[
    str, Meta(pattern="^[0-9]{6,8}$", max_length=8, description="6 to 8 digits, by SMS or app")
]
FactorCode = Annotated[
    str,
    Meta(
        pattern="^[0-9A-Z]{6,16}$", max_length=16,
        description="Six digits of the authenticator app, or a recovery code",
    ),
]  # fmt: skip
RoleName = Literal["player", "operator", "admin"]
Scope = Annotated[
    str, Meta(pattern=r"^[a-z]+\.(read|write)$", max_length=40, description="e.g. wallet.read")
]
API_KEY_PREFIX = "bm_"


class LockedOut(Refused):
    """Too many wrong guesses: wait before the next one."""

    name = "rate-limited"
    status = 429


class SecondFactorRequired(Refused):
    """The password is right; the code of the second factor is needed too."""

    name = "second-factor-required"
    status = 401


class ConfirmExclusion(Request, frozen=True, kw_only=True):
    """The calling service takes nothing of a player any more, until that instant."""

    user_id: Id
    until: Instant


class OwnSession(Request, frozen=True, kw_only=True):
    """The session that asks; from the token."""

    user_id: Id
    session_id: Id


class SessionShown(Struct, frozen=True, kw_only=True):
    """One session as its user sees it; `current` is the one that asks."""

    session_id: Id
    device: str
    ip: str
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    current: bool


class Sessions(Reply, frozen=True, kw_only=True):
    """The sessions that go on, newest first: 200 at most, a log-in ends what is beyond."""

    items: list[SessionShown]


class ChangePassword(Request, frozen=True, kw_only=True):
    """Set a new password; all other sessions end."""

    user_id: Id
    session_id: Id
    current_password: GivenPassword
    new_password: Password
    ip: str = ""


class RequestReset(Request, frozen=True, kw_only=True):
    """Ask for a one-time code by SMS; the answer says nothing about the address."""

    email: Email
    ip: str = ""


class ConfirmReset(Request, frozen=True, kw_only=True):
    """Set a new password with the code from the SMS; all sessions end."""

    email: Email
    code: Digits
    new_password: Password
    ip: str = ""


class OfAccount(Request, frozen=True, kw_only=True):
    """Something about one's own account."""

    user_id: Id


class FactorSetUp(Reply, frozen=True, kw_only=True):
    """What an authenticator app takes in (RFC 6238); asked for once a first code was given."""

    secret: str
    uri: str


class ConfirmFactor(Request, frozen=True, kw_only=True):
    """The first code of the authenticator app."""

    user_id: Id
    code: Digits


class RecoveryCodes(Reply, frozen=True, kw_only=True):
    """Each opens once in the place of a code; shown only now."""

    recovery_codes: list[str]


class RemoveFactor(Request, frozen=True, kw_only=True):
    """Do without the second factor again."""

    user_id: Id
    password: GivenPassword
    code: FactorCode
    ip: str = ""


class SecurityEventsOf(Request, frozen=True, kw_only=True):
    """A page of what happened to an account, newest first."""

    user_id: Id
    limit: Limit = 50
    cursor: Id | None = None


class AdminSecurityEventsOf(Request, frozen=True, kw_only=True):
    """An operator looks at what happened to an account."""

    user_id: Id
    limit: Limit = 50
    cursor: Id | None = None
    actor_id: Id | None = None


class SecurityEvent(Struct, frozen=True, kw_only=True):
    """One entry of the append-only audit log; `actor_id` only where somebody else did it."""

    event_id: Id
    kind: str
    at: datetime
    actor_id: Id | None
    ip: str
    device: str
    detail: str


class SecurityEvents(Reply, frozen=True, kw_only=True):
    """A page of the audit log."""

    items: list[SecurityEvent]
    next_cursor: str | None


class SetRoles(Request, frozen=True, kw_only=True):
    """Give a user exactly these roles."""

    user_id: Id
    roles: Annotated[list[RoleName], Meta(min_length=1, max_length=3)]
    actor_id: Id | None = None


class MakeApiKey(Request, frozen=True, kw_only=True):
    """Make a key for an external caller over gRPC, which opens exactly these scopes."""

    name: ShortText
    scopes: Annotated[list[Scope], Meta(min_length=1, max_length=16)]
    expires_at: Instant | None = None
    actor_id: Id | None = None


class ApiKeyMade(Reply, frozen=True, kw_only=True):
    """The key itself, shown only now."""

    key_id: Id
    key: str


class ApiKeysOf(Request, frozen=True, kw_only=True):
    """All keys of external callers."""

    actor_id: Id | None = None


class ApiKeyShown(Struct, frozen=True, kw_only=True):
    """A key without its secret."""

    key_id: Id
    name: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class ApiKeys(Reply, frozen=True, kw_only=True):
    """Keys, newest first."""

    items: list[ApiKeyShown]


class PublishedApiKey(Struct, frozen=True, kw_only=True):
    """What gateways know of a key, under `api_key_entry` in identity's bucket."""

    key_id: str
    scopes: list[str]
    expires_at: datetime | None


class RevokeApiKey(Request, frozen=True, kw_only=True):
    """End a key at once."""

    key_id: Id
    actor_id: Id | None = None


class RotateKeys(Request, frozen=True, kw_only=True):
    """Sign access tokens with a new key from soon on; the present ones go on holding."""

    actor_id: Id | None = None


class KeysRotated(Reply, frozen=True, kw_only=True):
    """The new key's id, and from when it signs: every gateway knows it by then."""

    kid: str
    signs_from: datetime


CONFIRM_EXCLUSION = Call(
    "rpc.identity.v1.confirm_exclusion", ConfirmExclusion, Empty,
    "Say that an exclusion holds where money moves.",
    callers=MONEY_SERVICES, refuses=(NotFound,), idempotent=True,
)  # fmt: skip
LIST_SESSIONS = Call(
    "rpc.identity.v1.list_sessions", OwnSession, Sessions, "See where one is logged in.",
    idempotent=True,
    route=Route(
        method="GET", path="/v1/sessions", tag="account", from_token=("user_id", "session_id")
    ),
)  # fmt: skip
REVOKE_SESSION = Call(
    "rpc.identity.v1.revoke_session", OwnSession, Empty, "End one of one's sessions.",
    refuses=(NotFound,), idempotent=True,
    route=Route(
        method="DELETE", path="/v1/sessions/{session_id}", status=204, tag="account",
        from_token=("user_id",),
    ),
)  # fmt: skip
REVOKE_OTHERS = Call(
    "rpc.identity.v1.revoke_others", OwnSession, Empty, "End all other sessions.", idempotent=True,
    route=Route(
        method="DELETE", path="/v1/sessions", status=204, tag="account",
        from_token=("user_id", "session_id"),
    ),
)  # fmt: skip
CHANGE_PASSWORD = Call(
    "rpc.identity.v1.change_password", ChangePassword, Empty, "Change one's password.",
    refuses=(Forbidden, LockedOut, NotFound), deadline_ms=5_000, workers=4,
    route=Route(
        method="PUT", path="/v1/users/me/password", status=204, tag="account",
        from_token=("user_id", "session_id"), from_client=("ip",),
    ),
)  # fmt: skip
REQUEST_RESET = Call(
    "rpc.identity.v1.request_reset", RequestReset, Empty, "Ask for a code to set a new password.",
    refuses=(LockedOut,), deadline_ms=5_000, workers=4,
    route=Route(
        method="POST", path="/v1/password-resets", role="public", status=202, tag="account",
        from_client=("ip",),
    ),
)  # fmt: skip
CONFIRM_RESET = Call(
    "rpc.identity.v1.confirm_reset", ConfirmReset, Empty, "Set a new password with a code.",
    refuses=(Unauthenticated, LockedOut), deadline_ms=5_000, workers=4,
    route=Route(
        method="POST", path="/v1/password-resets/confirmation", role="public", status=204,
        tag="account", from_client=("ip",),
    ),
)  # fmt: skip
SET_UP_FACTOR = Call(
    "rpc.identity.v1.set_up_factor", OfAccount, FactorSetUp, "Begin with a second factor.",
    refuses=(NotFound, Conflict),
    route=Route(
        method="POST", path="/v1/users/me/second-factor", status=201, tag="account",
        from_token=("user_id",),
    ),
)  # fmt: skip
CONFIRM_FACTOR = Call(
    "rpc.identity.v1.confirm_factor", ConfirmFactor, RecoveryCodes, "Turn the second factor on.",
    refuses=(NotFound, Conflict, Forbidden, LockedOut),
    route=Route(
        method="POST", path="/v1/users/me/second-factor/confirmation", tag="account",
        from_token=("user_id",),
    ),
)  # fmt: skip
REMOVE_FACTOR = Call(
    "rpc.identity.v1.remove_factor", RemoveFactor, Empty, "Turn the second factor off.",
    refuses=(NotFound, Conflict, Forbidden, LockedOut), deadline_ms=5_000, workers=4,
    route=Route(
        method="POST", path="/v1/users/me/second-factor/removal", status=204, tag="account",
        from_token=("user_id",), from_client=("ip",),
    ),
)  # fmt: skip
SECURITY_EVENTS = Call(
    "rpc.identity.v1.security_events", SecurityEventsOf, SecurityEvents,
    "See what happened to one's account.", idempotent=True,
    route=Route(
        method="GET", path="/v1/users/me/security-events", tag="account", from_token=("user_id",)
    ),
)  # fmt: skip
ADMIN_SECURITY_EVENTS = Call(
    "rpc.identity.v1.admin_security_events", AdminSecurityEventsOf, SecurityEvents,
    "An operator sees what happened to an account.", refuses=(Forbidden,), idempotent=True,
    route=Route(
        method="GET", path="/v1/admin/users/{user_id}/security-events", role="operator",
        tag="admin", from_token=("actor_id",),
    ),
)  # fmt: skip
SET_ROLES = Call(
    "rpc.identity.v1.set_roles", SetRoles, Empty, "An admin sets a user's roles.",
    refuses=(NotFound, Forbidden, Conflict), idempotent=True,
    route=Route(
        method="PUT", path="/v1/admin/users/{user_id}/roles", role="admin", status=204,
        tag="admin", from_token=("actor_id",),
    ),
)  # fmt: skip
MAKE_API_KEY = Call(
    "rpc.identity.v1.make_api_key", MakeApiKey, ApiKeyMade, "An admin makes a key for gRPC.",
    refuses=(Forbidden,),
    route=Route(
        method="POST", path="/v1/admin/api-keys", role="admin", status=201, tag="admin",
        from_token=("actor_id",),
    ),
)  # fmt: skip
LIST_API_KEYS = Call(
    "rpc.identity.v1.list_api_keys", ApiKeysOf, ApiKeys, "An admin sees the keys for gRPC.",
    refuses=(Forbidden,), idempotent=True,
    route=Route(
        method="GET", path="/v1/admin/api-keys", role="admin", tag="admin",
        from_token=("actor_id",),
    ),
)  # fmt: skip
REVOKE_API_KEY = Call(
    "rpc.identity.v1.revoke_api_key", RevokeApiKey, Empty, "An admin ends a key for gRPC.",
    refuses=(Forbidden, NotFound), idempotent=True,
    route=Route(
        method="DELETE", path="/v1/admin/api-keys/{key_id}", role="admin", status=204, tag="admin",
        from_token=("actor_id",),
    ),
)  # fmt: skip
ROTATE_KEYS = Call(
    "rpc.identity.v1.rotate_keys", RotateKeys, KeysRotated, "An admin changes the signing key.",
    refuses=(Forbidden, Conflict),
    route=Route(
        method="POST", path="/v1/admin/signing-keys", role="admin", status=201, tag="admin",
        from_token=("actor_id",),
    ),
)  # fmt: skip

CALLS = (
    CONFIRM_EXCLUSION, LIST_SESSIONS, REVOKE_SESSION, REVOKE_OTHERS, CHANGE_PASSWORD,
    REQUEST_RESET, CONFIRM_RESET, SET_UP_FACTOR, CONFIRM_FACTOR, REMOVE_FACTOR, SECURITY_EVENTS,
    ADMIN_SECURITY_EVENTS, SET_ROLES, MAKE_API_KEY, LIST_API_KEYS, REVOKE_API_KEY, ROTATE_KEYS,
)  # fmt: skip


def api_key_entry(digest: bytes) -> str:
    """Return under which key of identity's bucket gateways find a key, by its SHA-256 digest."""
    return f"apikey.{digest.hex()}"


async def confirm_exclusion(context: Context, user_id: str, until: datetime) -> None:
    """Tell identity, after the commit that keeps an exclusion, that it holds in this service.

    The player's answer waits for this. Lost, it is asked for again: identity tells of the
    exclusion anew when the player does.
    """
    try:
        await context.call(CONFIRM_EXCLUSION, ConfirmExclusion(user_id=user_id, until=until))
    except (NotFound, Unavailable) as failure:
        context.log.info("exclusion not confirmed", cause=failure.detail)
