"""The failures of a betmesh service, of three kinds, and how each one travels.

Exception
├── Refused              a rule said no: named, final, never retried      (HTTP 4xx)
│   ├── Invalid          the message does not have the declared form      (400)
│   ├── Unauthenticated  nobody, or a token that is not valid             (401)
│   ├── Forbidden        somebody, but not allowed                        (403)
│   ├── NotFound         no such thing, or not yours                      (404)
│   ├── Conflict         the state does not allow it (any more)           (409)
│   └── …                each contract names its own
├── Unavailable          try again later                                  (503)
│   ├── TimedOut         the deadline passed; the outcome is unknown      (504)
│   ├── Overloaded       the queue is full; nothing was done              (503)
│   ├── Absent           no instance runs; nothing was done               (503)
│   └── Resting          it was silent for a while; nothing was sent      (503)
└── anything else        a bug: logged here, `internal` outside           (500)
    ├── Denied           the broker refused a subject: declarations are wrong
    └── Undeclared       a service used what it did not declare
"""

from typing import ClassVar

import msgspec

PROBLEM_PREFIX = "urn:betmesh:problem:"


class Refused(Exception):
    """A rule said no.

    Subclasses give `name` (kebab-case, what clients switch on) and `status` (the HTTP status);
    the first line of their docstring is the title. `members` are extension members of the
    problem document, such as the balance at hand.
    """

    name: ClassVar[str] = "conflict"
    status: ClassVar[int] = 409

    def __init__(self, detail: str = "", **members: object) -> None:
        """Keep the sentence for the caller and the named members that go with it."""
        super().__init__(detail or self.title())
        self.detail = detail or self.title()
        self.members = members

    @classmethod
    def title(cls) -> str:
        """Return the first line of the class's docstring, without its full stop."""
        return (cls.__doc__ or cls.__name__).strip().splitlines()[0].rstrip(".")


class Invalid(Refused):
    """The request does not have the declared form."""

    name = "validation"
    status = 400


class Unauthenticated(Refused):
    """A valid access token is needed."""

    name = "unauthenticated"
    status = 401


class Forbidden(Refused):
    """You may not do this."""

    name = "forbidden"
    status = 403


class NotFound(Refused):
    """There is no such thing."""

    name = "not-found"
    status = 404


class Conflict(Refused):
    """The current state does not allow this."""

    name = "conflict"
    status = 409


class IdempotencyMismatch(Refused):
    """The idempotency key was used before with another body."""

    name = "idempotency-mismatch"
    status = 409


class Unavailable(Exception):
    """The callee cannot be reached or cannot serve now; the same request may be sent again."""

    name: ClassVar[str] = "unavailable"
    status: ClassVar[int] = 503
    word: ClassVar[str] = ""
    """What it is called among services and in metrics, where they know more than clients."""

    def __init__(self, detail: str = "", retry_after: int = 1) -> None:
        """Keep the sentence and the seconds after which another attempt makes sense."""
        super().__init__(detail or "The service is not available")
        self.detail = detail or "The service is not available"
        self.retry_after = retry_after


class TimedOut(Unavailable):
    """The deadline passed before an answer came; whether it took effect is unknown."""

    name = "timeout"
    status = 504


class Overloaded(Unavailable):
    """The endpoint's queue is full; nothing was done."""

    word = "overloaded"


class Absent(Unavailable):
    """No instance of the callee runs; nothing was done."""

    word = "absent"


class Resting(Unavailable):
    """The callee was silent or unavailable for a while, so nothing was sent to it."""

    word = "resting"


class Denied(Exception):
    """The broker does not permit this service to use a subject."""


class Undeclared(Exception):
    """A service tried to call or publish something that it did not declare."""


class DeclarationError(Exception):
    """Declarations and handlers differ; the text lists every difference."""


def problem(failure: BaseException) -> dict[str, object]:
    """Return the RFC 9457 problem document of a failure; a bug says nothing of its cause."""
    if isinstance(failure, Refused):
        return {
            "type": PROBLEM_PREFIX + failure.name,
            "title": failure.title(),
            "status": failure.status,
            "detail": failure.detail,
            **failure.members,
        }
    if isinstance(failure, Unavailable):
        return {
            "type": PROBLEM_PREFIX + failure.name,
            "title": "Timeout" if failure.name == "timeout" else "Unavailable",
            "status": failure.status,
            "detail": failure.detail,
        }
    return {
        "type": PROBLEM_PREFIX + "internal",
        "title": "Internal error",
        "status": 500,
        "detail": "The service failed; the failure was logged.",
    }


class RemoteRefusal(Refused):
    """The callee refused."""

    def __init__(self, document: dict[str, object]) -> None:
        """Rebuild a refusal that the called contract does not list by class."""
        kind = str(document.get("type", "")).removeprefix(PROBLEM_PREFIX)
        known = {"type", "title", "status", "detail"}
        members = {key: value for key, value in document.items() if key not in known}
        super().__init__(str(document.get("detail", "")), **members)
        status = document.get("status", 409)
        self.name = kind or "conflict"  # pyright: ignore[reportAttributeAccessIssue] -- per instance here
        self.status = status if isinstance(status, int) else 409  # pyright: ignore[reportAttributeAccessIssue] -- per instance here


class RemoteBug(Exception):
    """The callee failed with a bug (`internal`, 500)."""


def name_of(failure: BaseException) -> str:
    """Return the name by which a failure is counted: its own, or `internal` for a bug."""
    if isinstance(failure, Unavailable):
        return failure.word or failure.name
    return failure.name if isinstance(failure, Refused) else "internal"


def from_problem(body: bytes, refuses: tuple[type[Refused], ...]) -> Exception:
    """Turn an error reply's problem document back into the exception it was."""
    try:
        document = msgspec.json.decode(body, type=dict[str, object])
    except msgspec.DecodeError:
        return RemoteBug("the callee answered an error without a problem document")
    return from_document(document, refuses)


def from_document(document: dict[str, object], refuses: tuple[type[Refused], ...]) -> Exception:
    """Turn a problem document back into the exception it was."""
    name = str(document.get("type", "")).removeprefix(PROBLEM_PREFIX)
    detail = str(document.get("detail", ""))
    if name == TimedOut.name:
        return TimedOut(detail)
    if name == Unavailable.name:
        return Unavailable(detail)
    if name == "internal":
        return RemoteBug(detail)
    known = {"type", "title", "status", "detail"}
    members = {key: value for key, value in document.items() if key not in known}
    for refusal in (*refuses, Invalid, NotFound, Conflict, Forbidden, Unauthenticated):
        if refusal.name == name:
            return refusal(detail, **members)
    return RemoteRefusal(document)
