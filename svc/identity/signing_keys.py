"""The keys that sign access tokens: published before they sign, and after, while tokens hold."""

from datetime import timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from svc.identity import audit, session_store, users
from svc.identity.contract_security import KeysRotated, RotateKeys
from svc.mesh import tokens
from svc.mesh.context import Context
from svc.mesh.database import Tx
from svc.mesh.errors import Conflict, Unavailable

PUBLISHED_BEFORE = timedelta(seconds=10)
"""So long every gateway has known a key before the first token signed by it comes."""


async def current(tx: Tx) -> Ed25519PrivateKey:
    """Return the key that signs now; raises Unavailable before the first start is done."""
    raw = await session_store.signing_key(tx, tx.context.now())
    if raw is None:
        raise Unavailable("there is no signing key yet")
    return Ed25519PrivateKey.from_private_bytes(raw)


async def make_first(context: Context) -> None:
    """Make the signing key when there is none, and publish all public keys."""
    fresh, now = Ed25519PrivateKey.generate(), context.now()
    async with context.transaction() as tx:
        kid = tokens.key_id(fresh.public_key())
        await session_store.add_signing_key(tx, kid, fresh.private_bytes_raw(), now, now)
    await publish(context)


async def published(context: Context) -> tokens.Jwks:
    """Return the public keys whose tokens are or will be in use, or may be still."""
    retired_after = context.now() - timedelta(seconds=tokens.LIFETIME_S)
    async with context.transaction() as tx:
        raws = await session_store.private_keys(tx, retired_after)
    keys = [Ed25519PrivateKey.from_private_bytes(raw).public_key() for raw in raws]
    return tokens.published(keys)


async def publish(context: Context) -> None:
    """Let gateways know the public keys; raises Unavailable when they did not arrive."""
    wanted = await published(context)
    await context.cache.put(tokens.JWKS_KEY, wanted)
    if await context.cache.get(tokens.JWKS_KEY, tokens.Jwks) != wanted:
        raise Unavailable("the keys could not be published")


async def rotate(request: RotateKeys, context: Context) -> KeysRotated:
    """Sign with a new key from soon on, without any token ceasing to hold.

    The present key signs until the new one does, when every gateway has known that for seconds; it
    stays published while its last tokens hold. Raises Forbidden, or Conflict while a change is
    under way.
    """
    async with context.transaction() as tx:
        await users.require_staff(tx, request.actor_id, "identity.rotate_keys")
    fresh, now = Ed25519PrivateKey.generate(), context.now()
    kid, signs_from = tokens.key_id(fresh.public_key()), now + PUBLISHED_BEFORE
    async with context.transaction() as tx:
        if not await session_store.retire_signing_key(tx, now, signs_from):
            raise Conflict("the signing key is being changed just now")
        await session_store.add_signing_key(tx, kid, fresh.private_bytes_raw(), now, signs_from)
        if request.actor_id is not None:
            await audit.note(tx, request.actor_id, "signing-key-changed", detail=kid)
    await publish(context)
    return KeysRotated(kid=kid, signs_from=signs_from)
