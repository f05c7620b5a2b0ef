"""Messages that are no events: handed on as they come, so many in hand, given back at the end."""

import asyncio

import pytest
from nats.aio.client import Client

from svc.mesh import pulling
from svc.mesh.delivery import Arrival
from svc.mesh.pulling import Source
from tests.mesh.pair import Pair
from tests.support.waiting import WITHIN_S, until

AT_ONCE = 2


@pytest.fixture
async def side(pair: Pair, client: Client) -> Pair:
    """The two services; nothing is left of what other tests told."""
    await client.jetstream().purge_stream("SIDE")
    return pair


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

        async def no_more() -> bool:
            info = await side.asking.jetstream.consumer_info("SIDE", "casino")
            return (info.num_ack_pending, info.num_pending) == (2, 3)

        await until(no_more, "two in hand and three left")
        while len(found) < len(texts):
            for arrival, body in await take(reading):
                arrival.ended()
                found.append(body)
    assert found == texts


async def test_a_request_that_ends_beside_others_is_not_taken_for_all_of_them(
    side: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else more would be asked for with each, until one instance has all there is in hand."""
    monkeypatch.setattr(pulling, "EXPIRES_S", 0.5)
    ended = asyncio.Event()
    async with Source(side.asking, "SIDE", "casino", 4) as reading:
        wake = reading.pulling.wake

        def note() -> None:
            ended.set()
            wake()

        async def asked() -> bool:
            return reading.pulling.asked == 4

        await until(asked, "the first request")
        monkeypatch.setattr(pulling, "EXPIRES_S", 60)
        await tell(side, "one", "two")
        done = 0
        while done < 2:
            for arrival, _ in await take(reading):
                arrival.ended()
                done += 1
        more = asyncio.create_task(take(reading))  # makes room: another request, for two
        await asyncio.sleep(0)
        monkeypatch.setattr(reading.pulling, "wake", note)
        async with asyncio.timeout(WITHIN_S):
            await ended.wait()

        await tell(side, *map(str, range(10)))
        await more

        async def full() -> bool:
            info = await side.asking.jetstream.consumer_info("SIDE", "casino")
            return (info.num_ack_pending, info.num_pending) == (4, 6)

        await until(full, "as much in hand as may be, and no more")


async def test_a_message_larger_than_a_request_brings_comes_with_those_behind_it(
    side: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulling, "BYTES", 1_000)
    async with source(side) as reading:
        await tell(side, "x" * 3_000_000, "after it")
        await both(reading)
        sizes = [len(body) for _, body in await take(reading)]
        for arrival, _ in reading.held:
            arrival.ended()
    assert sizes == [3_000_000, len("after it")]


async def test_without_a_consumer_it_is_asked_for_again_until_there_is_one(
    side: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulling, "ABSENT_S", 0.05)
    absent = {"Status": "409", "Description": "Consumer Deleted"}
    async with source(side) as reading:
        pull = reading.pulling
        await side.asking.connection.publish(f"{pull.inbox}.{pull.era}", headers=absent)
        await tell(side, "there again")
        [(arrival, body)] = await take(reading)
        arrival.ended()
    assert body == b"there again"


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


async def test_what_the_server_copied_here_is_dropped(side: Pair) -> None:
    async with source(side) as reading:
        copied = {"Nats-Stream": "KV_marketing", "Nats-Sequence": "1"}
        await side.asking.jetstream.publish("side.told", b"forged", headers=copied)
        await tell(side, "told")
        [(arrival, body)] = await take(reading)
        arrival.ended()

        async def nothing_left() -> bool:
            return not (await side.asking.jetstream.consumer_info("SIDE", "casino")).num_ack_pending

        await until(nothing_left)
    assert body == b"told"
