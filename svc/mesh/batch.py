"""Calls that travelled together, as the callee reads them."""

from typing import Any

import msgspec

from svc.mesh.errors import Invalid
from svc.mesh.wire import Sent, decode_request, decoder

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class BatchReader:
    """Decodes the batches of one call at once."""

    def __init__(self, request: type[msgspec.Struct]) -> None:
        """Read requests of this type."""
        self.request = request
        self.decode = decoder(list[Sent[request]]).decode

    def read(self, data: bytes) -> list[Sent[Any]]:
        """Return the calls of a batch; where a request is of another form, why, in its place.

        Raises Invalid when it is no batch at all.
        """
        try:
            return self.decode(data)
        except UNREADABLE:
            pass
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
            return decode_request(self.request, bytes(body))
        except Invalid as failure:
            return failure
