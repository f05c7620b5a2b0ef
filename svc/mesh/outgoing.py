"""HTTP to others, counted like calls: to localization, and to systems outside."""

import time
from typing import Any

import httpx

from svc.mesh import metrics

HTTP = "http"
SERVER_ERROR = 500


class CountedClient(httpx.AsyncClient):
    """A client of one service for one other system; its requests are an edge of the metrics."""

    def __init__(self, caller: str, callee: str, **options: Any) -> None:
        """Take httpx's own options; count as `caller` asking `callee`."""
        super().__init__(**options)
        self.tally = metrics.tally(metrics.REQUESTS, caller, callee, HTTP)

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """Send and count: `ok`, the status of a server's error, or the name of what went wrong."""
        began = time.perf_counter()
        outcome = "unavailable"
        try:
            answer = await super().send(request, **options)
            failed = answer.status_code >= SERVER_ERROR
            outcome = str(answer.status_code) if failed else "ok"
            return answer
        except httpx.TimeoutException:
            outcome = "timeout"
            raise
        finally:
            self.tally.observe(outcome, time.perf_counter() - began)
