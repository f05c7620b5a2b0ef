"""Telling a service its events once more, to rebuild what it derived from them.

Only a service whose handlers do nothing but derive may be told again, and says so: it registers how
to forget what it derived since an instant. Then its inbox forgets the same events and its consumers
go back in their streams. What is told again has no effect outside: nothing is published, pushed or
asked, and what comes after a commit is left out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct

from svc.mesh.clock import new_id
from svc.mesh.context import Context
from svc.mesh.database import Tx
from svc.mesh.errors import Conflict, Refused

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from svc.mesh.contract import Call, Event, Live
    from svc.mesh.runtime import Runtime
    from svc.mesh.service import Service

RequestT = TypeVar("RequestT", bound=Struct)
ReplyT = TypeVar("ReplyT", bound=Struct)
DataT = TypeVar("DataT", bound=Struct)

Forget = Callable[[Tx, datetime], Awaitable[datetime]]
"""Forgets what was derived from events since an instant; returns the instant from which the service
needs them again, the same or an earlier one."""
CLOCKS_APART = timedelta(minutes=1)
_FORGETS: dict[str, Forget] = {}


class NotRebuilt(Refused):
    """A service like this cannot be rebuilt."""

    name = "not-rebuilt"
    status = 409


class Range(Struct, frozen=True, kw_only=True):
    """What is told again of a stream: events since an instant, up to a sequence."""

    since: datetime
    upto: int


def rebuilds(service: Service) -> Callable[[Forget], Forget]:
    """Register how a service forgets what it derived; this is what makes it rebuildable."""

    def register(forget: Forget) -> Forget:
        _FORGETS[service.name] = forget
        return forget

    return register


def can_be_rebuilt(service: str) -> bool:
    """Say whether a service registered how it forgets."""
    return service in _FORGETS


async def forget(
    runtime: Runtime, since: datetime, upto: dict[str, int], kept_since: datetime | None
) -> datetime:
    """Forget what was derived since an instant; returns the instant from which to tell again.

    `upto` is the last sequence of each stream, `kept_since` the oldest instant from which all of
    them still hold everything (None: all that ever was). `how` takes its locks in the handlers'
    order, for they go on meanwhile.
    Raises NotRebuilt when the service does more than derive, Conflict when the streams no longer
    hold what would be forgotten.
    """
    how = _FORGETS.get(runtime.service.name)
    if how is None:
        raise NotRebuilt(
            f"what {runtime.service.name} does with events has effects elsewhere, or it does not "
            "say how it forgets (svc.mesh.rebuild)"
        )
    async with runtime.context().transaction() as tx:
        begin = await how(tx, since)
        if kept_since is not None and begin < kept_since:
            raise Conflict(
                f"events since {begin.isoformat()} would be needed, and the streams hold all only "
                f"since {kept_since.isoformat()}"
            )
        # Received is never before told, but for the clocks of two machines. What is forgotten here
        # without need is told before `begin`, and left out by that when it comes again.
        await tx.execute("DELETE FROM mesh_inbox WHERE received_at >= $1", begin - CLOCKS_APART)
        for stream, last in upto.items():
            await tx.execute(
                "INSERT INTO mesh_rebuild (stream, since, upto) VALUES ($1, $2, $3)"
                " ON CONFLICT (stream) DO UPDATE"
                " SET since = excluded.since, upto = excluded.upto, asked_at = now()",
                stream,
                begin,
                last,
            )
    return begin


async def range_of(tx: Tx, stream: str, sequence: int) -> Range | None:
    """Return what is told again of a stream when this sequence belongs to it, else None."""
    row = await tx.fetchrow(
        "SELECT since, upto FROM mesh_rebuild WHERE stream = $1 AND upto >= $2", stream, sequence
    )
    return Range(since=row["since"], upto=row["upto"]) if row else None


class ToldAgain(Context):
    """A context without effects outside."""

    async def call(
        self, call: Call[RequestT, ReplyT], request: RequestT, *, deadline_ms: int | None = None
    ) -> ReplyT:
        """Refuse: who is told again asks nobody, for the answers would be today's."""
        del request, deadline_ms
        raise Conflict(f"{call.subject} cannot be asked for an event that is told again")

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Tx]:
        """Open a transaction that publishes nothing."""
        async with super().transaction() as tx:
            yield SilentTx(tx.connection, self)

    async def publish(
        self, event: Event[DataT], data: DataT, *, subject: str, event_id: str
    ) -> None:
        """Publish nothing."""

    async def push(self, live: Live[DataT], key: str, data: DataT) -> None:
        """Push nothing."""


class SilentTx(Tx):
    """A transaction whose events never leave and after which nothing runs."""

    async def publish(
        self, event: Event[DataT], data: DataT, *, subject: str, event_id: str | None = None
    ) -> str:
        """Check what would be published, and return its id."""
        return self.context.envelope(event, data, subject=subject, event_id=event_id or new_id()).id

    def after_commit(self, action: Callable[[], Awaitable[None]]) -> None:
        """Leave the action out."""


def is_told_again(context: Context) -> bool:
    """Say whether an event is told again, for a handler that keeps what stood at its time."""
    return isinstance(context, ToldAgain)


def silent(context: Any) -> ToldAgain:
    """Return the same piece of work without effects outside."""
    return ToldAgain(
        context.runtime,
        caller=context.caller,
        correlation_id=context.correlation_id,
        causation_id=context.causation_id,
        traceparent=context.traceparent,
    )
