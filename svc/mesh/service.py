"""What a service hears and calls, and its handlers: the other half of a declaration.

`verify()` compares declarations with handlers, so a service whose code and words differ does not
start; `Context` and `Tx` (see context.py) refuse any call or event that is not declared here.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from msgspec import Struct

from svc.mesh.context import Context
from svc.mesh.contract import Call, Contract, Event, Lane
from svc.mesh.database import Tx
from svc.mesh.envelope import CloudEvent
from svc.mesh.errors import DeclarationError
from svc.mesh.parcels import Parcel

RequestT = TypeVar("RequestT", bound=Struct)
ReplyT = TypeVar("ReplyT", bound=Struct)
DataT = TypeVar("DataT", bound=Struct)
HearT_co = TypeVar("HearT_co", bound=Struct, covariant=True)

CallHandler = Callable[[RequestT, Context], Awaitable[ReplyT]]
ManyHandler = Callable[[list[RequestT], list[Context]], Awaitable[Sequence[ReplyT | Exception]]]
"""Answers calls that travelled together, in order, each with its reply or its failure."""
EventHandler = Callable[[CloudEvent[DataT], Tx, Context], Awaitable[None]]
Observer = Callable[[CloudEvent[DataT], Context], Awaitable[None]]
Hook = Callable[[Context], Awaitable[None]]
Retell = Callable[[Any, str, bytes], Awaitable[Sequence[Parcel]]]
"""Makes messages anew, always the same, from a connection, the id of an outbox row and its body."""


@dataclass(frozen=True)
class Hear(Generic[HearT_co]):
    """One event that a service hears.

    `only` keeps what concerns this service: an event for which it is false is acknowledged and
    leaves no trace (services also hear their own topics, so this is where loops are cut).
    """

    event: Event[HearT_co]
    why: str = ""
    only: Callable[[Any], bool] | None = None


@dataclass(frozen=True)
class Extras:
    """What a service needs of the broker beyond calls and events (the scheduler's schedules).

    Whole stream and consumer configurations, and subjects.
    """

    streams: tuple[dict[str, Any], ...] = ()
    consumers: tuple[dict[str, Any], ...] = ()
    publishes: tuple[str, ...] = ()
    subscribes: tuple[str, ...] = ()


class Service:
    """A service as the mesh runs it: its contract, what it hears and calls, and its handlers."""

    def __init__(
        self,
        contract: Contract,
        *,
        hears: tuple[Hear[Struct], ...] = (),
        calls: tuple[Call[Struct, Struct], ...] = (),
        asks: tuple[Event[Struct], ...] = (),
        reads: tuple[Contract, ...] = (),
        database: bool = False,
        cache: bool = False,
        redis: bool = False,
        lane: Lane | None = None,
        localizes: tuple[str, ...] = (),
        outside: tuple[str, ...] = (),
        extras: Extras | None = None,
    ) -> None:
        """Declare.

        `asks` are events of other contracts that this service publishes (their `publishers` must
        name it); `reads` are contracts whose KV bucket it reads; `lane` overrides the topics'
        lanes (reporting is all low); `localizes` are namespaces fetched from localization;
        `outside` are the outside systems that it calls over HTTP; `extras` is what the broker
        must give beyond calls and events.
        """
        self.contract = contract
        self.name = contract.name
        self.hears_events = hears
        self.calls = calls
        self.asks = asks
        self.reads = reads
        self.database = database
        self.cache = cache
        self.redis = redis
        self.lane = lane
        self.localizes = localizes
        self.outside = outside
        self.extras = extras or Extras()
        self.call_handlers: dict[str, tuple[Call[Struct, Struct], CallHandler[Any, Any]]] = {}
        self.many_handlers: dict[str, tuple[ManyHandler[Any, Any], type[Struct]]] = {}
        self.event_handlers: dict[str, EventHandler[Any]] = {}
        self.observers: dict[str, Observer[Any]] = {}
        self.retells: dict[str, Retell] = {}
        self.start_hooks: list[Hook] = []
        self.stop_hooks: list[Hook] = []

    def answers(
        self, call: Call[RequestT, ReplyT]
    ) -> Callable[[CallHandler[RequestT, ReplyT]], CallHandler[RequestT, ReplyT]]:
        """Register the handler of a call of this service's contract."""

        def register(handler: CallHandler[RequestT, ReplyT]) -> CallHandler[RequestT, ReplyT]:
            if call.subject in self.call_handlers:
                raise DeclarationError(f"{self.name}: two handlers answer {call.subject}")
            self.call_handlers[call.subject] = (call, handler)
            return handler

        return register

    def answers_many(
        self, call: Call[RequestT, ReplyT], request: type[Struct] | None = None
    ) -> Callable[[ManyHandler[Any, ReplyT]], ManyHandler[Any, ReplyT]]:
        """Register a handler of a batchable call that takes calls by the list.

        It gets all that came in one message, with a context for each, and returns a reply or a
        failure for each, in order; what it raises is everybody's failure. `request` is a subclass
        of the call's request to decode into; texts that it leaves plain are checked by the column
        (columns.py). The handler ends on its own: deadlines do not
        interrupt it.
        """

        def register(handler: ManyHandler[Any, ReplyT]) -> ManyHandler[Any, ReplyT]:
            async def one(body: RequestT, context: Context) -> ReplyT:
                [answer] = await handler([body], [context])
                if isinstance(answer, Exception):
                    raise answer
                return answer

            if not call.batchable:
                raise DeclarationError(f"{call.subject} is not batchable")
            self.answers(call)(one)
            self.many_handlers[call.subject] = handler, request or call.request
            return handler

        return register

    def hears(self, event: Event[DataT]) -> Callable[[EventHandler[DataT]], EventHandler[DataT]]:
        """Register the handler of an event.

        It runs inside the transaction that also records the event in the inbox, so its effect
        happens once however often the event is delivered.
        """

        def register(handler: EventHandler[DataT]) -> EventHandler[DataT]:
            if event.type in self.event_handlers or event.type in self.observers:
                raise DeclarationError(f"{self.name}: two handlers hear {event.type}")
            self.event_handlers[event.type] = handler
            return handler

        return register

    def observes(self, event: Event[DataT]) -> Callable[[Observer[DataT]], Observer[DataT]]:
        """Register a handler without a transaction, for services without a database.

        The event may come more than once, so what it does must be idempotent.
        """

        def register(handler: Observer[DataT]) -> Observer[DataT]:
            if event.type in self.event_handlers or event.type in self.observers:
                raise DeclarationError(f"{self.name}: two handlers hear {event.type}")
            self.observers[event.type] = handler
            return handler

        return register

    def retells_as(self, event: Event[DataT]) -> Callable[[Retell], Retell]:
        """Register what makes the messages of an outbox row anew that says only where they are.

        Such a row stands for many events of one kind that follow from what is stored anyway: it is
        written with their number, and read only where a process died before it had told them. The
        rows of other events hold them whole (svc.mesh.parcels.packed).
        """

        def register(retell: Retell) -> Retell:
            self.retells[event.subject] = retell
            return retell

        return register

    def on_start(self, hook: Hook) -> Hook:
        """Run a hook once the service is connected, before it answers."""
        self.start_hooks.append(hook)
        return hook

    def on_stop(self, hook: Hook) -> Hook:
        """Run a hook when the service drains, while it is still connected."""
        self.stop_hooks.append(hook)
        return hook

    def lane_of(self, event: Event[Struct]) -> Lane:
        """Return the lane in which this service works on an event."""
        return self.lane or event.lane

    def may_publish(self) -> dict[str, Event[Struct]]:
        """Return the events that this service may publish, by type."""
        return {event.type: event for event in (*self.contract.publishes, *self.asks)}

    def may_call(self) -> frozenset[str]:
        """Return the subjects that this service may call."""
        return frozenset(call.subject for call in self.calls)

    def differences(self) -> list[str]:
        """Return every difference between declarations and handlers, as sentences."""
        declared = {call.subject for call in self.contract.answers}
        handled = set(self.call_handlers)
        heard = {hear.event.type for hear in self.hears_events}
        hearing = set(self.event_handlers) | set(self.observers)
        found = [f"no handler answers {subject}" for subject in sorted(declared - handled)]
        found += [
            f"{subject} is answered but not declared" for subject in sorted(handled - declared)
        ]
        found += [f"no handler hears {kind}" for kind in sorted(heard - hearing)]
        found += [f"{kind} has a handler but is not declared" for kind in sorted(hearing - heard)]
        found += [
            f"calls {call.subject}, whose contract does not list {self.name} as a caller"
            for call in self.calls
            if self.name not in call.permitted_callers()
        ]
        found += [
            f"asks {event.type}, whose contract does not list {self.name} as a publisher"
            for event in self.asks
            if self.name not in event.publishers
        ]
        found += [
            f"reads the bucket of {contract.name}, which does not list {self.name} as a reader"
            for contract in self.reads
            if self.name not in contract.readers
        ]
        if not self.database and self.event_handlers:
            found.append("hears events in transactions, but has no database")
        return found

    def verify(self) -> None:
        """Refuse to go on when declarations and handlers differ.

        Raises DeclarationError with every difference on a line of its own.
        """
        found = self.differences()
        if found:
            raise DeclarationError(f"{self.name} cannot start:\n  " + "\n  ".join(found))
