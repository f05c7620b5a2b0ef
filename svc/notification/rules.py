"""The pure rules of notification: who may be told what, states, back-off and signatures."""

import base64
import hmac
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from msgspec import Struct

from svc.mesh.localizer import Money
from svc.notification.contract import Category, Channel, DeliveryStatus

CATEGORIES: tuple[Category, ...] = ("transactional", "security", "marketing")
CHANNELS: tuple[Channel, ...] = ("sms", "email", "in_app")

BACKOFF = tuple(timedelta(seconds=seconds) for seconds in (1, 2, 5, 10, 30, 60))
"""The pauses after failed attempts; the last one repeats."""
GIVE_UP_AFTER = timedelta(hours=24)
"""An SMS or e-mail that could not leave for so long is no news any more."""
CONTACT_KEPT = timedelta(hours=24)

RANK: dict[DeliveryStatus, int] = {
    "suppressed": 3, "queued": 0, "sent": 1, "delivered": 2, "failed": 2,
}  # fmt: skip
"""A state never goes back: receipts come in any order, and delivered and failed are final."""

RECEIPT_STATUS: dict[str, DeliveryStatus] = {
    "sent": "sent",
    "delivered": "delivered",
    "undelivered": "failed",
    "failed": "failed",
}
"""What Twilio's statuses mean here; others (accepted, queued, sending) change nothing."""


class Argument(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One value of a message, kept so that any language can write it in its own way.

    `money` is minor units and currency.
    """

    text: str | None = None
    number: int | None = None
    money: tuple[int, str] | None = None
    instant: datetime | None = None

    def value(self) -> object:
        """Return the value as the localizer takes it."""
        if self.money is not None:
            return Money(*self.money)
        return next(
            (value for value in (self.number, self.instant, self.text) if value is not None), ""
        )


def may_tell(
    category: Category,
    chosen: bool | None,
    *,
    opted_in: bool,
    excluded_until: datetime | None,
    now: datetime,
) -> bool:
    """Say whether a category may use a channel; `chosen` is the user's own preference, if any.

    Security cannot be turned off. Marketing needs an opt-in, and never reaches players who
    excluded themselves (UKGC LCCP 3.5.3). All else is on until turned off: the diagram's flows
    name the SMS of welcome, confirmation and payout, and no other notice has one.
    """
    if category == "security":
        return True
    if category == "marketing":
        if excluded_until is not None and now < excluded_until:
            return False
        return opted_in if chosen is None else chosen
    return True if chosen is None else chosen


def pause(attempts: int) -> timedelta:
    """Return how long to wait after the given number of failed attempts."""
    return BACKOFF[min(max(attempts, 1), len(BACKOFF)) - 1]


def moves_on(current: DeliveryStatus, new: DeliveryStatus) -> bool:
    """Say whether a state may follow another one."""
    return RANK[new] > RANK[current]


def furthest(statuses: Iterable[str]) -> DeliveryStatus | None:
    """Return the furthest state that receipts tell of, None when they tell of none."""
    known: list[DeliveryStatus] = [
        RECEIPT_STATUS[status] for status in statuses if status in RECEIPT_STATUS
    ]
    return max(known, key=RANK.__getitem__, default=None)


def signature(token: str, url: str, parameters: Iterable[tuple[str, str]]) -> str:
    """Return X-Twilio-Signature: base64 HMAC-SHA1 of the URL and the sorted names and values.

    https://www.twilio.com/docs/usage/security#validating-requests
    """
    signed = url + "".join(name + value for name, value in sorted(set(parameters)))
    return base64.b64encode(hmac.digest(token.encode(), signed.encode(), "sha1")).decode()


def is_signed(
    given: str, token: str, urls: Iterable[str], parameters: Iterable[tuple[str, str]]
) -> bool:
    """Say whether a signature holds for one of our addresses, in constant time for each.

    Without a token nothing is signed: anybody could sign with an empty one.
    """
    if not token:
        return False
    pairs = list(parameters)
    matches = [
        hmac.compare_digest(given.encode(), signature(token, url, pairs).encode()) for url in urls
    ]
    return any(matches)


def preferences_of(
    chosen: Mapping[tuple[str, str], bool], *, opted_in: bool
) -> list[tuple[Category, Channel, bool]]:
    """Return every category and channel with what holds for it."""
    found: list[tuple[Category, Channel, bool]] = []
    for category in CATEGORIES:
        default = opted_in if category == "marketing" else True
        for channel in CHANNELS:
            enabled = category == "security" or chosen.get((category, channel), default)
            found.append((category, channel, enabled))
    return found
