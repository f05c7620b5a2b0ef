"""Idempotency keys on a real Valkey: once per key, the first answer for everybody."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from redis.asyncio import Redis

from svc.gateway.answers import Answer
from svc.gateway.idempotency import Idempotency
from svc.gateway.valkey import Valkey
from svc.mesh.clock import new_id
from svc.mesh.errors import Conflict, IdempotencyMismatch
from tests.support.platform import Platform


class Counted:
    """Work that counts how often it runs, and waits until it may end."""

    def __init__(self, status: int = 201) -> None:
        self.status = status
        self.runs = 0
        self.started = asyncio.Event()
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def __call__(self) -> Answer:
        self.runs += 1
        self.started.set()
        run = self.runs
        await self.may_end.wait()
        return Answer(self.status, b'{"run": %d}' % run)


@pytest.fixture
async def valkey(platform: Platform) -> AsyncGenerator[Valkey]:
    client = Redis.from_url(platform.settings["REDIS_URL"])
    yield Valkey(lambda: client)
    await client.aclose()


def scope() -> tuple[str, str, str, str]:
    return (new_id(), "POST", "/v1/bets", new_id())


async def test_the_same_key_and_body_get_the_first_answer_again(valkey: Valkey) -> None:
    door, work, place = Idempotency(valkey), Counted(), scope()
    first = await door.once(place, b"{}", 1000, work)
    again = await door.once(place, b"{}", 1000, work)
    assert (again.status, again.body) == (first.status, first.body)
    assert again.headers == {"idempotency-replayed": "true"}
    assert work.runs == 1


async def test_a_refusal_is_repeated_as_it_was(valkey: Valkey) -> None:
    door, work, place = Idempotency(valkey), Counted(422), scope()
    await door.once(place, b"{}", 1000, work)
    assert (await door.once(place, b"{}", 1000, work)).status == 422
    assert work.runs == 1


async def test_the_same_key_with_another_body_is_refused(valkey: Valkey) -> None:
    door, work, place = Idempotency(valkey), Counted(), scope()
    await door.once(place, b'{"stake": 1}', 1000, work)
    with pytest.raises(IdempotencyMismatch):
        await door.once(place, b'{"stake": 2}', 1000, work)
    assert work.runs == 1


async def test_another_user_or_path_has_keys_of_its_own(valkey: Valkey) -> None:
    door, work = Idempotency(valkey), Counted()
    user, method, path, key = scope()
    for place in (
        (user, method, path, key),
        (new_id(), method, path, key),
        (user, method, "/", key),
    ):
        await door.once(place, b"{}", 1000, work)
    assert work.runs == 3


async def test_twenty_at_once_with_one_key_run_once_and_hear_the_same(valkey: Valkey) -> None:
    door, work, place = Idempotency(valkey), Counted(), scope()
    work.may_end.clear()
    asked = [asyncio.create_task(door.once(place, b"{}", 5000, work)) for _ in range(20)]
    await work.started.wait()
    work.may_end.set()
    answers = await asyncio.gather(*asked)
    assert work.runs == 1
    assert {answer.body for answer in answers} == {b'{"run": 1}'}


async def test_who_waits_longer_than_the_deadline_hears_of_the_conflict(valkey: Valkey) -> None:
    door, work, place = Idempotency(valkey), Counted(), scope()
    work.may_end.clear()
    first = asyncio.create_task(door.once(place, b"{}", 5000, work))
    await work.started.wait()
    with pytest.raises(Conflict):
        await door.once(place, b"{}", 50, work)
    work.may_end.set()
    assert (await first).status == 201


async def test_an_open_outcome_is_not_kept_so_the_client_may_ask_again(valkey: Valkey) -> None:
    door, failing, place = Idempotency(valkey), Counted(504), scope()
    assert (await door.once(place, b"{}", 1000, failing)).status == 504
    assert (await door.once(place, b"{}", 1000, Counted())).status == 201


async def test_a_request_that_died_blocks_nobody(valkey: Valkey) -> None:
    door, work, place = Idempotency(valkey), Counted(), scope()
    work.may_end.clear()
    dying = asyncio.create_task(door.once(place, b"{}", 5000, work))
    await work.started.wait()
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    assert (await door.once(place, b"{}", 1000, Counted())).status == 201


async def test_the_marker_of_a_killed_gateway_expires(valkey: Valkey, platform: Platform) -> None:
    door, work = Idempotency(valkey), Counted()
    work.may_end.clear()
    asking = asyncio.create_task(door.once(scope(), b"{}", 1000, work))
    await work.started.wait()
    async with Redis.from_url(platform.settings["REDIS_URL"]) as client:
        names = await client.keys("gateway:idempotency:*")
        lives = [await client.pttl(name) for name in names]
    assert 0 < min(lives) <= 3000
    work.may_end.set()
    await asking


async def test_without_valkey_requests_go_through() -> None:
    async with Redis(port=1) as nowhere:
        door, work, place = Idempotency(Valkey(lambda: nowhere)), Counted(), scope()
        assert (await door.once(place, b"{}", 1000, work)).status == 201
        assert (await door.once(place, b"{}", 1000, work)).status == 201
    assert work.runs == 2
