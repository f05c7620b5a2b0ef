"""The envelope of every event: CloudEvents 1.0 in structured JSON, with our extension attributes.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md; extension names are lower
case without separators, as its section 3.1 demands.
"""

from datetime import datetime
from typing import Generic, TypeVar

from msgspec import Struct

DataT_co = TypeVar("DataT_co", covariant=True)


class CloudEvent(Struct, Generic[DataT_co], frozen=True, kw_only=True, omit_defaults=False):
    """One event: who said it, what kind, about what, when, and what caused it."""

    id: str
    source: str
    type: str
    subject: str
    time: datetime
    data: DataT_co
    specversion: str = "1.0"
    datacontenttype: str = "application/json"
    correlationid: str = ""
    causationid: str = ""
    traceparent: str = ""

    @property
    def publisher(self) -> str:
        """Return the name of the service that published it."""
        return self.source.removeprefix("/")
