"""The read-through cache on a real bucket: quick, and never older than a change that was told."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from msgspec import Struct
from nats.js.kv import KeyValue

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


async def test_a_mirror_is_complete_when_all_that_was_there_has_come(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the library says: its word that this was all can come before the first value."""
    keys = [f"mirrored.{new_id()}" for _ in range(3)]
    for key in keys:
        await loaded(cache, key, "there")
    held: list[Any] = []
    taken = asyncio.Event()

    class Early(asyncio.Queue[Any]):
        """What a watch tells: that this was all, and what there was when it is let go."""

        async def put(self, item: Any) -> None:
            held.append(item)

        async def get(self) -> Any:
            if self.empty():
                taken.set()
            return await super().get()

    updates = Early()
    watch: Any = getattr(KeyValue, "watch")  # noqa: B009 -- its parameters have no types

    async def told_early(bucket: KeyValue, pattern: str) -> KeyValue.KeyWatcher:
        watcher: Any = await watch(bucket, pattern)
        while not watcher._updates.empty():
            held.append(watcher._updates.get_nowait())
        watcher._updates = updates
        updates.put_nowait(None)
        return watcher

    async def all_held() -> bool:
        return len(held) >= len(keys)

    monkeypatch.setattr(KeyValue, "watch", told_early)
    mirror = await cache.mirror("mirrored.>")
    try:
        async with asyncio.timeout(WITHIN_S):
            await taken.wait()
        await until(all_held, "the values have come")
        assert not mirror.complete.is_set()

        for one in held:
            updates.put_nowait(one)
        async with asyncio.timeout(WITHIN_S):
            await mirror.complete.wait()
        assert set(mirror.values) >= set(keys)
    finally:
        await mirror.stop()
