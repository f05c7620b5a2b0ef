"""Hedging: a read that takes unusually long is asked a second time, and the first answer wins.

Only where the contract says so (`Call.hedge`), and out of the edge's budget for repeated calls: an
overloaded callee is not asked twice for everything.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from svc.mesh.metrics import SECONDS
from svc.mesh.wire import ERROR_HEADER, STATUS_HEADER

if TYPE_CHECKING:
    from svc.mesh.connection import Message
    from svc.mesh.contract import Hedge
    from svc.mesh.edge import Edge
    from svc.mesh.metrics import Tally

SEEN_MIN = 20
"""Calls until it is known what is usual."""
USUAL = 0.95

Answer = asyncio.Future["Message"]


def usual_s(tally: "Tally") -> float | None:
    """Return the time in which 95 of 100 calls were answered, in seconds, rounded up to a bucket.

    None as long as too few were, and when more than 5 of 100 took longer than any bucket.
    """
    wanted = sum(tally.buckets) * USUAL
    if wanted < SEEN_MIN * USUAL:
        return None
    seen = 0
    for bound, count in zip(SECONDS, tally.buckets, strict=False):
        seen += count
        if seen >= wanted:
            return bound
    return None


async def hedged(send: Callable[[], Answer], hedge: "Hedge", edge: "Edge") -> "Message":
    """Send, send again when the answer is late, and return the better answer.

    Raises what the last of them raised (TimedOut, Denied).
    """
    after_s = usual_s(edge.tally) if hedge.after_ms is None else hedge.after_ms / 1000
    first = send()
    if after_s is None:
        return await first
    asked = [first]
    try:
        await asyncio.wait(asked, timeout=after_s)
        if first.done() or not edge.may_repeat():
            return await first
        edge.tally.hedges += 1
        second = send()
        asked.append(second)
        await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        if not any(map(_answers, asked)):
            await asyncio.wait(asked)
        winner = next(filter(_answers, asked), first)
        edge.tally.hedges_won += winner is second
        return winner.result()
    finally:
        _forget(asked)


def _answers(asked: Answer) -> bool:
    """Whether there is an answer that tells something."""
    if not asked.done() or asked.cancelled() or asked.exception() is not None:
        return False
    headers = asked.result().headers or {}
    return STATUS_HEADER not in headers and headers.get(ERROR_HEADER) not in UNANSWERED


UNANSWERED = ("unavailable", "overloaded", "timeout")


def _forget(asked: Iterable[Answer]) -> None:
    """Leave nothing behind that complains of not having been looked at."""
    for answer in asked:
        if answer.done() and not answer.cancelled():
            answer.exception()
        else:
            answer.cancel()
