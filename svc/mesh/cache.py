"""The cache: a KV bucket per service, read-through, and watched mirrors where reads are hot.

What is cached is never the truth: a bucket that cannot be reached makes reads slower, not wrong.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec
from nats.errors import Error as NatsError
from nats.js.api import Header
from nats.js.errors import (
    BadRequestError,
    Error as JetStreamError,
    KeyNotFoundError,
)
from nats.js.kv import KeyValue

from svc.mesh import metrics
from svc.mesh.connection import Connection
from svc.mesh.watching import OPERATION, Watch, bucket_stream
from svc.mesh.wire import EXPECTED_STREAM, decoder

ValueT = TypeVar("ValueT")

WAIT_S = 2
DELETE_MARKER_S = 3_600
"""How long a deletion is remembered, for watchers; for ever would fill the bucket with markers."""
WRONG_LAST_SEQUENCE = 10071


class Cache:
    """One KV bucket as one service sees it."""

    def __init__(self, connection: Connection, bucket: str, reader: str, log: Any) -> None:
        """Prepare; the bucket is bound at first use."""
        self.connection = connection
        self.jetstream = connection.jetstream(timeout=WAIT_S)
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
        return (await self._read(key))[0]

    async def _read(self, key: str) -> tuple[bytes | None, int | None]:
        """Return a key's value and revision: 0 where nothing is, None when out of reach."""
        try:
            entry = await (await self._key_value()).get(key)
        except KeyNotFoundError as missing:
            # A deleted key still has the entry that says so.
            metrics.CACHE.labels(self.reader, "miss").inc()
            marker: Any = getattr(missing, "entry", None)
            return None, (marker.revision or 0) if marker else 0
        except (NatsError, JetStreamError, TimeoutError) as failure:
            self._failed("get", failure)
            return None, None
        metrics.CACHE.labels(self.reader, "hit").inc()
        return entry.value, entry.revision

    async def get(self, key: str, kind: type[ValueT]) -> ValueT | None:
        """Return the decoded value of a key, or None; a value of another form counts as none."""
        return self._decoded(await self.get_bytes(key), kind)

    def _decoded(self, body: bytes | None, kind: type[ValueT]) -> ValueT | None:
        if body is None:
            return None
        try:
            return decoder(kind).decode(body)
        except msgspec.DecodeError as failure:
            self._failed("decode", failure)
            return None

    async def _publish(
        self, key: str, body: bytes, ttl_s: int | None, headers: dict[str, str] | None = None
    ) -> None:
        """Write a key, in the name of its bucket; raises as the library does."""
        await self.jetstream.publish(
            f"$KV.{self.bucket}.{key}",
            body,
            timeout=WAIT_S,
            stream=bucket_stream(self.bucket),
            headers=headers,
            msg_ttl=ttl_s,
        )

    async def put(self, key: str, value: object, *, ttl_s: int | None = None) -> None:
        """Store a value, for `ttl_s` whole seconds or as long as the bucket keeps it."""
        body = value if isinstance(value, bytes) else msgspec.json.encode(value)
        try:
            await self._publish(key, body, ttl_s)
        except (NatsError, JetStreamError, TimeoutError) as failure:
            self._failed("put", failure)

    async def put_all(self, values: Mapping[str, object]) -> None:
        """Store values by key; the acknowledgement of the last stands for all.

        The stream takes what one connection sends in order, so what came before is stored then.
        """
        *others, last = values.items()
        headers = {EXPECTED_STREAM: bucket_stream(self.bucket)}
        try:
            for key, value in others:
                body = msgspec.json.encode(value)
                self.connection.send(f"$KV.{self.bucket}.{key}", body, "", headers)
        except NatsError as failure:
            self._failed("put", failure)
        await self.put(*last)

    async def delete(self, key: str) -> None:
        """Forget a key."""
        try:
            purge = {OPERATION: "PURGE", "Nats-Rollup": "sub"}
            await self._publish(key, b"", DELETE_MARKER_S, purge)
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
        """Return the cached value, else load it, store it for `ttl_s` seconds and return it.

        It is stored only if nobody put or deleted the key since: what was loaded before a change
        is never cached after it.
        """
        body, revision = await self._read(key)
        cached = self._decoded(body, kind)
        if cached is not None:
            return cached
        value = await load()
        if revision is not None:
            await self._fill(key, msgspec.json.encode(value), revision, ttl_s)
        return value

    async def _fill(self, key: str, body: bytes, revision: int, ttl_s: int) -> None:
        headers = {str(Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value): str(revision)}
        try:
            await self._publish(key, body, ttl_s, headers)
        except BadRequestError as refusal:
            if refusal.err_code != WRONG_LAST_SEQUENCE:
                self._failed("fill", refusal)
        except (NatsError, JetStreamError, TimeoutError) as failure:
            self._failed("fill", failure)

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
        cache = self.cache
        watch = Watch(cache.bucket, self._take, self.complete.set, cache.log)
        self.task = asyncio.create_task(watch.follow(cache.jetstream, self.pattern))

    async def stop(self) -> None:
        """Stop watching."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)

    def get(self, key: str) -> bytes | None:
        """Return the value of a key, or None."""
        return self.values.get(key)

    def _take(self, key: str, value: bytes | None) -> None:
        self.version += 1
        if value is None:
            self.values.pop(key, None)
        else:
            self.values[key] = value
