"""What identity offers around personal data: proving who one is, taking it along, leaving."""

from datetime import date, datetime
from typing import Annotated

from msgspec import Meta, Struct

from svc.identity.contract_security import GivenPassword, LockedOut, SecurityEvent, SessionShown
from svc.mesh.contract import Call, Event, Route
from svc.mesh.errors import Conflict, Forbidden, NotFound, Refused
from svc.mesh.types import Empty, EventData, Id, Reply, Request, ShortText

CountryCode = Annotated[
    str, Meta(pattern="^[A-Z]{2}$", max_length=2, description="ISO 3166-1: two letters")
]


class SubmitVerification(Request, frozen=True, kw_only=True):
    """What proves who one is (UKGC LCCP 17.1.1: name, address, date of birth)."""

    user_id: Id
    first_name: ShortText
    last_name: ShortText
    street: ShortText
    city: ShortText
    country: CountryCode
    document_number: ShortText


class Verification(Reply, frozen=True, kw_only=True):
    """How the verification stands: pending until somebody decided."""

    status: str
    submitted_at: datetime


class OwnData(Request, frozen=True, kw_only=True):
    """All personal data of one user."""

    user_id: Id


class ExportedLimit(Struct, frozen=True, kw_only=True):
    """A limit as it was set."""

    kind: str
    period: str
    amount: int


class ExportedVerification(Struct, frozen=True, kw_only=True):
    """What was submitted to prove who one is."""

    first_name: str
    last_name: str
    street: str
    city: str
    country: str
    document_number: str
    submitted_at: datetime


class Export(Reply, frozen=True, kw_only=True):
    """Everything personal that is kept of a user here (GDPR articles 15 and 20)."""

    user_id: Id
    email: str
    phone: str
    date_of_birth: date | None
    currency: str
    locale: str
    marketing_opt_in: bool
    kyc_status: str
    roles: list[str]
    created_at: datetime
    excluded_until: datetime | None
    limits: list[ExportedLimit]
    verification: ExportedVerification | None
    sessions: list[SessionShown]
    security_events: list[SecurityEvent]


class Erase(Request, frozen=True, kw_only=True):
    """Close one's account for good and have everything personal forgotten."""

    user_id: Id
    password: GivenPassword
    ip: str = ""


class MoneyLeft(Refused):
    """The wallet is not empty: take the money out, or pay what is owed, first."""

    name = "money-left"
    status = 409


class ResetAsked(EventData, frozen=True, kw_only=True):
    """Somebody asked for a code to set a new password; whether there is an account is not said."""

    reset_id: Id


class IssueCode(Request, frozen=True, kw_only=True):
    """A message with a one-time code is about to leave: make the code it refers to."""

    user_id: Id
    code_id: Id


class IssuedCode(Reply, frozen=True, kw_only=True):
    """The code, told only now; it stands nowhere else."""

    code: str


class UserErased(EventData, frozen=True, kw_only=True):
    """A user's personal data was erased; the id stays, for the ledger."""

    user_id: Id


RESET_ASKED = Event(
    "PasswordResetAskedEvent", "user", ResetAsked, "A code to set a new password was asked for."
)
USER_ERASED = Event("UserErasedEvent", "user", UserErased, "Personal data was erased.")

SUBMIT_VERIFICATION = Call(
    "rpc.identity.v1.submit_verification", SubmitVerification, Verification,
    "Hand in what proves who one is.", refuses=(NotFound, Conflict), deadline_ms=5_000,
    route=Route(
        method="POST", path="/v1/users/me/verification", status=202, tag="account",
        from_token=("user_id",),
    ),
)  # fmt: skip
EXPORT = Call(
    "rpc.identity.v1.export", OwnData, Export, "Take all of one's personal data along.",
    refuses=(NotFound,), idempotent=True,
    route=Route(
        method="GET", path="/v1/users/me/export", tag="account", from_token=("user_id",)
    ),
)  # fmt: skip
ERASE = Call(
    "rpc.identity.v1.erase", Erase, Empty, "Close one's account and be forgotten.",
    refuses=(NotFound, Forbidden, MoneyLeft, Conflict, LockedOut), deadline_ms=5_000, workers=4,
    route=Route(
        method="POST", path="/v1/users/me/erasure", status=204, tag="account",
        from_token=("user_id",), from_client=("ip",),
    ),
)  # fmt: skip

ISSUE_CODE = Call(
    "rpc.identity.v1.issue_code", IssueCode, IssuedCode, "Make the code of a message that leaves.",
    callers=("notification",), refuses=(NotFound,), workers=4,
)  # fmt: skip

CALLS = (SUBMIT_VERIFICATION, EXPORT, ERASE, ISSUE_CODE)
