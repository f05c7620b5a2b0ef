"""Calls that travelled together, as the callee reads them."""

from typing import Any

import msgspec
from msgspec import Struct

from svc.mesh.columns import Columns
from svc.mesh.errors import Invalid
from svc.mesh.wire import UNREADABLE, Sent, decode_request, decoder


class BatchReader:
    """Decodes the batches of one call at once, into the type that its handler takes."""

    def __init__(self, demanded: type[Struct], taken: type[Struct]) -> None:
        """Read requests as `demanded` by the contract into the type that is `taken`.

        Raises DeclarationError when they differ in more than what is demanded of texts.
        """
        self.demanded = demanded
        self.taken = taken
        self.columns = Columns(demanded, taken)
        self.decode = decoder(list[Sent[taken]]).decode

    def read(self, data: bytes) -> list[Sent[Any]]:
        """Return the calls of a batch; where a request is of another form, why, in its place.

        Raises Invalid when it is no batch at all.
        """
        try:
            sent = self.decode(data)
        except UNREADABLE:
            return self._one_by_one(data)
        return sent if self.columns.hold([one.request for one in sent]) else self._one_by_one(data)

    def read_one(self, body: bytes) -> Any:
        """Return one request; raises Invalid that says what is wrong with it."""
        decode_request(self.demanded, body)
        return decode_request(self.taken, body)

    def _one_by_one(self, data: bytes) -> list[Sent[Any]]:
        try:
            sent = decoder(list[Sent[msgspec.Raw]]).decode(data)
        except UNREADABLE as failure:
            raise Invalid(f"not a batch: {failure}") from failure
        return [
            Sent(one.deadline_ms, one.correlation_id, one.traceparent, self._request(one.request))
            for one in sent
        ]

    def _request(self, body: msgspec.Raw) -> Any:
        try:
            return self.read_one(bytes(body))
        except Invalid as failure:
            return failure
