"""Who is asking: access tokens are checked here, with identity's published keys, without a call.

Keys and revoked sessions come from identity's KV bucket and are watched, so while identity is down
everybody who is logged in goes on, and a revoked session ends within moments.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from msgspec import Struct

from svc.identity import contract as identity
from svc.mesh import tokens
from svc.mesh.errors import Forbidden, Unauthenticated, Unavailable

if TYPE_CHECKING:
    from svc.mesh.cache import Mirror
    from svc.mesh.clock import Clock
    from svc.mesh.context import Context
    from svc.mesh.contract import Role

VERIFIED_MAX = 10_000
"""Tokens whose signature need not be checked again; forgotten all at once when there are more."""
FIRST_READ_S = 3.0
ALLOWED: dict[Role, frozenset[str] | None] = {
    "public": None,
    "player": None,
    "operator": frozenset({"operator", "admin"}),
    "admin": frozenset({"admin"}),
}
"""The roles of a token that open a route; None: every valid token does."""


class Holder(Struct, frozen=True, kw_only=True):
    """Who holds a token, and until when (unix seconds)."""

    user_id: str
    session_id: str
    roles: list[str]
    expires_at: int

    def fields(self, wanted: tuple[str, ...]) -> dict[str, object]:
        """Return the request fields that a route takes from the token."""
        known: dict[str, object] = {
            "user_id": self.user_id,
            "actor_id": self.user_id,
            "session_id": self.session_id,
            "roles": self.roles,
        }
        return {name: known[name] for name in wanted}


class Access:
    """Checks tokens against keys and revocations that this process holds."""

    def __init__(self, clock: Clock) -> None:
        """Know nobody until `start` has read identity's bucket."""
        self.clock = clock
        self.published: Mirror | None = None
        self.revoked: Mirror | None = None
        self.document: bytes | None = None
        self.keys: tokens.Keys = {}
        self.verified: dict[str, Holder] = {}

    async def start(self, context: Context) -> None:
        """Begin to watch identity's bucket."""
        bucket = context.shared(identity.IDENTITY)
        self.published = await bucket.mirror(tokens.JWKS_KEY)
        self.revoked = await bucket.mirror(tokens.revoked_key("*"))
        # Without NATS' answer the door opens all the same, and refuses tokens until it comes.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_READ_S):
                await self.published.complete.wait()
                await self.revoked.complete.wait()

    async def stop(self) -> None:
        """Stop watching."""
        for mirror in (self.published, self.revoked):
            if mirror is not None:
                await mirror.stop()

    def ready(self) -> bool:
        """Return whether there is a key to check tokens with."""
        return bool(self._current_keys())

    def require(self, token: str, role: Role) -> Holder:
        """Return the holder of a token that may use routes of a role.

        Raises Unauthenticated, Forbidden, or Unavailable as long as no key is known.
        """
        if not token:
            raise Unauthenticated
        keys = self._current_keys()
        if not keys:
            raise Unavailable("identity has not published its keys yet")
        holder = self.verified.get(token)
        if holder is None:
            claims = tokens.verify(token, keys, self.clock.now())
            holder = Holder(
                user_id=claims.sub,
                session_id=claims.sid,
                roles=claims.roles,
                expires_at=claims.exp,
            )
            if len(self.verified) >= VERIFIED_MAX:
                self.verified.clear()
            self.verified[token] = holder
        self.still_valid(holder, role)
        return holder

    def still_valid(self, holder: Holder, role: Role) -> None:
        """Raise Unauthenticated once the token expired or its session was revoked, or Forbidden."""
        if holder.expires_at <= self.clock.now().timestamp():
            raise Unauthenticated("the access token has expired")
        if self.revoked and self.revoked.get(tokens.revoked_key(holder.session_id)) is not None:
            raise Unauthenticated("the session was ended")
        allowed = ALLOWED[role]
        if allowed is not None and allowed.isdisjoint(holder.roles):
            raise Forbidden(f"this needs the role {role}")

    def _current_keys(self) -> tokens.Keys:
        document = self.published.get(tokens.JWKS_KEY) if self.published else None
        if document is not None and document != self.document:
            self.document = document
            self.verified.clear()  # a key that was withdrawn opens nothing any more
            self.keys = tokens.keys_of(document)
        return self.keys


def bearer(header: str | None) -> str:
    """Return the token of an Authorization header, or nothing when it holds none."""
    scheme, _, token = (header or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
