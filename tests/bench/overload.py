"""The load generator of the overload: calls at a rate, whatever becomes of those before them."""

import asyncio
import os
import sys
import time

import msgspec
import uvloop

from svc.mesh.errors import TimedOut, Unavailable
from svc.mesh.runtime import Runtime
from svc.mesh.settings import Settings
from tests.bench import echo
from tests.bench.measures import quantile

TICK_S = 0.002
"""Calls that are due leave together so often."""
DEADLINE_MS = 1_000
"""What a caller waits for an answer; a later one is worth nothing."""


class Rush(msgspec.Struct, frozen=True, kw_only=True):
    """Call at a rate for so long; or with `in_flight`, as often as answers come."""

    seconds: float
    per_second: float = 0.0
    in_flight: int = 0


class Rushed(msgspec.Struct, kw_only=True):
    """What became of the calls: answered in time, refused, too late; times in milliseconds."""

    asked: int = 0
    answered: int = 0
    refused: int = 0
    late: int = 0
    seconds: float = 0.0
    answered_p50_ms: float = 0.0
    answered_p99_ms: float = 0.0
    refused_p50_ms: float = 0.0
    refused_p99_ms: float = 0.0
    behind_ms: float = 0.0
    recovered_s: float = 0.0
    failure: str = ""


class Crowd:
    """Callers of one process."""

    def __init__(self, runtime: Runtime) -> None:
        """Ask through this runtime."""
        self.runtime = runtime
        self.result = Rushed()
        self.answered_s: list[float] = []
        self.refused_s: list[float] = []

    async def call(self) -> bool:
        """Ask once; say whether it was answered."""
        began = time.perf_counter()
        self.result.asked += 1
        try:
            await self.runtime.context().call(echo.WORK, echo.SAMPLE, deadline_ms=DEADLINE_MS)
        except TimedOut:
            self.result.late += 1
        except Unavailable as refused:
            self.result.refused += 1
            self.result.failure = str(refused)[:200]
            self.refused_s.append(time.perf_counter() - began)
        else:
            self.result.answered += 1
            self.answered_s.append(time.perf_counter() - began)
            return True
        return False

    async def rush(self, order: Rush) -> Rushed:
        """Carry out one order; what is on its way at the end is waited for."""
        began = time.perf_counter()
        end = began + order.seconds
        if order.in_flight:
            await asyncio.gather(*(self._again_and_again(end) for _ in range(order.in_flight)))
        else:
            await self._at_a_rate(began, end, order.per_second)
        self.result.seconds = order.seconds
        for name, taken in (
            ("answered", sorted(self.answered_s)),
            ("refused", sorted(self.refused_s)),
        ):
            setattr(self.result, f"{name}_p50_ms", quantile(taken, 0.5) * 1000)
            setattr(self.result, f"{name}_p99_ms", quantile(taken, 0.99) * 1000)
        return self.result

    async def _again_and_again(self, end: float) -> None:
        while time.perf_counter() < end:
            await self.call()

    async def _at_a_rate(self, began: float, end: float, per_second: float) -> None:
        """Ask on time, and afterwards see when each call is answered as before."""
        tasks: set[asyncio.Task[bool]] = set()
        due = 0
        while (now := time.perf_counter()) < end:
            wanted = int((now - began) * per_second)
            for _ in range(wanted - due):
                task = asyncio.create_task(self.call())
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            due = wanted
            await asyncio.sleep(TICK_S)
            self.result.behind_ms = max(
                self.result.behind_ms, (time.perf_counter() - now - TICK_S) * 1000
            )
        told = msgspec.structs.replace(self.result)
        counts = len(self.answered_s), len(self.refused_s)
        self.result.recovered_s = await self._recovered()
        if tasks:
            await asyncio.wait(tasks)
        # The probes after the rush are not of it.
        self.result = msgspec.structs.replace(told, recovered_s=self.result.recovered_s)
        self.answered_s, self.refused_s = self.answered_s[: counts[0]], self.refused_s[: counts[1]]

    async def _recovered(self) -> float:
        """Return after how many seconds a call was answered quickly, as were all that followed."""
        began = time.perf_counter()
        bad = began
        while (now := time.perf_counter()) < began + RECOVERY_WATCHED_S:
            good = await self.call()
            if not good or time.perf_counter() - now > QUICK_S:
                bad = time.perf_counter()
            await asyncio.sleep(0.01)
        return bad - began


RECOVERY_WATCHED_S = 4.0
QUICK_S = 0.05
"""A call that is answered so soon is answered as before."""


async def serve() -> None:
    """Carry out orders on standard input until it ends."""
    # Whatever else prints goes to the log: standard output belongs to the answers.
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    runtime = Runtime(echo.asking(), Settings())
    await runtime.start()
    answers.write(b"ready\n")
    try:
        while line := await asyncio.to_thread(sys.stdin.buffer.readline):
            order = msgspec.json.decode(line, type=Rush)
            answers.write(msgspec.json.encode(await Crowd(runtime).rush(order)) + b"\n")
    finally:
        await runtime.stop()


if __name__ == "__main__":
    uvloop.run(serve())
