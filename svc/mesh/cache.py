"""The cache: a KV bucket per service, read-through, and watched mirrors where reads are hot.

What is cached is never the truth: a bucket that cannot be reached makes reads slower, not wrong.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import Error as JetStreamError, KeyDeletedError, KeyNotFoundError
from nats.js.kv import KeyValue

from svc.mesh import metrics
from svc.mesh.wire import decoder

ValueT = TypeVar("ValueT")

DELETE_MARKER_S = 3_600
"""How long a deletion is remembered, for watchers; for ever would fill the bucket with markers."""


class Cache:
    """One KV bucket as one service sees it."""

    def __init__(self, jetstream: JetStreamContext, bucket: str, reader: str, log: Any) -> None:
        """Prepare; the bucket is bound at first use."""
        self.jetstream = jetstream
        self.bucket = bucket
        self.reader = reader
        self.log = log
        self._bound: KeyValue | None = None

    async def _key_value(self) -> KeyValue:
        if self._bound is None:
            self._bound = await self.jetstream.key_value(self.bucket)
        return self._bound

    def _failed(self, action: str, failure: BaseException) -> None:
        metrics.CACHE.labels(self.reader, "failed").inc()
        self.log.warning("cache not reached", bucket=self.bucket, action=action, cause=str(failure))

    async def get_bytes(self, key: str) -> bytes | None:
        """Return the value of a key, or None when there is none or the bucket is out of reach."""
        try:
            entry = await (await self._key_value()).get(key)
        except (KeyNotFoundError, KeyDeletedError):
            metrics.CACHE.labels(self.reader, "miss").inc()
            return None
        except (NatsError, JetStreamError, TimeoutError) as failure:
            self._failed("get", failure)
            return None
        metrics.CACHE.labels(self.reader, "hit").inc()
        return entry.value

    async def get(self, key: str, kind: type[ValueT]) -> ValueT | None:
        """Return the decoded value of a key, or None; a value of another form counts as none."""
        body = await self.get_bytes(key)
        if body is None:
            return None
        try:
            return decoder(kind).decode(body)
        except msgspec.DecodeError as failure:
            self._failed("decode", failure)
            return None

    async def put(self, key: str, value: object, *, ttl_s: int | None = None) -> None:
        """Store a value, for `ttl_s` whole seconds or as long as the bucket keeps it."""
        body = value if isinstance(value, bytes) else msgspec.json.encode(value)
        try:
            await self.jetstream.publish(f"$KV.{self.bucket}.{key}", body, timeout=2, msg_ttl=ttl_s)
        except (NatsError, JetStreamError, TimeoutError) as failure:
            self._failed("put", failure)

    async def delete(self, key: str) -> None:
        """Forget a key."""
        try:
            await (await self._key_value()).purge(key, msg_ttl=DELETE_MARKER_S)
        except (NatsError, JetStreamError, TimeoutError) as failure:
            self._failed("delete", failure)

    async def read_through(
        self,
        key: str,
        kind: type[ValueT],
        load: Callable[[], Awaitable[ValueT]],
        *,
        ttl_s: int = 60,
    ) -> ValueT:
        """Return the cached value, else load it, store it for `ttl_s` seconds and return it."""
        cached = await self.get(key, kind)
        if cached is not None:
            return cached
        value = await load()
        await self.put(key, value, ttl_s=ttl_s)
        return value

    async def mirror(self, pattern: str = ">") -> "Mirror":
        """Return a copy of the matching keys in this process, kept current by a watch."""
        mirror = Mirror(self, pattern)
        await mirror.start()
        return mirror


class Mirror:
    """The current values of some keys, in memory."""

    def __init__(self, cache: Cache, pattern: str) -> None:
        """Prepare; `start` reads what is there and goes on watching."""
        self.cache = cache
        self.pattern = pattern
        self.values: dict[str, bytes] = {}
        self.version = 0
        self.complete = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to watch; the first values come within moments, `complete` says when."""
        self.task = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Stop watching."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)

    def get(self, key: str) -> bytes | None:
        """Return the value of a key, or None."""
        return self.values.get(key)

    async def _watch(self) -> None:
        while True:
            try:
                bucket = await self.cache.jetstream.key_value(self.cache.bucket)
                watcher = await bucket.watch(self.pattern)
                async for entry in watcher:
                    if entry is None:
                        self.complete.set()
                        continue
                    self.version += 1
                    if entry.operation in {"DEL", "PURGE", "MaxAge"} or entry.value is None:
                        self.values.pop(entry.key, None)
                    else:
                        self.values[entry.key] = entry.value
            except (NatsError, JetStreamError, TimeoutError) as failure:
                self.cache.log.warning("watch broke", bucket=self.cache.bucket, cause=str(failure))
            await asyncio.sleep(0.5)
