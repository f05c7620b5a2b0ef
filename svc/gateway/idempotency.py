"""Idempotency-Key at the door: the same key and body get the first answer, byte for byte.

A record in Valkey per user, method, path and key: first a marker that the request is under way,
then its answer for 24 hours. The marker is a lease that its gateway renews, so a killed gateway
blocks nobody for long; while Valkey is down this layer is absent. Neither costs money: the services
keep the key unique for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from typing import TYPE_CHECKING, cast

import msgspec
from msgspec import Struct

from svc.gateway.answers import Answer
from svc.gateway.valkey import Valkey, ValkeyDown
from svc.mesh.clock import new_id
from svc.mesh.errors import Conflict, IdempotencyMismatch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

KEPT_MS = 24 * 3600 * 1000
LEASE_MS = 2_000
"""How long the marker of a request under way stays when its gateway is gone."""
RENEWED_S = 0.5
SERVER_ERROR = 500
POLL_FIRST_S = 0.01
POLL_MAX_S = 0.2

RENEW = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 0
"""
"""Keeps the marker alive, while it is ours."""
FORGET = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""
"""Removes the marker only while it is ours: after it expired another request may hold the key."""


class Record(Struct, frozen=True, kw_only=True):
    """What Valkey keeps: `owner` marks a request under way, afterwards the answer stands."""

    body_hash: str
    owner: str
    status: int = 0
    media_type: str = ""
    body: bytes = b""


class Idempotency:
    """Runs a request at most once at a time per key, and replays its answer."""

    def __init__(self, valkey: Valkey) -> None:
        """Use the gateway's Valkey."""
        self.valkey = valkey

    async def once(
        self,
        scope: tuple[str, str, str, str],
        request: bytes,
        deadline_ms: int,
        run: Callable[[], Awaitable[Answer]],
    ) -> Answer:
        """Return the answer recorded for scope (user, method, path, key), or run and record.

        Answers from 500 on are not recorded: their outcome is open and the client asks again.
        Raises IdempotencyMismatch when the key came with another request, Conflict when the first
        request with this key is still under way at the deadline.
        """
        name = "gateway:idempotency:" + _digest(msgspec.json.encode(scope))
        marker = Record(body_hash=_digest(request), owner=new_id())
        try:
            recorded = await self._claim(name, marker, deadline_ms)
        except ValkeyDown:
            return await run()
        if recorded is not None:
            return recorded
        answer: Answer | None = None
        renewing = asyncio.create_task(self._renew(name, msgspec.msgpack.encode(marker)))
        try:
            answer = await run()
            return answer
        finally:
            renewing.cancel()
            await self._finish(name, marker, answer)

    async def _renew(self, name: str, mine: bytes) -> None:
        while True:
            await asyncio.sleep(RENEWED_S)
            with contextlib.suppress(ValkeyDown):
                await self.valkey.script(RENEW, name, mine, LEASE_MS)

    async def _claim(self, name: str, marker: Record, deadline_ms: int) -> Answer | None:
        """Return the recorded answer, or None when the key is now ours."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + deadline_ms / 1000
        pause = POLL_FIRST_S
        mine = msgspec.msgpack.encode(marker)
        while True:
            found = await self.valkey.run(
                lambda client: client.set(name, mine, nx=True, get=True, px=LEASE_MS)
            )
            if found is None:
                return None
            record = msgspec.msgpack.decode(cast("bytes", found), type=Record)
            if record.body_hash != marker.body_hash:
                raise IdempotencyMismatch
            if record.status:
                replayed = {"idempotency-replayed": "true"}
                return Answer(record.status, record.body, record.media_type, replayed)
            if loop.time() >= give_up:
                raise Conflict("the first request with this Idempotency-Key is still under way")
            # Another process may hold the key, so the answer is looked for, not waited on.
            await asyncio.sleep(pause)
            pause = min(pause * 2, POLL_MAX_S)

    async def _finish(self, name: str, marker: Record, answer: Answer | None) -> None:
        try:
            if answer is None or answer.status >= SERVER_ERROR:
                await self.valkey.script(FORGET, name, msgspec.msgpack.encode(marker))
                return
            record = Record(
                body_hash=marker.body_hash,
                owner="",
                status=answer.status,
                media_type=answer.media_type,
                body=answer.body,
            )
            body = msgspec.msgpack.encode(record)
            await self.valkey.run(lambda client: client.set(name, body, px=KEPT_MS))
        except ValkeyDown:
            return  # the marker expires, and the service knows the key


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()
