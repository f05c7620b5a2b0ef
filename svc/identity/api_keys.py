"""Keys of external callers over gRPC: made and ended by admins, known to gateways by digest."""

import secrets
from hashlib import sha256

from msgspec.structs import replace

from svc.identity import api_key_store, audit, users
from svc.identity.contract_security import (
    API_KEY_PREFIX,
    ApiKeyMade,
    ApiKeys,
    ApiKeysOf,
    MakeApiKey,
    PublishedApiKey,
    RevokeApiKey,
    api_key_entry,
)
from svc.mesh.clock import in_utc
from svc.mesh.context import Context
from svc.mesh.errors import NotFound, Unavailable
from svc.mesh.types import Empty

KEY_BYTES = 32
PERMISSION = "identity.api_keys"


async def make(request: MakeApiKey, context: Context) -> ApiKeyMade:
    """Make a key; gateways let it in once this is answered.

    Raises Forbidden, Unavailable, or Invalid for an end that is no instant.
    """
    key = API_KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)
    digest, key_id = sha256(key.encode()).digest(), context.new_id()
    ends = request.expires_at and in_utc(request.expires_at, "expires_at")
    request = replace(request, expires_at=ends)
    async with context.transaction() as tx:
        await users.require_staff(tx, request.actor_id, PERMISSION)
        await api_key_store.add(tx, key_id, digest, request, context.now())
        if request.actor_id is not None:
            await audit.note(tx, request.actor_id, "api-key-made", detail=key_id)
    known = PublishedApiKey(key_id=key_id, scopes=list(request.scopes), expires_at=ends)
    await _publish(context, digest, known)
    return ApiKeyMade(key_id=key_id, key=key)


async def shown(request: ApiKeysOf, context: Context) -> ApiKeys:
    """Return all keys without their secrets, newest first; raises Forbidden."""
    async with context.transaction() as tx:
        await users.require_staff(tx, request.actor_id, PERMISSION)
        return ApiKeys(items=await api_key_store.all_keys(tx))


async def revoke(request: RevokeApiKey, context: Context) -> Empty:
    """End a key at every gateway; ending it again does so again. Raises Forbidden or NotFound."""
    async with context.transaction() as tx:
        await users.require_staff(tx, request.actor_id, PERMISSION)
        digest = await api_key_store.revoke(tx, request.key_id, context.now())
        if digest is None:
            raise NotFound("there is no such key")
        if request.actor_id is not None:
            await audit.note(tx, request.actor_id, "api-key-ended", detail=request.key_id)
    entry = api_key_entry(digest)
    await context.cache.delete(entry)
    if await context.cache.get(entry, PublishedApiKey) is not None:
        raise Unavailable("the key is ended, but gateways could not be told: end it again")
    return Empty()


async def publish_all(context: Context) -> None:
    """Let gateways know every key that opens something: what a lost bucket held is here."""
    async with context.transaction() as tx:
        keys = await api_key_store.open_keys(tx, context.now())
    for digest, known in keys:
        await _publish(context, digest, known)


async def _publish(context: Context, digest: bytes, known: PublishedApiKey) -> None:
    entry = api_key_entry(digest)
    await context.cache.put(entry, known)
    if await context.cache.get(entry, PublishedApiKey) != known:
        raise Unavailable("the key could not be published to gateways")
