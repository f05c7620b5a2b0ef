"""A callee that is killed or hangs: callers fail in time, then at once, and come back to it."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from svc.mesh.contract import Call
from svc.mesh.errors import Absent, Resting, TimedOut
from svc.mesh.runtime import Runtime
from svc.platform.installation import Installation
from tests.mesh.callee import Callee
from tests.mesh.pair import ECHO, MANY, Answer, Ask, Memory, asking, settings_of
from tests.mesh.sickness import AT_ONCE, ends_well, given_a_rest, outcomes
from tests.support.waiting import until


@pytest.fixture(scope="module")
async def callee(ground: Installation) -> AsyncGenerator[Callee]:
    """The answering service in a process of its own."""
    found = Callee(ground)
    await found.start()
    try:
        yield found
    finally:
        await found.kill()


@pytest.fixture
async def asker(ground: Installation) -> AsyncGenerator[Runtime]:
    """The asking service alone."""
    runtime = Runtime(asking(Memory()), settings_of(ground))
    await runtime.start()
    try:
        yield runtime
    finally:
        await runtime.stop()


@pytest.mark.parametrize("call", [ECHO, MANY], ids=["alone", "together"])
async def test_a_hung_callee_costs_one_deadline_and_is_asked_again_when_it_goes_on(
    callee: Callee, asker: Runtime, call: Call[Ask, Answer]
) -> None:
    assert await outcomes(asker, call) == {"ok": AT_ONCE}
    callee.hang()
    try:
        assert await outcomes(asker, call) == {TimedOut.__name__: AT_ONCE}
        await given_a_rest(asker, call)
    finally:
        callee.go_on()
    await ends_well(asker, call)


async def test_a_killed_callee_is_missed_at_once_and_found_when_it_is_back(
    callee: Callee, asker: Runtime
) -> None:
    assert await outcomes(asker, ECHO) == {"ok": AT_ONCE}
    held = asyncio.create_task(outcomes(asker, ECHO, sleep_s=10))
    await callee.kill()
    try:
        # What it had in hand is lost with it, and everybody knows at the deadline.
        assert set(await held) <= {TimedOut.__name__, Absent.__name__, Resting.__name__}

        async def opened() -> bool:
            found = await outcomes(asker, ECHO)
            assert set(found) <= {Absent.__name__, Resting.__name__}
            return found[Resting.__name__] > 0

        await until(opened, "the breaker opens")
    finally:
        await callee.start()
    await ends_well(asker, ECHO)
