"""Rate limits on a real Valkey, and whose bucket a request empties."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from svc.gateway.answers import RateLimited
from svc.gateway.limits import ClientAddress, Limiter
from svc.gateway.state import running_gateways
from svc.gateway.valkey import Valkey
from svc.mesh.clock import new_id
from svc.mesh.errors import DeclarationError
from tests.support.mesh import Services
from tests.support.platform import Platform
from tests.support.waiting import until


@pytest.fixture
async def redis(platform: Platform) -> AsyncGenerator[Redis]:
    client = Redis.from_url(platform.settings["REDIS_URL"])
    yield client
    await client.aclose()


def limiter(client: Redis, size: str) -> Limiter:
    sizes = {"RATE_LIMIT_PLAYER": size}
    return Limiter(Valkey(lambda: client), sizes.get)


async def admitted(limits: Limiter, who: str, count: int) -> int:
    """Ask `count` times at once; return how often the bucket let the request in."""
    asked = [limits.admit("player", who) for _ in range(count)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    return sum(1 for answer in answers if isinstance(answer, dict))


async def test_a_bucket_gives_its_burst_and_then_says_how_long_to_wait(redis: Redis) -> None:
    # So slow that nothing worth telling comes back meanwhile, on whatever machine.
    limits, who = limiter(redis, "0.005/10"), new_id()
    assert await admitted(limits, who, 50) == 10
    with pytest.raises(RateLimited) as refused:
        await limits.admit("player", who)
    assert refused.value.members["retry_after"] in range(180, 201)


async def test_a_bucket_fills_again_at_its_rate(redis: Redis) -> None:
    limits, who = limiter(redis, "100/5"), new_id()
    assert await admitted(limits, who, 5) == 5

    async def let_in() -> bool:
        return await admitted(limits, who, 1) == 1

    await until(let_in)


async def test_what_is_left_is_told(redis: Redis) -> None:
    headers = await limiter(redis, "5/10").admit("player", new_id())
    assert headers == {"ratelimit-policy": '"player";q=10;w=2', "ratelimit": '"player";r=9;t=0'}


async def test_one_user_does_not_empty_the_bucket_of_another(redis: Redis) -> None:
    limits = limiter(redis, "1/1")
    assert await admitted(limits, new_id(), 1) == 1
    assert await admitted(limits, new_id(), 1) == 1


async def test_without_valkey_the_door_stays_open() -> None:
    async with Redis(port=1) as nowhere:
        limits = limiter(nowhere, "1/1")
        assert await admitted(limits, "somebody", 20) == 20


@pytest.mark.parametrize("size", ["", "50", "0/5", "5/0", "a/b", "-1/4"])
async def test_a_malformed_limit_stops_the_start(size: str, redis: Redis) -> None:
    with pytest.raises(DeclarationError, match="RATE_LIMIT_PLAYER"):
        limiter(redis, size)


@asynccontextmanager
async def few_tokens_for_strangers(redis: Redis, rate: float, burst: int) -> AsyncGenerator[None]:
    """Let the running gateway's bucket of this address be a small one, and a full one."""
    limits = running_gateways()[0].limiter
    usual = limits.sizes
    limits.sizes = {**usual, "public": (rate, burst)}
    await redis.delete("gateway:rate:public:127.0.0.1")
    try:
        yield
    finally:
        limits.sizes = usual
        await redis.delete("gateway:rate:public:127.0.0.1")


async def test_a_flood_is_refused_whatever_address_it_claims(
    door: httpx.AsyncClient, redis: Redis
) -> None:
    async def knock(number: int) -> httpx.Response:
        claimed = f"203.0.113.{number % 250}"
        headers = {"x-forwarded-for": claimed, "forwarded": f"for={claimed}"}
        return await door.get("/v1/casino/games?unknown=1", headers=headers)

    async with few_tokens_for_strangers(redis, 1.0, 20):
        answers = await asyncio.gather(*(knock(number) for number in range(60)))
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
        assert refused[0].json()["type"] == "urn:betmesh:problem:rate-limited"


async def test_who_is_not_let_in_takes_tokens_of_their_address_and_without_one_no_texts_are_fetched(
    door: httpx.AsyncClient, redis: Redis, services: Services
) -> None:
    await services("localization")
    localizer = running_gateways()[0].runtime.localizer

    async def refused(tag: str) -> int:
        headers = {"accept-language": tag, "authorization": "Bearer nonsense"}
        return (await door.get("/v1/users/me", headers=headers)).status_code

    async def texts_are_fetched() -> bool:
        await refused("qq")
        return localizer.holds("qq", "problems")

    await until(texts_are_fetched)
    tags = [f"qq-A{letter}" for letter in "ABCDEFGHIJ"]
    # So slow that no token comes back meanwhile, on whatever machine.
    async with few_tokens_for_strangers(redis, 0.005, 4):
        assert [await refused(tag) for tag in tags] == [401] * 4 + [429] * 6
        assert not [tag for tag in tags[4:] if localizer.holds(tag, "problems")]
        address = str(door.base_url).replace("http", "ws", 1) + "/ws/notifications"
        async with connect(address) as socket, asyncio.timeout(5):
            with pytest.raises(ConnectionClosed):
                await socket.recv()
            assert (socket.close_code, socket.close_reason) == (1013, "rate-limited")


def scope_of(peer: str, *lines: str) -> dict[str, Any]:
    raw = [(b"x-forwarded-for", line.encode()) for line in lines]
    return {"type": "http", "client": (peer, 1), "headers": raw, "path": "/", "method": "GET"}


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "address"),
    [
        ("", "198.51.100.7", "203.0.113.1", "198.51.100.7"),
        ("10.0.0.0/8", "198.51.100.7", "203.0.113.1", "198.51.100.7"),
        ("10.0.0.0/8", "10.1.2.3", "203.0.113.1", "203.0.113.1"),
        ("10.0.0.0/8", "10.1.2.3", "1.1.1.1, 203.0.113.1, 10.9.9.9", "203.0.113.1"),
        ("10.0.0.0/8", "10.1.2.3", "nonsense", "10.1.2.3"),
        ("10.0.0.0/8", "10.1.2.3", "", "10.1.2.3"),
        ("10.0.0.0/8", "10.1.2.3", "1.1.1.1\n203.0.113.1", "203.0.113.1"),
        ("10.0.0.0/8", "10.1.2.3", "1.1.1.1\n2.2.2.2, 203.0.113.1\n10.9.9.9", "203.0.113.1"),
    ],
)
def test_only_a_trusted_proxy_may_say_whom_it_speaks_for(
    trusted: str, peer: str, forwarded: str, address: str
) -> None:
    scope = scope_of(peer, *forwarded.split("\n"))
    assert ClientAddress(trusted).of(scope) == address
