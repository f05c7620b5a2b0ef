"""The open risk as staff see it: summed when asked, kept for moments, forgotten as it changes."""

import time
from typing import Any

from svc.mesh.context import Context

KEY = "liabilities"
CACHED_S = 2
FORGOTTEN_S = 1.0
"""A rush of bets makes the cached risk be forgotten once in so many seconds, not for each."""

_forgotten_at = [float("-inf")]


def is_due(_: Any = None) -> bool:
    """Tell whether the cached risk may be forgotten again; what is skipped expires by itself."""
    now = time.monotonic()
    if now - _forgotten_at[0] < FORGOTTEN_S:
        return False
    _forgotten_at[0] = now
    return True


async def forget(context: Context) -> None:
    """Forget the cached risk: the next look at it sums anew."""
    await context.cache.delete(KEY)


async def rises(context: Context) -> None:
    """Note that bets were accepted here; what others accept expires with the cached sum."""
    if is_due():
        await forget(context)
