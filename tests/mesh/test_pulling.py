"""Messages that are no events: handed on as they come, so many in hand, given back at the end."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from svc.mesh import pulling
from svc.mesh.delivery import Arrival
from svc.mesh.pulling import Source
from tests.mesh.pair import Pair
from tests.support.waiting import WITHIN_S, until

AT_ONCE = 2


@pytest.fixture
async def side(pair: Pair) -> AsyncGenerator[Pair]:
    """The two services; what a test leaves unread is read behind it."""
    yield pair
    async with source(pair) as rest:
        while (await pair.asking.jetstream.consumer_info("SIDE", "casino")).num_pending:
            for arrival, _ in await take(rest):
                arrival.ended()


def source(pair: Pair) -> Source:
    return Source(pair.asking, "SIDE", "casino", AT_ONCE)


async def tell(pair: Pair, *texts: str) -> None:
    for text in texts:
        await pair.asking.jetstream.publish("side.told", text.encode())


async def take(source: Source) -> list[tuple[Arrival, bytes]]:
    async with asyncio.timeout(WITHIN_S):
        return await source.take()


async def both(source: Source) -> None:
    """Wait until as much is in hand as may be."""

    async def there() -> bool:
        return len(source.held) == AT_ONCE

    await until(there, "two messages in hand")


async def test_what_comes_after_a_request_has_ended_is_handed_on(
    side: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulling, "EXPIRES_S", 0.05)
    async with source(side) as reading:
        requests: set[float] = set()

        async def some_ended() -> bool:
            requests.add(reading.pulling.asked_until)
            return len(requests) > 3

        await until(some_ended, "requests that brought nothing")
        await tell(side, "late")
        [(arrival, body)] = await take(reading)
        arrival.ended()
    assert body == b"late"


async def test_no_more_are_in_hand_than_was_said_and_each_comes_once(side: Pair) -> None:
    texts = [b"%d" % number for number in range(5)]
    found: list[bytes] = []
    async with source(side) as reading:
        await tell(side, *(text.decode() for text in texts))
        await both(reading)
        info = await side.asking.jetstream.consumer_info("SIDE", "casino")
        assert (info.num_ack_pending, info.num_pending) == (2, 3)
        while len(found) < len(texts):
            for arrival, body in await take(reading):
                arrival.ended()
                found.append(body)
    assert found == texts


async def test_what_has_not_ended_is_given_back_at_once(side: Pair) -> None:
    async with source(side) as reading:
        await tell(side, "done", "open")
        await both(reading)
        (first, _), _ = await take(reading)
        first.ended()
    async with source(side) as reading:
        [(arrival, body)] = await take(reading)
        arrival.ended()
    assert (body, arrival.attempts) == (b"open", 2)


async def test_what_is_given_back_comes_again(side: Pair) -> None:
    async with source(side) as reading:
        await tell(side, "again")
        [(arrival, _)] = await take(reading)
        arrival.give_back(0.0)
        [(arrival, body)] = await take(reading)
        arrival.ended()
    assert (body, arrival.attempts) == (b"again", 2)
