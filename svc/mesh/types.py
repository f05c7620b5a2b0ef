"""The field types that messages are made of: money, ids, odds, times and the base classes.

Money is always an integer count of minor units next to an ISO 4217 currency, ids are UUIDs in
text (version 7 where we mint them), times are aware datetimes in UTC.
"""

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct

UUID_PATTERN = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
AMOUNT_MAX = 9_007_199_254_740_991
"""The largest amount in a message: what every JSON reader keeps exact (2^53 - 1)."""

# Patterns are searched, and `$` also matches before a last newline: the length keeps that out.
Id = Annotated[
    str, Meta(pattern=UUID_PATTERN, max_length=36, description="A UUID in lower-case text")
]
Amount = Annotated[int, Meta(ge=1, le=AMOUNT_MAX, description="Minor units, above zero")]
AmountOrZero = Annotated[int, Meta(ge=0, le=AMOUNT_MAX, description="Minor units, zero or more")]
SignedAmount = Annotated[
    int, Meta(ge=-AMOUNT_MAX, le=AMOUNT_MAX, description="Minor units, negative where money left")
]
Currency = Annotated[str, Meta(pattern=r"^[A-Z]{3}$", max_length=3, description="ISO 4217 code")]
OddsText = Annotated[
    str, Meta(pattern=r"^[0-9]{1,6}(\.[0-9]{1,6})?$", description="Decimal odds as text")
]
Instant = Annotated[datetime, Meta(tz=True, description="RFC 3339, with its offset")]
"""A time that somebody gives us: without an offset it could not be compared with any of ours."""
Limit = Annotated[int, Meta(ge=1, le=200, description="How many items at most")]
NO_ZERO = r"^[^\x00]*$"
"""Postgres keeps no zero character in text."""
ShortText = Annotated[str, Meta(min_length=1, max_length=255, pattern=NO_ZERO)]
LocaleTag = Annotated[
    str, Meta(pattern=r"^[a-z]{2}(-[A-Z]{2})?$(?!\n)", description="BCP 47, e.g. pt-BR")
]
IdempotencyKey = Annotated[
    str, Meta(min_length=1, max_length=255, pattern=NO_ZERO, description="Chosen by the caller")
]


class Request(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of what a call takes: unknown fields are refused, so a typo never passes silently."""


class Reply(Struct, frozen=True, kw_only=True):
    """Base of what a call answers."""


class EventData(Struct, frozen=True, kw_only=True):
    """Base of what an event carries: readers ignore fields that they do not know."""


class Empty(Reply, frozen=True):
    """An answer that says nothing but that it is done."""
