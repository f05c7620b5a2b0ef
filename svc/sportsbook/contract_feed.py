"""What staff asks of the odds feed: an event's messages again. A part of the contract."""

from typing import Annotated, Literal

from msgspec import Meta

from svc.mesh.contract import Call, Route
from svc.mesh.errors import Conflict, Forbidden, NotFound, Refused
from svc.mesh.types import Id, Reply, Request, ShortText

What = Literal["odds", "stateful"]
"""An event's current odds; or all that ever settled, cancelled and took back on it."""


class RecoveryLimited(Refused):
    """The provider lets nobody ask for more now."""

    name = "rate-limited"
    status = 429


class FeedRefused(Refused):
    """The feed's API said no."""

    name = "feed-refused"
    status = 409


class RecoverEvent(Request, frozen=True, kw_only=True):
    """Ask a producer of the feed for an event's messages again; without `what` for all of them."""

    actor_id: Id | None = None
    event_id: ShortText
    producer: Annotated[int, Meta(ge=0, le=1000)]
    what: What | None = None


class EventRecovery(Reply, frozen=True, kw_only=True):
    """The numbers of the requests; what they ask for comes by the feed, with these numbers."""

    event_id: str
    producer: int
    odds_request: int | None = None
    stateful_request: int | None = None


RECOVER_EVENT = Call(
    "rpc.sportsbook.v1.recover_event", RecoverEvent, EventRecovery,
    "Ask the feed for an event's messages again.",
    refuses=(Forbidden, NotFound, RecoveryLimited, FeedRefused, Conflict),
    idempotent=True, deadline_ms=10_000,
    route=Route(
        method="POST", path="/v1/admin/sportsbook/events/{event_id}/recoveries", role="operator",
        status=202, tag="admin", from_token=("actor_id",),
    ),
)  # fmt: skip
