"""What a handler gets in hand: calls, transactions, pushes and the cache of its own service.

A context belongs to one piece of work (a call, an event, a job). It carries the deadline and the
correlation of that work on to everything the handler does with it.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from svc.mesh.clock import Clock, new_id
from svc.mesh.database import undeclared
from svc.mesh.envelope import CloudEvent
from svc.mesh.errors import TimedOut

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from svc.mesh.cache import Cache
    from svc.mesh.contract import Call, Contract, Event, Live
    from svc.mesh.database import Tx
    from svc.mesh.localizer import Localizer
    from svc.mesh.runtime import Runtime

RequestT = TypeVar("RequestT", bound=msgspec.Struct)
ReplyT = TypeVar("ReplyT", bound=msgspec.Struct)
DataT = TypeVar("DataT", bound=msgspec.Struct)


class Context(msgspec.Struct, eq=False):
    """One piece of work of one service.

    `deadline` is in seconds of `time.time()`, or None when nobody waits; `caller` is the service
    that asked (empty for own work); `correlation_id` ties together all that one request caused,
    `causation_id` is the event or call that directly caused this. Without a correlation id a new
    one begins.
    """

    runtime: Runtime
    caller: str = ""
    deadline: float | None = None
    correlation_id: str = ""
    causation_id: str = ""
    traceparent: str = ""

    def __post_init__(self) -> None:
        """Begin a new correlation where none is given."""
        if not self.correlation_id:
            self.correlation_id = new_id()

    @property
    def service(self) -> str:
        """Return the name of the service whose work this is."""
        return self.runtime.service.name

    @property
    def clock(self) -> Clock:
        """Return the clock of this service."""
        return self.runtime.clock

    @property
    def log(self) -> Any:
        """Return a structured logger that carries the correlation id, and the trace's if any."""
        log = self.runtime.log.bind(correlation_id=self.correlation_id)
        return log.bind(trace_id=self.traceparent[3:35]) if self.traceparent else log

    @property
    def cache(self) -> Cache:
        """Return this service's own KV bucket as a read-through cache."""
        return self.runtime.own_cache()

    @property
    def localizer(self) -> Localizer:
        """Return the client of the localization service."""
        return self.runtime.localizer

    @property
    def redis(self) -> Any:
        """Return the Valkey client (`redis.asyncio.Redis`) of a service that declares it."""
        return self.runtime.own_redis()

    def now(self) -> datetime:
        """Return the current instant in UTC."""
        return self.runtime.clock.now()

    def new_id(self) -> str:
        """Return a new UUIDv7."""
        return new_id()

    def setting(self, name: str) -> str:
        """Return a setting from the environment or `.run/settings.env`; KeyError when missing."""
        return self.runtime.settings[name]

    def remaining(self, wanted_s: float) -> float:
        """Return how long to wait, in seconds: what is wanted, cut by the deadline.

        Raises TimedOut when the deadline has passed.
        """
        if self.deadline is None:
            return wanted_s
        left = self.deadline - time.time()
        if left <= 0:
            raise TimedOut("the deadline passed before this could be asked")
        return min(wanted_s, left)

    async def call(
        self,
        call: Call[RequestT, ReplyT],
        request: RequestT,
        *,
        deadline_ms: int | None = None,
    ) -> ReplyT:
        """Ask another service and return its typed answer.

        Raises one of the call's refusals, Unavailable (TimedOut when the outcome is unknown),
        Denied, or Undeclared when this service does not declare the call.
        """
        if call.subject not in self.runtime.callable_subjects:
            raise undeclared(self.service, call.subject)
        wait = self.remaining((deadline_ms or call.deadline_ms) / 1000)
        return await self.runtime.caller.call(call, request, wait, self)

    def transaction(self) -> AbstractAsyncContextManager[Tx]:
        """Open a transaction on this service's database."""
        return self.runtime.own_database().transaction(self)

    def envelope(
        self, event: Event[DataT], data: DataT, *, subject: str, event_id: str | None = None
    ) -> CloudEvent[DataT]:
        """Wrap data as the event that this service may publish; raises Undeclared when not."""
        if self.runtime.publishable.get(event.type) is not event:
            raise undeclared(self.service, event.type)
        return CloudEvent(
            id=event_id or new_id(),
            source="/" + self.service,
            type=event.type,
            subject=subject,
            time=self.now(),
            data=data,
            correlationid=self.correlation_id,
            causationid=self.causation_id,
            traceparent=self.traceparent,
        )

    async def publish(
        self, event: Event[DataT], data: DataT, *, subject: str, event_id: str
    ) -> None:
        """Publish straight to the stream, for services without a database.

        The id must be derived from what happened, so that doing it again is deduplicated by the
        stream. Services with a database use `Tx.publish`.
        """
        envelope = self.envelope(event, data, subject=subject, event_id=event_id)
        await self.runtime.publish_now(event.subject, msgspec.json.encode(envelope), envelope.id)

    async def push(self, live: Live[DataT], key: str, data: DataT) -> None:
        """Push to the clients that follow one key of a live channel; nothing waits for them."""
        if live not in self.runtime.service.contract.pushes:
            raise undeclared(self.service, live.channel)
        await self.runtime.connection.publish(live.subject(key), msgspec.json.encode(data))

    def shared(self, contract: Contract) -> Cache:
        """Return another service's KV bucket for reading; its contract lists us as a reader."""
        if contract not in self.runtime.service.reads:
            raise undeclared(self.service, f"the bucket of {contract.name}")
        return self.runtime.shared_cache(contract.name)

    def spawn(self) -> Context:
        """Return a context for work that outlives this one: same correlation, no deadline."""
        return Context(
            self.runtime,
            correlation_id=self.correlation_id,
            causation_id=self.causation_id,
            traceparent=self.traceparent,
        )
