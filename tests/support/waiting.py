"""Waits for what another task or process does a moment later, and names what never came."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

WITHIN_S = 15.0
"""Long, since whoever runs the tests may have other work for the machine."""
PAUSE_S = 0.01


async def until(
    check: Callable[[], Awaitable[T | None]], what: str = "", *, within_s: float = WITHIN_S
) -> T:
    """Ask again until the answer is true, and return it.

    Only where nothing can be waited for: what is asked about lies in a database, a service or a
    program outside. Raises AssertionError that says `what` was not to be.
    """
    try:
        async with asyncio.timeout(within_s):
            while not (found := await check()):  # noqa: ASYNC110 -- see above
                await asyncio.sleep(PAUSE_S)
            return found
    except TimeoutError:
        name = what or getattr(check, "__qualname__", "")
        raise AssertionError(f"not within {within_s:g} s: {name}") from None
