"""Overload: three times the load that a service can serve, for a while, and what remains of it."""

import asyncio
from collections.abc import Callable

import msgspec
import psutil

from tests.bench.overload import Rush, Rushed
from tests.bench.stage import READY_S_MAX, Child, Stage

TIMES = 3.0
IN_FLIGHT = 64
CAPACITY_S = 3.0
SETTLE_S = 1.0
"""After so long the service has taken the memory that its full queues need."""
Say = Callable[[str], None]


async def overload(stage: Stage, seconds: float, say: Say) -> dict[str, float]:
    """Measure capacity with as many calls as get answered, then offer three times as many."""
    command = ("-m", "tests.bench.overload")
    async with (
        stage.peer("echo_server", "mesh") as server,
        stage.process("overload", command) as client,
    ):
        await client.line(READY_S_MAX)
        await _rush(client, Rush(seconds=1.0, in_flight=IN_FLIGHT))
        capacity = await _rush(client, Rush(seconds=CAPACITY_S, in_flight=IN_FLIGHT))
        could = capacity.answered / capacity.seconds
        memory: list[int] = []
        watching = asyncio.create_task(_watch(server, memory))
        rushed = await _rush(client, Rush(seconds=seconds, per_second=could * TIMES))
        watching.cancel()
    grown = memory[-1] / memory[0] if memory else 1.0
    served = rushed.answered / rushed.seconds
    found = {
        "overload_goodput": served / could,
        "overload_refused_p99_ms": rushed.refused_p99_ms,
        "overload_memory": grown,
        "overload_recovery_s": rushed.recovered_s,
        "overload_capacity_per_s": could,
        "overload_offered_per_s": rushed.asked / rushed.seconds,
        "overload_answered_p99_ms": rushed.answered_p99_ms,
        "overload_late_per_s": rushed.late / rushed.seconds,
    }
    say(
        f"overload: {could:,.0f} a second can be served, {rushed.asked / rushed.seconds:,.0f} "
        f"offered for {seconds:.0f} s: {served:,.0f} answered (p99 {rushed.answered_p99_ms:.0f} "
        f"ms), {rushed.refused / rushed.seconds:,.0f} refused (p50 {rushed.refused_p50_ms:.0f}, "
        f"p99 {rushed.refused_p99_ms:.0f} ms), {rushed.late / rushed.seconds:,.0f} too late; "
        f"memory {grown:.2f} x; as before after {rushed.recovered_s:.2f} s; "
        f"the callers were up to {rushed.behind_ms:.0f} ms behind"
    )
    return found


async def _rush(client: Child, order: Rush) -> Rushed:
    assert client.process.stdin is not None
    client.process.stdin.write(msgspec.json.encode(order) + b"\n")
    await client.process.stdin.drain()
    return msgspec.json.decode(await client.line(order.seconds + READY_S_MAX), type=Rushed)


async def _watch(server: Child, memory: list[int]) -> None:
    """Note how much memory the service holds, each second."""
    process = psutil.Process(server.pid)
    await asyncio.sleep(SETTLE_S)
    while True:
        memory.append(process.memory_info().rss)
        await asyncio.sleep(1.0)
