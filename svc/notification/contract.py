"""notification: SMS, e-mail and in-app messages, as each user prefers, with receipts.

The one module of this service that others may import.
"""

from datetime import datetime
from typing import Annotated, Literal, cast

from msgspec import Meta, Struct

from svc.mesh.contract import Call, Contract, Door, Event, Live, RawMessage, Route
from svc.mesh.errors import Forbidden, Refused
from svc.mesh.types import Empty, EventData, Id, Limit, Reply, Request

Channel = Literal["sms", "email", "in_app"]
Category = Literal["transactional", "security", "marketing"]
DeliveryStatus = Literal["queued", "sent", "delivered", "failed", "suppressed"]


class BadSignature(Refused):
    """The webhook's signature does not hold."""

    name = "unauthenticated"
    status = 401


class InboxOf(Request, frozen=True, kw_only=True):
    """A page of the user's in-app messages, newest first."""

    user_id: Id
    limit: Limit = 50
    cursor: Annotated[str, Meta(max_length=64)] | None = None


class Message(Struct, frozen=True, kw_only=True):
    """One message, already in the user's language."""

    message_id: Id
    template: str
    category: Category
    title: str
    text: str
    at: datetime


class Inbox(Reply, frozen=True, kw_only=True):
    """A page of messages; also each frame of the live channel."""

    items: list[Message]
    next_cursor: str | None


class Preference(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether a category may use a channel."""

    category: Category
    channel: Channel
    enabled: bool


class SetPreferences(Request, frozen=True, kw_only=True):
    """Change preferences; security messages cannot be turned off."""

    user_id: Id
    preferences: Annotated[list[Preference], Meta(min_length=1, max_length=20)]


class Preferences(Reply, frozen=True, kw_only=True):
    """All preferences of the user."""

    preferences: list[Preference]


class DeliveriesOf(Request, frozen=True, kw_only=True):
    """How deliveries stand."""

    actor_id: Id | None = None


class DeliveryCount(Struct, frozen=True, kw_only=True):
    """How many messages of a channel are in a state."""

    channel: Channel
    status: DeliveryStatus
    messages: int


class Deliveries(Reply, frozen=True, kw_only=True):
    """The counts by channel and state."""

    items: list[DeliveryCount]


class NotificationRequested(EventData, frozen=True, kw_only=True):
    """A service asks that a user be told something; `arguments` carry no personal data."""

    user_id: Id
    template: str
    category: Category
    arguments: dict[str, str]


class NotificationSent(EventData, frozen=True, kw_only=True):
    """A message was handed to its channel."""

    message_id: Id
    user_id: Id
    template: str
    channel: Channel
    cause: str


class NotificationDelivered(EventData, frozen=True, kw_only=True):
    """A message arrived, says the provider's receipt."""

    message_id: Id
    user_id: Id
    template: str
    channel: Channel
    cause: str


class NotificationFailed(EventData, frozen=True, kw_only=True):
    """A message could not be delivered."""

    message_id: Id
    user_id: Id
    template: str
    channel: Channel
    cause: str
    reason: str


NOTIFICATION_REQUESTED = Event(
    "NotificationRequestedEvent", "notification", NotificationRequested,
    "A service asks that a user be told something.", ("identity",),
)  # fmt: skip
NOTIFICATION_SENT = Event(
    "NotificationSentEvent", "notification", NotificationSent, "A message was handed over."
)
NOTIFICATION_DELIVERED = Event(
    "NotificationDeliveredEvent", "notification", NotificationDelivered, "A message arrived."
)
NOTIFICATION_FAILED = Event(
    "NotificationFailedEvent", "notification", NotificationFailed, "A message did not arrive."
)

LIST_MESSAGES = Call(
    "rpc.notification.v1.list_messages", InboxOf, Inbox, "Read one's in-app messages.",
    idempotent=True,
    route=Route(
        method="GET", path="/v1/notifications", tag="notification", from_token=("user_id",)
    ),
)  # fmt: skip
SET_PREFERENCES = Call(
    "rpc.notification.v1.set_preferences", SetPreferences, Preferences, "Change preferences.",
    refuses=(Forbidden,), idempotent=True,
    route=Route(
        method="PUT", path="/v1/notifications/preferences", tag="notification",
        from_token=("user_id",),
    ),
)  # fmt: skip
RECEIVE_RECEIPT = Call(
    "rpc.notification.v1.receive_receipt", RawMessage, Empty, "Take in a delivery receipt.",
    callers=("gateway",), refuses=(BadSignature,), idempotent=True, deadline_ms=5_000,
)  # fmt: skip
DELIVERIES = Call(
    "rpc.notification.v1.deliveries", DeliveriesOf, Deliveries, "Count deliveries by state.",
    refuses=(Forbidden,), idempotent=True,
    route=Route(
        method="GET", path="/v1/admin/notification/deliveries", role="operator", tag="admin",
        from_token=("actor_id",),
    ),
)  # fmt: skip

UPDATES = Live(
    "notifications", Inbox, "/ws/notifications", cast("Call[Struct, Struct]", LIST_MESSAGES),
    role="player", purpose="A user's new in-app messages.",
)  # fmt: skip

NOTIFICATION = Contract(
    name="notification",
    version="1.0.0",
    purpose="SMS, e-mail, in-app messages and live updates.",
    answers=(LIST_MESSAGES, SET_PREFERENCES, RECEIVE_RECEIPT, DELIVERIES),
    publishes=(NOTIFICATION_SENT, NOTIFICATION_DELIVERED, NOTIFICATION_FAILED),
    accepts=(NOTIFICATION_REQUESTED,),
    pushes=(UPDATES,),
    doors=(
        Door(
            path="/webhooks/sms", call=RECEIVE_RECEIPT, headers=("x-twilio-signature",),
            media_type="application/x-www-form-urlencoded", sender="SMSProvider",
        ),
    ),
)  # fmt: skip
