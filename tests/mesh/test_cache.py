"""The read-through cache on a real bucket: quick, and never older than a change that was told."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from msgspec import Struct

from svc.mesh import log
from svc.mesh.cache import Cache
from svc.mesh.clock import new_id
from tests.support.platform import Platform
from tests.support.waiting import WITHIN_S, until


class Shown(Struct, frozen=True):
    """Something that is cached."""

    text: str


@pytest.fixture
async def cache(platform: Platform) -> AsyncGenerator[Cache]:
    """The bucket of casino, as casino sees it."""
    async with platform.nats("casino") as connection:
        yield Cache(connection, "casino", "casino", log.logger("casino", "test"))


async def loaded(cache: Cache, key: str, text: str) -> Shown:
    async def load() -> Shown:
        return Shown(text)

    return await cache.read_through(key, Shown, load)


async def test_what_was_loaded_is_kept_until_it_is_deleted(cache: Cache) -> None:
    key = f"shown.{new_id()}"
    assert await loaded(cache, key, "first") == Shown("first")
    assert await loaded(cache, key, "second") == Shown("first")
    await cache.delete(key)
    assert await loaded(cache, key, "third") == Shown("third")
    assert await loaded(cache, key, "fourth") == Shown("third")


@pytest.mark.parametrize("kept_before", [False, True], ids=["new key", "deleted key"])
async def test_what_was_loaded_before_a_deletion_is_not_kept_after_it(
    cache: Cache, *, kept_before: bool
) -> None:
    key = f"shown.{new_id()}"
    if kept_before:
        await cache.put(key, Shown("oldest"))
        await cache.delete(key)

    async def load_while_it_changes() -> Shown:
        await cache.delete(key)
        return Shown("old")

    assert await cache.read_through(key, Shown, load_while_it_changes) == Shown("old")
    assert await cache.get(key, Shown) is None
    assert await loaded(cache, key, "new") == Shown("new")


async def test_what_was_loaded_does_not_replace_what_was_put_meanwhile(cache: Cache) -> None:
    key = f"shown.{new_id()}"

    async def load_while_it_changes() -> Shown:
        await cache.put(key, Shown("new"))
        return Shown("old")

    await cache.read_through(key, Shown, load_while_it_changes)
    assert await cache.get(key, Shown) == Shown("new")


async def test_a_value_of_another_form_is_loaded_again_and_replaced(cache: Cache) -> None:
    key = f"shown.{new_id()}"
    await cache.put(key, [1, 2])
    assert await loaded(cache, key, "right") == Shown("right")
    assert await cache.get(key, Shown) == Shown("right")


async def test_a_mirror_is_complete_when_all_that_was_there_has_come(cache: Cache) -> None:
    keys = {f"many.{new_id()}" for _ in range(200)}
    await cache.put_all(dict.fromkeys(keys, "there"))
    mirror, empty = await cache.mirror("many.>"), await cache.mirror(f"nothing.{new_id()}.>")
    try:
        async with asyncio.timeout(WITHIN_S):
            await mirror.complete.wait()
            assert set(mirror.values) >= keys
            await empty.complete.wait()
    finally:
        await mirror.stop()
        await empty.stop()


async def test_a_mirror_follows_what_is_put_and_deleted(cache: Cache) -> None:
    key = f"followed.{new_id()}"
    mirror = await cache.mirror("followed.>")

    async def shown() -> bool:
        return mirror.get(key) == b'"there"'

    async def gone() -> bool:
        return mirror.get(key) is None

    try:
        await cache.put(key, "there")
        await until(shown)
        await cache.delete(key)
        await until(gone)
    finally:
        await mirror.stop()


async def test_a_mirror_takes_nothing_that_was_not_put_by_who_may(cache: Cache) -> None:
    """The server stores here, too, what others have it send: that has no stream's name."""
    kept, forged, last = (f"guarded.{new_id()}" for _ in range(3))
    mirror = await cache.mirror("guarded.>")

    async def shown() -> bool:
        return mirror.get(last) == b'"there"'

    async def begun() -> bool:
        return mirror.get(kept) == b'"there"'

    try:
        await cache.put(kept, "there")
        await until(begun)
        subject = f"$KV.casino.{kept}"
        await cache.jetstream.publish(f"$KV.casino.{forged}", b'"forged"')
        await cache.jetstream.publish(subject, b"", headers={"KV-Operation": "DEL"})
        copied = {"Nats-Marker-Reason": "MaxAge", "Nats-Stream": "KV_casino"}
        await cache.jetstream.publish(subject, b"", headers=copied)
        await cache.put(last, "there")
        await until(shown)
        assert mirror.get(forged) is None
        assert mirror.get(kept) == b'"there"'
    finally:
        await mirror.stop()
