"""The load generator, a process of its own: takes orders on standard input, answers on standard
output, and keeps a log of what it was told.

Closed loop: so many callers, each with one request on its way.
"""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import uvloop

from svc.mesh.clock import new_id
from svc.mesh.errors import Refused
from tests.bench.acknowledged import Log, read
from tests.bench.drivers import DRIVERS, Driver
from tests.bench.echo_drivers import ECHOES
from tests.bench.measures import Order, Taken, quantile
from tests.bench.players import OPENING, Crowd, Single, Wanted, player_id

AGAIN_WITHIN_S = 60.0
"""How long a request is asked again, until it counts as lost."""
PREPARED_PER_S = 40_000
"""Transfers drawn beforehand: more than anything here carries out."""
PAUSE_AFTER_FAILURE_S = 0.01
"""A server that refuses connections must not be asked in a busy loop."""


@dataclass
class Run:
    """One order being carried out."""

    driver: Driver
    order: Order
    log: Log | None
    crowd: Crowd | Single
    begin: float
    end: float
    took_s: list[float] = field(default_factory=list[float])
    asked: int = 0
    refused: int = 0
    failed: int = 0
    failure: str = ""

    async def caller(self) -> None:
        """Ask again and again until the time is up."""
        clock = time.perf_counter
        while (began := clock()) < self.end:
            wanted = self.crowd.next()
            self.asked += 1
            refusal = await self.one(wanted)
            ended = clock()
            if refusal is None or not self.begin <= ended <= self.end:
                continue
            self.refused += refusal
            self.took_s.append(ended - began)

    async def one(self, wanted: Wanted) -> bool | None:
        """Ask once; say whether it was refused, None when it failed."""
        change = -wanted.amount if wanted.deduct else wanted.amount
        log = self.log
        try:
            receipt = await self.driver.ask(wanted)
        except Refused as refusal:
            if log:
                log.refused(wanted.transfer_id, wanted.user_id, change, refusal)
            return True
        except Exception as failure:  # noqa: BLE001  # whatever a contender raises is its failure
            if log:
                log.unknown(wanted.transfer_id, wanted.user_id, change)
            self.failed += time.perf_counter() >= self.begin
            self.failure = f"{type(failure).__name__}: {failure}"[:200]
            await asyncio.sleep(PAUSE_AFTER_FAILURE_S)
            return None
        if log and receipt is not None:
            log.applied(wanted.user_id, change, receipt)
        return False


async def carry_out(driver: Driver, order: Order) -> Taken:
    """Carry out one order: warm up, measure, and wait for what is still on its way."""
    log = Log(Path(order.log)) if order.log else None
    crowd: Crowd | Single = Single()
    if not order.plain:
        crowd = Crowd(order.players, order.refused_share, order.seed)
        crowd.prepare(int(PREPARED_PER_S * (order.warm_s + order.seconds)))
    begin = time.perf_counter() + order.warm_s
    run = Run(driver, order, log, crowd, begin, begin + order.seconds)
    await asyncio.gather(*(run.caller() for _ in range(order.in_flight)))
    if log:
        log.write()
    ordered = sorted(run.took_s)
    return Taken(
        answered=len(ordered),
        refused=run.refused,
        failed=run.failed,
        asked=run.asked,
        seconds=order.seconds,
        p50_ms=round(quantile(ordered, 0.5) * 1000, 3),
        p99_ms=round(quantile(ordered, 0.99) * 1000, 3),
        failure=run.failure,
    )


async def open_players(driver: Driver, order: Order) -> Taken:
    """Give each player the opening deposit, through the wallet's door."""
    started = time.perf_counter()
    numbers = iter(range(order.opening))

    async def caller() -> None:
        for number in numbers:
            deposit = Wanted(new_id(), player_id(number), deduct=False, amount=OPENING)
            await driver.ask(deposit)

    await asyncio.gather(*(caller() for _ in range(order.in_flight)))
    seconds = time.perf_counter() - started
    return Taken(
        answered=order.opening, refused=0, failed=0, asked=order.opening, seconds=seconds,
        p50_ms=0, p99_ms=0,
    )  # fmt: skip


async def ask_again(driver: Driver, order: Order) -> Taken:
    """Ask anew, until there is an answer, and append it to the same log.

    What has no answer yet, and the last so many that have one: a repetition must get the same.
    """
    log = Log(Path(order.log))
    told = {answer.transfer_id: answer for answer in read(log.path)}
    answered = [answer for answer in told.values() if answer.outcome != "unknown"]
    waiting = [answer for answer in told.values() if answer.outcome == "unknown"]
    waiting += answered[-order.again :]
    end = time.perf_counter() + AGAIN_WITHIN_S
    run = Run(driver, order, log, Crowd(1), 0.0, end)
    requests = iter(waiting)

    async def caller() -> None:
        for known in requests:
            deduct = known.change < 0
            wanted = Wanted(known.transfer_id, known.user_id, deduct, abs(known.change))
            while time.perf_counter() < end and await run.one(wanted) is None:
                pass

    await asyncio.gather(*(caller() for _ in range(order.in_flight)))
    log.write()
    return Taken(
        answered=len(waiting), refused=run.refused, failed=run.failed, asked=len(waiting),
        seconds=AGAIN_WITHIN_S, p50_ms=0, p99_ms=0, failure=run.failure,
    )  # fmt: skip


def way(order: Order) -> Callable[[Driver, Order], Awaitable[Taken]]:
    """Return what an order asks for."""
    if order.opening:
        return open_players
    return ask_again if order.again else carry_out


async def serve(driver: Driver) -> None:
    """Carry out orders until standard input ends."""
    # Whatever else prints goes to the log: standard output belongs to the answers.
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    await driver.open()
    answers.write(b"ready\n")
    try:
        while line := await asyncio.to_thread(sys.stdin.buffer.readline):
            order = msgspec.json.decode(line, type=Order)
            answers.write(msgspec.json.encode(await way(order)(driver, order)) + b"\n")
    finally:
        await driver.close()


def main() -> None:
    """Serve one driver: `python -m tests.bench.generator DRIVER [ADDRESS]`."""
    name, address = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""
    uvloop.run(serve({**DRIVERS, **ECHOES}[name](address)))


if __name__ == "__main__":
    main()
