"""Releases: how one release of a service is reached beside the one that everybody uses.

An instance that is told no release is stable: it answers the plain subject of each call,
`rpc.<service>.<version>.<verb>`, and `release.<service>.<version>.stable.<verb>`. One that is told
a release (`WALLET_RELEASE=blue`) answers only `release.wallet.<version>.blue.<verb>`, where the
broker's mapping sends a canary's share. A call that finds nobody there goes to the stable instances
(svc/mesh/caller.py).

The release `shadow` sees copies of calls and takes part in nothing: it is another user of the
broker, who may publish nothing, it hears no events, publishes none of its outbox, and has a
database of its own (`WALLET_SHADOW_DATABASE_URL`).
"""

import re
from collections.abc import Mapping, Sequence

from svc.mesh.errors import DeclarationError

STABLE = "stable"
SHADOW = "shadow"
"""The release that only sees copies, and its user of the broker."""
PARTITION = "partition-"
"""How the release begins by which the owner of a partition answers (svc/mesh/partitions.py)."""
LABEL = r"[a-z0-9][a-z0-9-]{0,30}"
"""The form of a release's name: one token of a subject."""
CALL_TOKENS = 4


def release_subject(subject: str, release: str) -> str:
    """Return where a release answers a call, empty for what is no call of a service's contract."""
    tokens = subject.split(".")
    if len(tokens) != CALL_TOKENS or tokens[0] != "rpc":
        return ""
    _, service, version, verb = tokens
    return f"release.{service}.{version}.{release}.{verb}"


def partition_subject(subject: str, number: int) -> str:
    """Return where the owner of a partition answers a call."""
    return release_subject(subject, f"{PARTITION}{number}")


def release_of(settings: Mapping[str, str], service: str) -> str:
    """Return the release that an instance was told to be; raises DeclarationError for no name."""
    variable = f"{service.upper()}_RELEASE"
    release = settings.get(variable) or STABLE
    if not re.fullmatch(LABEL, release) or release.startswith(PARTITION):
        raise DeclarationError(
            f"{variable}={release!r} is no name of a release: lower case letters, digits, dashes"
        )
    return release


def answered(subject: str, release: str, partitions: Sequence[int] = ()) -> list[str]:
    """Return the subjects on which an instance of a release answers a call.

    Of a call that is divided, those of the `partitions` that it owns too.
    """
    own = release_subject(subject, release)
    if not own:
        return [subject]
    parts = [partition_subject(subject, number) for number in partitions]
    return [subject, own, *parts] if release == STABLE else [own]
