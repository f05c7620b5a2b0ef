"""Partitions: calls about the same thing go to the same instance, which remembers it rightly.

A call says by which field of its request it is divided (`partition_by`, such as the player). How
many partitions a service has is the same for everybody: `WALLET_PARTITIONS=4`, 1 where nothing is
said. `WALLET_PARTITION=0` makes an instance the owner of the first; one that is told nothing takes
all of them. A partition is answered as a release of its own (svc/mesh/policy_releases.py), and the
plain subject by everybody: a call that finds no owner goes to any instance, as undivided calls do.

Callers divide, not the broker, for a message carries the calls of many players; they do it as the
broker's `{{partition(n,1)}}` does (FNV-1a), so that a mapping of its own agrees with them. A canary
(`just policy set canary`) gets its share of undivided calls only: the others go to their owner.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from svc.mesh.coalesce import Lane
from svc.mesh.contract import Call
from svc.mesh.errors import DeclarationError
from svc.mesh.policy_releases import STABLE, partition_subject, release_of

if TYPE_CHECKING:
    import asyncio

    from svc.mesh.caller import Caller
    from svc.mesh.context import Context
    from svc.mesh.edge import Edge

PARTITIONS_MAX = 64
KEYS_KEPT = 65_536
"""Of so many players the partition is remembered: to compute one costs as much as the call."""
FNV_OFFSET, FNV_PRIME, FNV_MASK = 2_166_136_261, 16_777_619, 0xFFFF_FFFF


@lru_cache(KEYS_KEPT)
def partition_of(key: str, count: int) -> int:
    """Return the partition of a key, from 0 on, as the broker's `partition` function does."""
    found = FNV_OFFSET
    for byte in key.encode():
        found = (found ^ byte) * FNV_PRIME & FNV_MASK
    return found % count


def count_of(settings: Mapping[str, str], service: str) -> int:
    """Return how many partitions a service has; raises DeclarationError for no such number."""
    return _number(settings, f"{service.upper()}_PARTITIONS", 1, 1, PARTITIONS_MAX)


def undivided(_: str) -> int:
    """Return how many partitions any service has as long as nobody says otherwise."""
    return 1


def owned(settings: Mapping[str, str], service: str) -> list[int]:
    """Return the partitions that an instance answers, none where a service is not divided.

    Raises DeclarationError when it is told one that does not exist, or as another release.
    """
    count, variable = count_of(settings, service), f"{service.upper()}_PARTITION"
    if not settings.get(variable):
        stable = release_of(settings, service) == STABLE
        return list(range(count)) if count > 1 and stable else []
    if release_of(settings, service) != STABLE:
        raise DeclarationError(f"{variable} is for stable instances: another release owns nothing")
    number = _number(settings, variable, 0, 0, count - 1)
    return [number] if count > 1 else []


def _number(settings: Mapping[str, str], variable: str, default: int, low: int, high: int) -> int:
    text = settings.get(variable) or str(default)
    if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
        raise DeclarationError(f"{variable}={text!r} is no number from {low} to {high}")
    return int(text)


class Divided:
    """The calls of one subject, each in the lane of its partition."""

    def __init__(self, caller: "Caller", call: Call[Any, Any], edge: "Edge", count: int) -> None:
        """Nothing waits."""
        self.field = call.partition_by
        self.key_of = msgspec.json.Decoder(dict[str, Any]).decode
        self.parts = [
            Lane(caller, call, edge, partition_subject(call.subject, number), divided=True)
            for number in range(count)
        ]

    def ask(self, request: Any, wait_s: float, context: "Context") -> "asyncio.Future[Any]":
        """Send one call to its owner; the future brings what Lane.ask says."""
        key = self._key(request)
        # What is no text is refused by whoever gets it.
        number = partition_of(key, len(self.parts)) if isinstance(key, str) else 0
        return self.parts[number].ask(request, wait_s, context)

    def _key(self, request: Any) -> object:
        if not isinstance(request, msgspec.Raw):
            return getattr(request, self.field)
        try:
            return self.key_of(request).get(self.field)
        except msgspec.ValidationError:
            return None

    def overdue(self, now: float) -> bool:
        """Fail the calls whose deadline has passed; say whether any still waits."""
        waiting = [lane.overdue(now) for lane in self.parts]
        return any(waiting)

    def lanes(self) -> Iterable[Lane]:
        """Return the lanes of all partitions."""
        return self.parts


def lane_of(caller: "Caller", call: Call[Any, Any], edge: "Edge") -> "Lane | Divided | None":
    """Return where the calls of a subject wait to leave together; None when they go alone."""
    if call.apart:
        return None
    count = caller.partitions(call.service) if call.partition_by else 1
    if count > 1:
        return Divided(caller, call, edge, count)
    return Lane(caller, call, edge, call.subject)
