"""The broker goes and comes back in the middle of the work: nobody hangs, nothing is lost."""

import asyncio
import time

from nats.errors import Error as NatsError

from svc.mesh.errors import Unavailable
from svc.mesh.pulling import Source
from svc.platform.servers import Servers
from tests.mesh.pair import ECHO, HAPPENED, NUMBERS, Ask, Happened, Pair
from tests.support.waiting import WITHIN_S, until

DEADLINE_S = 1.0
LATE_S_MAX = 1.0
"""What a loaded machine may add to a deadline."""


async def test_services_reconnect_and_every_event_takes_effect_once(pair: Pair) -> None:
    told: list[int] = []
    waits: list[float] = []
    outcomes: list[str] = []
    done = asyncio.Event()

    async def publish() -> None:
        while not done.is_set():
            number = next(NUMBERS)
            async with pair.answering.context().transaction() as tx:
                await tx.publish(HAPPENED, Happened(number=number), subject=str(number))
            told.append(number)
            await asyncio.sleep(0.005)

    async def call() -> None:
        while not done.is_set():
            began = time.monotonic()
            try:
                await pair.asking.context().call(ECHO, Ask(text="x"), deadline_ms=1_000)
                outcomes.append("ok")
            except Unavailable as failure:
                outcomes.append(failure.name)
            waits.append(time.monotonic() - began)
            await asyncio.sleep(0.002)

    load = [asyncio.create_task(work()) for work in (publish, call, call, call, call)]
    servers = Servers(pair.installation, pair.installation.run_dir / "jetstream" / "nats.conf")
    try:
        await _grown(outcomes, by=50)
        assert await asyncio.to_thread(servers.stop, ["nats"]) == ["nats"]
        await _grown(told, by=20)
        assert await asyncio.to_thread(servers.start) == ["nats"]
        outcomes.clear()

        async def answered_again() -> bool:
            return outcomes.count("ok") > 50

        await until(answered_again, "calls after the restart")
    finally:
        done.set()
        await asyncio.gather(*load)

    assert max(waits) < DEADLINE_S + LATE_S_MAX

    async def all_there() -> bool:
        return set(told) <= set(await pair.effects())

    await until(all_there, "the effect of every event")
    effects = await pair.effects()
    assert [effects.count(number) for number in told] == [1] * len(told)


async def _grown(items: list[str] | list[int], *, by: int) -> None:
    """Wait until so many more were added."""
    before = len(items)

    async def enough() -> bool:
        return len(items) >= before + by

    await until(enough, f"{by} more")


async def test_messages_that_are_no_events_are_asked_for_again(pair: Pair) -> None:
    servers = Servers(pair.installation, pair.installation.run_dir / "jetstream" / "nats.conf")
    async with Source(pair.asking, "SIDE", "casino", 2) as source:
        assert await asyncio.to_thread(servers.stop, ["nats"]) == ["nats"]
        assert await asyncio.to_thread(servers.start) == ["nats"]

        async def told() -> bool:
            try:
                await pair.asking.jetstream.publish("side.told", b"after the restart")
            except NatsError:
                return False
            return True

        await until(told, "the stream takes messages again")
        async with asyncio.timeout(WITHIN_S):
            [(arrival, body)] = await source.take()
        arrival.ended()
    assert body == b"after the restart"
