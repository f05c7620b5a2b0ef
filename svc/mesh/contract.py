"""What a service offers, as data: calls it answers, events it publishes, live channels it feeds.

Everything else is derived from these objects: the broker's permissions, streams and consumers,
`subjects.md`, the OpenAPI and AsyncAPI documents and the gateway's routes.
"""

import builtins
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, Literal, TypeVar

from msgspec import Struct

from svc.mesh.errors import DeclarationError, Refused

RequestT_co = TypeVar("RequestT_co", bound=Struct, covariant=True)
ReplyT_co = TypeVar("ReplyT_co", bound=Struct, covariant=True)
DataT_co = TypeVar("DataT_co", bound=Struct, covariant=True)

Role = Literal["public", "player", "operator", "admin"]
"""Who may use a route: anybody, a logged-in user, staff (`admin` may all that `operator` may)."""


class Lane(StrEnum):
    """The priority queues of the diagram: each has its own slots, so low never delays high."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


LANE_OF_TOPIC = {
    "payment": Lane.HIGH,
    "betting": Lane.HIGH,
    "casino": Lane.HIGH,
    "wallet": Lane.HIGH,
    "user": Lane.MEDIUM,
    "marketing": Lane.MEDIUM,
    "gaming": Lane.MEDIUM,
    "notification": Lane.MEDIUM,
    "scheduler": Lane.MEDIUM,
}
"""The nine topics: the diagram's seven, and two that its arrows need (wallet, scheduler)."""


@dataclass(frozen=True, kw_only=True)
class Route:
    """Where HTTP clients reach a call: the gateway serves it without code of its own.

    Fields of the request come from the path (`{name}`), from the access token
    (`from_token`: `user_id` or `actor_id`, both the subject; `session_id`, `roles`), from the
    `Idempotency-Key` header when `idempotent` (field `idempotency_key`), from the client's
    address (`from_client`: `ip`, `device`), and all others from the body (POST, PUT, PATCH) or
    the query string (GET, DELETE).

    With another `media_type` than JSON the reply's field `text` is the answer's body as it is, and
    a `next_cursor` becomes its `Link` to the next page (RFC 8288).
    """

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    role: Role = "player"
    status: int = 200
    from_token: tuple[str, ...] = ()
    from_client: tuple[str, ...] = ()
    idempotent: bool = False
    tag: str = ""
    media_type: str = "application/json"

    def path_fields(self) -> tuple[str, ...]:
        """Return the names in braces of the path, in order."""
        return tuple(re.findall(r"{(\w+)}", self.path))

    def injected(self) -> frozenset[str]:
        """Return the request fields that a client cannot send in body or query."""
        extra = ("idempotency_key",) if self.idempotent else ()
        return frozenset((*self.path_fields(), *self.from_token, *self.from_client, *extra))


@dataclass(frozen=True)
class Hedge:
    """When a read that has no answer yet is asked a second time: the first answer wins.

    After so many milliseconds, or without a number when it has taken longer than 95 of 100 did.
    """

    after_ms: int | None = None


@dataclass(frozen=True)
class Call(Generic[RequestT_co, ReplyT_co]):
    """One request-reply operation, answered by one of the service's instances.

    Its subject is `rpc.<service>.v<n>.<verb>`, its queue group the service's name.
    `callers` names the services that may call it; a route adds the gateway; the operator may
    always. `deadline_ms` is what a caller waits when it has less hurry itself. `idempotent` means
    that the same request twice does the same as once, so the mesh may try again. Concurrent calls
    share messages (svc/mesh/coalesce.py): many where `batchable` says that a handler may take them
    by the list, none where each keeps an instance so busy that the broker shall divide them one by
    one (`alone`). `hedge` is for idempotent reads that are not batchable, when two instances or
    more answer them; these go alone too. Calls alike in the request's field `partition_by` go to
    one instance, where the service is divided (svc/mesh/partitions.py).
    """

    subject: str
    request: type[RequestT_co]
    reply: type[ReplyT_co]
    purpose: str = ""
    callers: tuple[str, ...] = ()
    refuses: tuple[type[Refused], ...] = ()
    deadline_ms: int = 2_000
    idempotent: bool = False
    batchable: bool = False
    alone: bool = False
    partition_by: str = ""
    workers: int = 32
    route: Route | None = None
    hedge: Hedge | None = None

    def __post_init__(self) -> None:
        """Raise DeclarationError when a call may not be asked twice at once, or not be divided."""
        if self.hedge is not None and (self.batchable or not self.idempotent):
            raise DeclarationError(f"{self.subject} is hedged, so idempotent and not batchable")
        if self.alone and self.batchable:
            raise DeclarationError(f"{self.subject} goes alone, so it is not batchable")
        field, fields = self.partition_by, self.request.__struct_fields__
        if field and not (self.batchable and field in fields):
            raise DeclarationError(
                f"{self.subject} is divided by {field}, so batchable, and has it"
            )

    @property
    def service(self) -> str:
        """Return the name of the service that answers."""
        return self.subject.split(".")[1]

    @property
    def apart(self) -> bool:
        """Return whether each is always a message of its own."""
        return self.alone or self.hedge is not None

    @property
    def verb(self) -> str:
        """Return the last token of the subject."""
        return self.subject.rsplit(".", 1)[1]

    def permitted_callers(self) -> tuple[str, ...]:
        """Return every service that the broker lets call this."""
        gateway = ("gateway",) if self.route and "gateway" not in self.callers else ()
        return (*self.callers, *gateway)


@dataclass(frozen=True)
class Event(Generic[DataT_co]):
    """One kind of fact on a topic, carried as a CloudEvent; `type` is its public name.

    `publishers` names the services that may publish it besides the owner of the contract
    (requests to a service, such as asking the scheduler for a job). Of what comes `together` many
    may share a message, as a CloudEvents batch (svc/mesh/parcels.py).
    """

    type: str
    topic: str
    data: builtins.type[DataT_co]
    purpose: str = ""
    publishers: tuple[str, ...] = ()
    together: bool = False

    @property
    def subject(self) -> str:
        """Return `<topic>.events.<type in snake case without Event>`."""
        name = self.type.removesuffix("Event")
        return f"{self.topic}.events." + re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()

    @property
    def stream(self) -> str:
        """Return the name of the JetStream stream that keeps the topic."""
        return self.topic.upper()

    @property
    def lane(self) -> Lane:
        """Return the priority of the topic."""
        return LANE_OF_TOPIC[self.topic]


@dataclass(frozen=True)
class Live(Generic[DataT_co]):
    """A live channel to clients: `live.<channel>.<key>` on core NATS, a WebSocket outside.

    `path` is the WebSocket's, with `{key}` where the client chooses what to follow; without it
    the key is the user's id (`role` player) or `all` (public). The first frame is the reply of
    `snapshot`, called with `snapshot_key` = key (and `user_id` from the token when its request
    has that field).

    With `pace_ms` each frame is a whole state, so a client gets at most one per key in that time:
    the newest. With `follows` the channel is all keys of that other channel at once.
    """

    channel: str
    data: type[DataT_co]
    path: str
    snapshot: Call[Struct, Struct]
    snapshot_key: str | None = None
    role: Role = "public"
    purpose: str = ""
    pace_ms: int = 0
    follows: str = ""

    def subject(self, key: str) -> str:
        """Return the subject of one key, or of all keys of the channel that this one follows."""
        return f"live.{self.follows}.*" if self.follows else f"live.{self.channel}.{key}"


class RawMessage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What came through a door.

    The body's raw bytes (base64 in JSON), so that signatures hold, the named headers in lower
    case, and the full address that the sender called.
    """

    body: bytes
    headers: dict[str, str]
    url: str


@dataclass(frozen=True, kw_only=True)
class Door:
    """A path at which an outside system posts raw bytes: a webhook or a feed.

    The gateway hands the bytes on untouched; the service that owns the secret checks them. The
    call takes a RawMessage; `headers` are those that it gets, in lower case.
    """

    path: str
    call: Call[RawMessage, Struct]
    headers: tuple[str, ...]
    media_type: str
    status: int = 200
    sender: str = ""


@dataclass(frozen=True, kw_only=True)
class Contract:
    """All that a service offers to others.

    `readers` names services that may read this one's KV bucket directly; `http` says that other
    services reach it over plain HTTP too (localization).
    """

    name: str
    version: str
    purpose: str
    answers: tuple[Call[Struct, Struct], ...] = ()
    publishes: tuple[Event[Struct], ...] = ()
    accepts: tuple[Event[Struct], ...] = ()
    pushes: tuple[Live[Struct], ...] = ()
    doors: tuple[Door, ...] = ()
    http: bool = False
    readers: tuple[str, ...] = ()

    def events(self) -> Iterator[Event[Struct]]:
        """Yield the events of this contract, own facts first, then requests made to it."""
        yield from self.publishes
        yield from self.accepts
