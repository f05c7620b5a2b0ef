"""API keys of the gRPC door: those of settings, and those that identity made and published.

Both are kept as digests. Identity's come from its KV bucket and are watched, so a key that was
ended opens nothing within moments, and checking one costs no call.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
from datetime import UTC
from typing import TYPE_CHECKING, Any

import msgspec

from svc.identity import contract as identity
from svc.mesh.errors import DeclarationError, Forbidden, Unauthenticated

if TYPE_CHECKING:
    from svc.mesh.cache import Mirror
    from svc.mesh.clock import Clock
    from svc.mesh.context import Context

    Scopes = frozenset[str]

PUBLISHED = "apikey.*"
FIRST_READ_S = 3.0
SHOWN_DIGITS = 16


class Keys:
    """The API keys and what each opens; compared in constant time."""

    def __init__(self, main: str, more: str, every: Scopes, clock: Clock) -> None:
        """Read `GRPC_API_KEY`, which opens all, and `GRPC_API_KEYS`: `<key>:<scope>+<scope>,…`.

        Raises DeclarationError for a scope that is not one of `every`.
        """
        self.clock = clock
        self.published: Mirror | None = None
        self.scopes: dict[bytes, Scopes] = {}
        if main:
            self.scopes[_digest(main)] = every
        for entry in filter(None, (text.strip() for text in more.split(","))):
            key, _, names = entry.partition(":")
            scopes = frozenset(names.split("+"))
            if not key or not scopes <= every:
                known = ", ".join(sorted(every))
                raise DeclarationError(f"GRPC_API_KEYS: each must be <key>:<scope>+…; of {known}")
            self.scopes[_digest(key)] = scopes

    async def start(self, context: Context) -> None:
        """Begin to watch the keys that identity publishes; the door opens without them too."""
        self.published = await context.shared(identity.IDENTITY).mirror(PUBLISHED)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_READ_S):
                await self.published.complete.wait()

    async def stop(self) -> None:
        """Stop watching."""
        if self.published is not None:
            await self.published.stop()

    def require(self, scope: str, metadata: Any) -> str:
        """Let a call pass whose key opens the scope, and return what tells this key from others.

        Raises Unauthenticated or Forbidden.
        """
        header = next((value for name, value in metadata or () if name == "authorization"), "")
        scheme, _, key = str(header).partition(" ")
        given = _digest(key.strip())
        found = self._made(given)
        for known, scopes in self.scopes.items():
            if hmac.compare_digest(known, given):
                found = scopes
        if scheme.lower() != "bearer" or found is None:
            raise Unauthenticated("the metadata `authorization: Bearer <API key>` is needed")
        if scope not in found:
            raise Forbidden(f"this API key does not open {scope}")
        return given.hex()[:SHOWN_DIGITS]

    def _made(self, digest: bytes) -> Scopes | None:
        """Return what a key of identity's opens, None when there is none or it ran out."""
        entry = identity.security.api_key_entry(digest)
        value = self.published.get(entry) if self.published else None
        if value is None:
            return None
        known = msgspec.json.decode(value, type=identity.security.PublishedApiKey)
        ends = known.expires_at
        if ends is not None and ends.tzinfo is None:  # identity once took times without an offset
            ends = ends.replace(tzinfo=UTC)
        if ends is not None and ends <= self.clock.now():
            return None
        return frozenset(known.scopes)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
