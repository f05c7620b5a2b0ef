"""Both sides of the benchmark of events, as processes that take orders on standard input.

`teller`: writes events to its outbox. `hearer`: hears them, and says what took effect when.
"""

import asyncio
import os
import sys
import time
from array import array
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import msgspec
import uvloop

from svc.mesh.errors import Unavailable
from svc.mesh.runtime import Runtime
from svc.mesh.settings import Settings
from tests.bench import events
from tests.bench.players import CURRENCY, player_id

WRITERS = 4
POLL_S = 0.005


class Tell(msgspec.Struct, frozen=True, kw_only=True):
    """Write so many events, so many in each transaction; at a rate, or as fast as it goes.

    With `held`, the relay begins only when all are written. Commit times go to `path`.
    """

    lane: str
    count: int
    each: int = 1
    per_second: float = 0.0
    held: bool = False
    path: str = ""


class Hear(msgspec.Struct, frozen=True, kw_only=True):
    """Wait until so many effects of a lane are committed, or for so long; then write them down."""

    lane: str
    count: int
    within_s: float
    path: str


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """When an order began and ended (unix seconds), and how many events it concerned."""

    began: float
    ended: float
    count: int
    failure: str = ""


class Teller:
    """Writes events."""

    def __init__(self, runtime: Runtime) -> None:
        """Write as this service."""
        self.runtime = runtime
        self.numbers = {"high": 0, "low": 0}
        self.failure = ""

    async def carry_out(self, line: bytes) -> Done:
        """Carry out one order."""
        order = msgspec.json.decode(line, type=Tell)
        assert self.runtime.relay is not None
        if order.held:
            await self.runtime.relay.drain()
        began = time.time()
        committed = array("d")
        if order.per_second:
            await self._paced(order, committed)
        else:
            groups = iter(range(order.count // order.each))
            await asyncio.gather(
                *(self._write_all(order, groups, committed) for _ in range(WRITERS))
            )
        if order.held:
            began = time.time()
            await self.runtime.relay.restart()
        if order.path:
            await asyncio.to_thread(Path(order.path).write_bytes, committed.tobytes())
        count, failure, self.failure = len(committed) // 2, self.failure, ""
        return Done(began=began, ended=time.time(), count=count, failure=failure)

    async def _write_all(
        self, order: Tell, groups: Iterator[int], committed: "array[float]"
    ) -> None:
        for _ in groups:
            await self._write(order, committed)

    async def _paced(self, order: Tell, committed: "array[float]") -> None:
        """Write at a rate, whatever the commits take: nobody waits for the one before."""
        begin = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for place in range(order.count // order.each):
                due = begin + place * order.each / order.per_second
                await asyncio.sleep(due - time.perf_counter())
                group.create_task(self._write(order, committed))

    async def _write(self, order: Tell, committed: "array[float]") -> None:
        """Commit one transaction with its events, and keep when; a failure is told at the end."""
        try:
            await self._commit(order, committed)
        except Unavailable as failure:
            self.failure = str(failure)

    async def _commit(self, order: Tell, committed: "array[float]") -> None:
        first = self.numbers[order.lane]
        self.numbers[order.lane] += order.each
        numbers = range(first, first + order.each)
        async with self.runtime.context().transaction() as tx:
            for number in numbers:
                user = player_id(number % events.AGGREGATES)
                told = events.Told(
                    number=number, user_id=user, amount=300, currency=CURRENCY, reference="bench"
                )
                await tx.publish(events.EVENTS[order.lane], told, subject=user)
        now = time.time()
        for number in numbers:
            committed.extend((number, now))


class Hearer:
    """Hears events; tells what it heard since the order before."""

    def __init__(self, effects: events.Effects) -> None:
        """Tell of these effects."""
        self.effects = effects

    async def carry_out(self, line: bytes) -> Done:
        """Carry out one order."""
        order = msgspec.json.decode(line, type=Hear)
        began = time.time()
        while time.time() < began + order.within_s:
            if len(self.effects.seen[order.lane]) >= 2 * order.count:
                break
            await asyncio.sleep(POLL_S)
        seen = self.effects.seen[order.lane]
        self.effects.seen[order.lane] = array("d")
        await asyncio.to_thread(Path(order.path).write_bytes, seen.tobytes())
        return Done(began=began, ended=time.time(), count=len(seen) // 2)


async def serve(runtime: Runtime, carry_out: Callable[[bytes], Awaitable[Done]]) -> None:
    """Carry out orders until standard input ends."""
    # Whatever else prints goes to the log: standard output belongs to the answers.
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    await runtime.start()
    answers.write(b"ready\n")
    try:
        while line := await asyncio.to_thread(sys.stdin.buffer.readline):
            answers.write(msgspec.json.encode(await carry_out(line)) + b"\n")
    finally:
        await runtime.stop()


def main() -> None:
    """Serve one side: `python -m tests.bench.peers.events_server teller|hearer`."""
    if sys.argv[1] == "teller":
        runtime = Runtime(events.telling(), Settings())
        uvloop.run(serve(runtime, Teller(runtime).carry_out))
    else:
        effects = events.Effects()
        runtime = Runtime(events.hearing(effects), Settings())
        uvloop.run(serve(runtime, Hearer(effects).carry_out))


if __name__ == "__main__":
    main()
