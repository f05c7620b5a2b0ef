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
from collections.abc import Awaitable, Callable

import msgspec
from msgspec import Struct

from svc.gateway.answers import Answer
from svc.gateway.limits import Bucket
from svc.gateway.valkey import Said, Valkey, ValkeyDown
from svc.mesh.clock import new_id
from svc.mesh.errors import Conflict, IdempotencyMismatch

KEPT_MS = 24 * 3600 * 1000
LEASE_MS = 2_000
"""How long the marker of a request under way stays when its gateway is gone."""
RENEWED_S = 0.5
SERVER_ERROR = 500
POLL_FIRST_S = 0.01
POLL_MAX_S = 0.2


class Record(Struct, frozen=True, kw_only=True):
    """What Valkey keeps: `owner` marks a request under way, afterwards the answer stands."""

    body_hash: str
    owner: str
    status: int = 0
    media_type: str = ""
    body: bytes = b""


Admitted = Callable[[Said], None]
"""Hears what Valkey says of the request's token; raises RateLimited when there was none."""


class Idempotency:
    """Runs a request at most once at a time per key, and replays its answer."""

    def __init__(self, valkey: Valkey) -> None:
        """Use the gateway's Valkey."""
        self.valkey = valkey
        self.running: dict[str, bytes] = {}
        self.renewing: asyncio.Task[None] | None = None

    async def once(
        self,
        scope: tuple[str, str, str, str],
        request: bytes,
        deadline_ms: int,
        run: Callable[[], Awaitable[Answer]],
        *,
        bucket: Bucket | None = None,
        admitted: Admitted | None = None,
    ) -> Answer:
        """Return the answer recorded for scope (user, method, path, key), or run and record.

        With a bucket its token is taken in the same round trip, and `admitted` hears of it first.
        Answers from 500 on are not recorded: their outcome is open and the client asks again.
        Raises IdempotencyMismatch when the key came with another request, Conflict when the first
        request with this key is still under way at the deadline.
        """
        name = "gateway:idempotency:" + _digest(msgspec.json.encode(scope))
        body_hash = _digest(request)
        mine = msgspec.msgpack.encode(Record(body_hash=body_hash, owner=new_id()))
        try:
            said = await self._enter(name, mine, bucket)
            if admitted is not None:
                admitted(said)
            if said.found is not None:
                recorded = await self._recorded(said.found, name, mine, body_hash, deadline_ms)
                if recorded is not None:
                    return recorded
        except ValkeyDown:
            return await run()
        answer: Answer | None = None
        self._hold(name, mine)
        try:
            answer = await run()
            return answer
        finally:
            if self.running.get(name) == mine:
                del self.running[name]
            await self._finish(name, mine, body_hash, answer)

    def _enter(self, name: str, mine: bytes, bucket: Bucket | None) -> Awaitable[Said]:
        if bucket is None:
            return self.valkey.ask((name,), "claim", mine, LEASE_MS)
        size = bucket.rate, bucket.burst
        return self.valkey.ask((bucket.name, name), "enter", *size, mine, LEASE_MS)

    def _hold(self, name: str, mine: bytes) -> None:
        """Keep a marker alive for as long as its request runs."""
        self.running[name] = mine
        if self.renewing is None:
            self.renewing = asyncio.create_task(self._renew())

    async def _renew(self) -> None:
        """Renew all markers of this gateway; one timer does it for all requests."""
        try:
            while self.running:
                await asyncio.sleep(RENEWED_S)
                for name, mine in self.running.items():
                    self.valkey.ask((name,), "renew", mine, LEASE_MS)
        finally:
            self.renewing = None

    async def _recorded(
        self, found: bytes | None, name: str, mine: bytes, body_hash: str, deadline_ms: int
    ) -> Answer | None:
        """Return the answer of the request that has the key, or None when the key is now ours."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + deadline_ms / 1000
        pause = POLL_FIRST_S
        while found is not None:
            record = msgspec.msgpack.decode(found, type=Record)
            if record.body_hash != body_hash:
                raise IdempotencyMismatch
            if record.status:
                replayed = {"idempotency-replayed": "true"}
                return Answer(record.status, record.body, record.media_type, replayed)
            if loop.time() >= give_up:
                raise Conflict("the first request with this Idempotency-Key is still under way")
            # Another process may hold the key, so the answer is looked for, not waited on.
            await asyncio.sleep(pause)
            pause = min(pause * 2, POLL_MAX_S)
            found = (await self.valkey.ask((name,), "claim", mine, LEASE_MS)).found
        return None

    async def _finish(self, name: str, mine: bytes, body_hash: str, answer: Answer | None) -> None:
        # The marker expires, and the service knows the key.
        with contextlib.suppress(ValkeyDown):
            if answer is None or answer.status >= SERVER_ERROR:
                await self.valkey.ask((name,), "forget", mine)
                return
            record = Record(
                body_hash=body_hash,
                owner="",
                status=answer.status,
                media_type=answer.media_type,
                body=answer.body,
            )
            await self.valkey.ask((name,), "keep", msgspec.msgpack.encode(record), KEPT_MS)


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()
