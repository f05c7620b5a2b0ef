"""Live odds: the newest state of each event, one frame in a while, and slow readers shown out."""

import asyncio
import itertools
import json
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect

from svc.gateway.live import SLOW_AFTER_S, PacedFollower
from svc.sportsbook.contract import LIVE_PACE_MS
from tests.sportsbook.match import Match
from tests.support.mesh import Operator, Services
from tests.support.platform import Platform


@pytest.fixture
async def address(platform: Platform, door: httpx.AsyncClient, services: Services) -> str:
    """Where the WebSockets are, with the sportsbook behind them."""
    assert door.base_url
    await services("sportsbook")
    return platform.settings["GATEWAY_URL"].replace("http", "ws", 1)


async def frame(socket: ClientConnection) -> Any:
    async with asyncio.timeout(10):
        return json.loads(await socket.recv())


def price(shown: dict[str, Any]) -> str:
    return shown["markets"][0]["outcomes"][0]["odds"]


async def test_a_burst_of_odds_reaches_a_client_as_few_frames_of_which_the_last_is_the_newest(
    address: str, operator: Operator
) -> None:
    match, clock = Match(operator), asyncio.get_running_loop().time
    await match.odds()
    async with connect(f"{address}/ws/odds/{match.event_id}") as socket:
        assert price(await frame(socket)) == "2.50"
        since = clock()
        for cents in range(10, 40):
            await match.odds({(1, ""): {"1": f"3.{cents}"}})
        seen = [price(await frame(socket))]
        while seen[-1] != "3.39":
            seen.append(price(await frame(socket)))
        most = (clock() - since) * 1000 / LIVE_PACE_MS + 1
    assert seen == sorted(seen)
    assert len(seen) <= most


async def test_the_board_lists_all_events_and_then_tells_each_change_of_any(
    address: str, operator: Operator
) -> None:
    first, second = Match(operator), Match(operator)
    await first.odds()
    async with connect(f"{address}/ws/odds") as socket:
        assert first.event_id in {each["event_id"] for each in (await frame(socket))["items"]}
        await first.odds({(1, ""): {"1": "4.00"}})
        await second.odds({(1, ""): {"1": "5.00"}})
        told: dict[str, str] = {}
        while told.keys() != {first.event_id, second.event_id}:
            shown = await frame(socket)
            told[shown["event_id"]] = price(shown)
    assert told == {first.event_id: "4.00", second.event_id: "5.00"}


async def test_a_follower_gets_the_newest_of_each_key_and_none_twice_within_the_pace() -> None:
    follower = PacedFollower(0.05)
    clock = asyncio.get_running_loop().time
    for number in range(1000):
        follower.offer(f"a{number}", "a")
        follower.offer(f"b{number}", "b")
    assert {await follower.next(), await follower.next()} == {"a999", "b999"}
    at: list[float] = []
    for number in range(4):
        follower.offer(f"c{number}", "c")
        assert await follower.next() == f"c{number}"
        at.append(clock())
    assert all(later - earlier >= 0.05 for earlier, later in itertools.pairwise(at))


async def test_a_follower_that_does_not_take_its_frames_is_too_slow() -> None:
    follower, now = PacedFollower(0.001), [100.0]
    follower.clock = lambda: now[0]
    follower.offer("first", "a")
    assert await follower.next() == "first"
    now[0] += SLOW_AFTER_S - 1
    follower.offer("second", "a")
    assert not follower.overflowed.is_set()
    now[0] += 2
    follower.offer("third", "a")
    assert follower.overflowed.is_set()
