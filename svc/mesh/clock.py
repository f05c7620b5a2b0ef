"""Time and ids as they are injected everywhere: UTC instants and UUIDs of version 7."""

from datetime import UTC, datetime
from typing import Protocol

import uuid_utils

from svc.mesh.errors import Invalid


class Clock(Protocol):
    """Where the time comes from; tests give their own."""

    def now(self) -> datetime:
        """Return the current instant, aware, in UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the current instant, aware, in UTC."""
        return datetime.now(UTC)


def in_utc(instant: datetime, field: str) -> datetime:
    """Return an instant of a request, which has its offset, in UTC.

    Raises Invalid in the name of its field for one that there is in its own offset alone: before
    the year 1 or after the year 9999, no clock and no database can tell it.
    """
    try:
        return instant.astimezone(UTC)
    except OverflowError as failure:
        raise Invalid(f"the years are 1 to 9999, in UTC - at `$.{field}`") from failure


def new_id() -> str:
    """Return a new UUIDv7 in text: ordered by time, so indexes stay local."""
    return str(uuid_utils.uuid7())
