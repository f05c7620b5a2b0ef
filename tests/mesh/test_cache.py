"""The read-through cache on a real bucket: quick, and never older than a change that was told."""

from collections.abc import AsyncGenerator

import pytest
from msgspec import Struct

from svc.mesh import log
from svc.mesh.cache import Cache
from svc.mesh.clock import new_id
from tests.support.platform import Platform


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
