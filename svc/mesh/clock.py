"""Time and ids as they are injected everywhere: UTC instants and UUIDs of version 7."""

from datetime import UTC, datetime
from typing import Protocol

import uuid_utils


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


def new_id() -> str:
    """Return a new UUIDv7 in text: ordered by time, so indexes stay local."""
    return str(uuid_utils.uuid7())
