"""How long a client may take to come to the point: uvicorn waits for a head of a request for ever.

A connection that trickles its headers, or sends nothing at all, costs a socket and memory; a few
thousand of them shut everybody else out.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_WAIT_S = 10.0
"""From the connection, or the first byte of a further request, to the end of its headers."""


class PatientForAWhile(HttpToolsProtocol):
    """uvicorn's HTTP protocol, which hangs up on clients that do not come to the point."""

    head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._wait()

    def on_message_begin(self) -> None:
        """Wait anew for the headers of a further request."""
        super().on_message_begin()
        if self.head is None:
            self._wait()

    def on_headers_complete(self) -> None:
        """Stop waiting: from here on the application has its own limits."""
        self._stop_waiting()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self.head = self.loop.call_later(HEAD_WAIT_S, self._hang_up)

    def _stop_waiting(self) -> None:
        if self.head is not None:
            self.head.cancel()
            self.head = None

    def _hang_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
