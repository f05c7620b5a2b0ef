"""Routing policy as data: what may stand in the bucket `mesh_policy`, and which of it counts.

A key is `<kind>.<caller>.<callee>.<verb>`, `all` standing for every caller or every verb; the value
is the JSON of the kind. Where several say something of the same call, the one that names its verb
wins, then the one that names its caller.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct

from svc.mesh.errors import Invalid
from svc.mesh.policy_releases import LABEL, SHADOW, STABLE
from svc.mesh.types import Instant
from svc.mesh.wire import UNREADABLE

BUCKET = "mesh_policy"
AUDIT_STREAM = "POLICY_AUDIT"
"""Every change of the bucket, copied by the broker itself, which lets nobody change the copy."""
ALL = "all"
KEY = re.compile(r"(canary|mirror|fault|limit)\.([a-z_]+)\.([a-z_]+)\.([a-z0-9_]+)")

Percent = Annotated[int, Meta(ge=1, le=100)]
Release = Annotated[str, Meta(pattern=f"^{LABEL}$")]
Milliseconds = Annotated[int, Meta(ge=1, le=60_000)]
Abort = Literal["unavailable", "timeout", "internal"]


class Canary(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The share of calls that another release answers.

    The broker's mapping draws for each message. As long as a call has a canary each is a message of
    its own, so the share is exact; batchable calls still travel as one under load and are then
    answered by the same release: of many messages the share is the same.
    """

    release: Release
    percent: Percent

    def __post_init__(self) -> None:
        """Refuse the release that gets all other calls anyway, and the one that answers nobody."""
        if self.release in {STABLE, SHADOW}:
            raise ValueError(f"{self.release!r} cannot be a canary; name another release")


class Mirror(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The share of calls of which a copy goes to the release `shadow`, which answers nobody."""

    percent: Percent


class Fault(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The share of calls that wait first, or fail without being sent, until an instant."""

    percent: Percent
    until: Instant
    delay_ms: Milliseconds | None = None
    abort: Abort | None = None

    def __post_init__(self) -> None:
        """Refuse a fault that does nothing."""
        if self.delay_ms is None and self.abort is None:
            raise ValueError("a fault delays or aborts: give delay_ms, abort or both")


class Limit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How long a call waits at most, and how many each instance of the caller has under way."""

    timeout_ms: Milliseconds | None = None
    in_flight: Annotated[int, Meta(ge=1, le=100_000)] | None = None

    def __post_init__(self) -> None:
        """Refuse a limit that does nothing."""
        if self.timeout_ms is None and self.in_flight is None:
            raise ValueError("a limit needs timeout_ms, in_flight or both")


Policy = Canary | Mirror | Fault | Limit
KINDS: dict[str, type[Policy]] = {
    "canary": Canary,
    "mirror": Mirror,
    "fault": Fault,
    "limit": Limit,
}


class Scope(NamedTuple):
    """Which calls a policy concerns; `all` for every caller or every verb."""

    kind: str
    caller: str
    callee: str
    verb: str

    @property
    def key(self) -> str:
        """Return the key in the bucket."""
        return ".".join(self)

    def covers(self, caller: str, callee: str, verb: str) -> bool:
        """Tell whether a call is among those concerned."""
        return self.callee == callee and self.caller in {ALL, caller} and self.verb in {ALL, verb}

    @property
    def rank(self) -> tuple[bool, bool]:
        """Return how closely it says whom it concerns: the higher wins."""
        return self.verb != ALL, self.caller != ALL


def scope_of(key: str) -> Scope:
    """Read a key; raises Invalid that says how keys look."""
    found = KEY.fullmatch(key)
    if found is None:
        raise Invalid(
            f"{key!r} is no key of a policy: <{'|'.join(KINDS)}>.<caller>.<callee>.<verb>, "
            f"{ALL!r} for every caller or verb"
        )
    scope = Scope(*found.groups())
    if scope.kind == "canary" and scope.caller != ALL:
        raise Invalid("a canary divides the calls of all callers: the broker knows none of them")
    return scope


def read(key: str, body: bytes) -> tuple[Scope, Policy]:
    """Read an entry of the bucket; raises Invalid that names the field and what is wrong."""
    scope = scope_of(key)
    try:
        return scope, msgspec.json.decode(body, type=KINDS[scope.kind])
    except UNREADABLE as failure:
        raise Invalid(f"{key}: {failure}") from failure


def has_ended(policy: Policy, now: datetime) -> bool:
    """Tell whether a policy is over; only faults end by themselves."""
    return isinstance(policy, Fault) and policy.until <= now


def of_edge(
    policies: Mapping[Scope, Policy], caller: str, callee: str, verb: str, now: datetime
) -> dict[str, Policy]:
    """Return the policy of each kind that counts for one call of one caller, at an instant."""
    concerned = [
        (scope, policy)
        for scope, policy in policies.items()
        if scope.covers(caller, callee, verb) and not has_ended(policy, now)
    ]
    return {scope.kind: policy for scope, policy in sorted(concerned, key=lambda one: one[0].rank)}
