"""How calls of a sick callee end, and how one sees that its callers give it a rest."""

import asyncio
import time
from collections import Counter

import pytest
from prometheus_client import REGISTRY

from svc.mesh.breaker import CLOSED, OPEN
from svc.mesh.contract import Call
from svc.mesh.errors import Resting, Unavailable
from svc.mesh.runtime import Runtime
from tests.mesh.pair import Answer, Ask
from tests.support.waiting import until

DEADLINE_S = 0.3
LATE_S_MAX = 1.5
"""What a loaded machine may add to a deadline."""
AT_ONCE = 100


async def outcomes(
    runtime: Runtime, call: Call[Ask, Answer], count: int = AT_ONCE, sleep_s: float = 0.0
) -> Counter[str]:
    """Ask so often at once; each must end within its deadline. Return how they ended."""

    async def one() -> str:
        began = time.monotonic()
        try:
            await runtime.context().call(
                call, Ask(text="x", sleep_s=sleep_s), deadline_ms=int(DEADLINE_S * 1000)
            )
            return "ok"
        except Unavailable as failure:
            return type(failure).__name__
        finally:
            assert time.monotonic() - began < DEADLINE_S + LATE_S_MAX

    return Counter(await asyncio.gather(*(one() for _ in range(count))))


async def ends_well(runtime: Runtime, call: Call[Ask, Answer]) -> None:
    """Wait until calls are answered again, the breaker is closed and nothing is left behind."""

    async def answered() -> bool:
        return await outcomes(runtime, call, 1) == {"ok": 1}

    await until(answered, "answers again")
    assert runtime.caller.breakers["wallet"].state == CLOSED
    assert state() == CLOSED
    lane = runtime.caller.edge(call).lane
    for one in lane.lanes() if lane else ():
        assert (one.under_way(), one.pausing) == (0, [])


def state() -> float | None:
    """Return the state of the breaker as Prometheus reads it."""
    labels = {"caller": "casino", "callee": "wallet", "verb": "*"}
    return REGISTRY.get_sample_value("mesh_breaker_state", labels)


async def given_a_rest(runtime: Runtime, call: Call[Ask, Answer], sleep_s: float = 0.0) -> None:
    """See that the breaker is open: of a hundred calls one at most is sent."""
    assert runtime.caller.breakers["wallet"].state == OPEN
    assert state() == OPEN
    sent = runtime.caller.counter
    found = await outcomes(runtime, call, sleep_s=sleep_s)
    assert found[Resting.__name__] >= AT_ONCE - 1
    assert runtime.caller.counter - sent <= 2
    with pytest.raises(Unavailable, match="wallet"):
        await runtime.context().call(call, Ask(text="x", sleep_s=sleep_s), deadline_ms=200)
