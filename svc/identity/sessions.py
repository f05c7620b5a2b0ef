"""Sessions: opened by a password, carried on by single-use refresh tokens, ended for good."""

import secrets
from hashlib import sha256

from svc.identity import audit, rules, session_store, signing_keys, store
from svc.identity.contract import (
    SESSION_REVOKED,
    USER_LOGGED_IN,
    LogIn,
    SessionRevoked,
    Tokens,
    UserLoggedIn,
)
from svc.identity.contract_security import OwnSession, Sessions
from svc.mesh import tokens
from svc.mesh.context import Context
from svc.mesh.database import Tx
from svc.mesh.errors import NotFound, Unauthenticated
from svc.mesh.types import Empty
from svc.notification import contract as notification

LOGGED_OUT = "logged-out"
REVOKED = "ended-by-user"
REUSED = "refresh-token-reused"
TOO_MANY = "too-many-sessions"
ENDED_AT_ONCE = 20
"""What one log-in ends at most: were there ever more, the next ones go on."""
REFRESH_REFUSED = "the refresh token is not valid (any more): log in again"


async def open_session(tx: Tx, user: store.UserRow, request: LogIn) -> Tokens:
    """Store a new session with its first refresh token, and tell.

    Of more than SESSIONS_MAX those end that were not used for longest.
    """
    context = tx.context
    session_id, now = context.new_id(), context.now()
    await session_store.open_session(
        tx,
        session_id,
        user.user_id,
        device=audit.storable(request.device),
        ip=audit.storable(request.ip),
        created_at=now,
        expires_at=now + rules.REFRESH_LIFETIME,
    )
    for surplus in await session_store.least_used(
        tx, user.user_id, now, keep=rules.SESSIONS_MAX, limit=ENDED_AT_ONCE
    ):
        await revoke(tx, user.user_id, surplus, TOO_MANY)
    logged_in = UserLoggedIn(user_id=user.user_id, session_id=session_id)
    await tx.publish(USER_LOGGED_IN, logged_in, subject=user.user_id)
    return await _tokens(tx, user, session_id)


async def rotate(context: Context, refresh_token: str) -> Tokens:
    """Use a refresh token up and return the next pair.

    One that was used before is in two hands, so its session ends and its owner is told
    (OAuth 2.0 Security BCP, RFC 9700 section 4.14.2). Raises Unauthenticated.
    """
    digest = _digest(refresh_token)
    async with context.transaction() as tx:
        now = context.now()
        row = await session_store.refresh_token(tx, digest)
        if row is None or row.revoked_at is not None or row.expires_at <= now:
            raise Unauthenticated(REFRESH_REFUSED)
        if row.used_at is None:
            user = await store.user(tx, row.user_id)
            if user is None or user.closed:
                raise Unauthenticated(REFRESH_REFUSED)
            await session_store.use_refresh_token(tx, digest, now)
            await session_store.extend_session(
                tx, row.session_id, now, now + rules.REFRESH_LIFETIME
            )
            if "player" in user.roles:
                await _check_reality(tx, row)
            return await _tokens(tx, user, row.session_id)
    await _revoke_reused(context, row)
    raise Unauthenticated(REFRESH_REFUSED)


async def _check_reality(tx: Tx, row: session_store.RefreshRow) -> None:
    """Tell a player in time how long they have been logged in (UKGC RTS 13).

    A client in use refreshes at least every ten minutes, so this is where time is seen to pass.
    """
    now = tx.context.now()
    minutes = int(tx.context.runtime.settings.get("REALITY_CHECK_MINUTES", "60"))
    if not rules.is_reality_check_due(row.last_check_at, now, minutes):
        return
    await session_store.note_reality_check(tx, row.session_id, now)
    passed = int((now - row.created_at).total_seconds()) // 60
    notice = notification.NotificationRequested(
        user_id=row.user_id,
        template="reality_check",
        category="security",
        arguments={"minutes": str(passed)},
    )
    await tx.publish(notification.NOTIFICATION_REQUESTED, notice, subject=row.user_id)


async def _revoke_reused(context: Context, row: session_store.RefreshRow) -> None:
    # The text is fetched before the transaction: none is held open over a request.
    reason = await audit.alert_text(context, row.locale, REUSED)
    async with context.transaction() as tx:
        if not await revoke(tx, row.user_id, row.session_id, REUSED):
            return
        await audit.alert(tx, row.user_id, reason)


async def shown(request: OwnSession, context: Context) -> Sessions:
    """Return the sessions of a user that go on, newest first."""
    async with context.transaction() as tx:
        rows = await session_store.open_sessions(
            tx, request.user_id, request.session_id, context.now(), limit=rules.SESSIONS_MAX
        )
    return Sessions(items=rows)


async def revoke_one(request: OwnSession, context: Context) -> Empty:
    """End one of a user's own sessions; raises NotFound for one that is not theirs."""
    async with context.transaction() as tx:
        if not await session_store.is_session_of(tx, request.session_id, request.user_id):
            raise NotFound("you have no such session")
        await revoke(tx, request.user_id, request.session_id, REVOKED)
    return Empty()


async def revoke_others(request: OwnSession, context: Context) -> Empty:
    """End all sessions of a user but the one that asks."""
    async with context.transaction() as tx:
        await revoke_all(tx, request.user_id, REVOKED, but=request.session_id)
    return Empty()


async def revoke_all(tx: Tx, user_id: str, because: str, *, but: str = "") -> None:
    """End all sessions of a user, or all but one."""
    for session in await session_store.open_sessions(tx, user_id, but, tx.context.now()):
        if session.session_id != but:
            await revoke(tx, user_id, session.session_id, because)


async def revoke(tx: Tx, user_id: str, session_id: str, because: str) -> bool:
    """End a session and tell; False when there was nothing to end."""
    ended = await session_store.revoke_session(tx, session_id, user_id, because, tx.context.now())
    if ended:
        await audit.note(tx, user_id, "session-ended", detail=because)
        revoked = SessionRevoked(user_id=user_id, session_id=session_id)
        await tx.publish(SESSION_REVOKED, revoked, subject=user_id)
        tx.after_commit(lambda: mark_revoked(tx.context, session_id))
    return ended


async def mark_revoked(context: Context, session_id: str) -> None:
    """Let gateways see that a session ended, for as long as its access tokens would hold."""
    await context.cache.put(
        tokens.revoked_key(session_id), True, ttl_s=tokens.LIFETIME_S + tokens.LEEWAY_S
    )


async def holder(context: Context, token: str) -> tuple[tokens.Claims, store.UserRow]:
    """Return a token's claims and its user; raises Unauthenticated, revoked sessions included."""
    known = tokens.keys_of(await signing_keys.published(context))
    claims = tokens.verify(token, known, context.now())
    async with context.transaction() as tx:
        user = await store.user(tx, claims.sub)
        goes_on = await session_store.session_is_open(tx, claims.sid, claims.sub, context.now())
    if user is None or user.closed or not goes_on:
        raise Unauthenticated("the session has ended")
    return claims, user


async def _tokens(tx: Tx, user: store.UserRow, session_id: str) -> Tokens:
    context = tx.context
    now = context.now()
    refresh_token = secrets.token_urlsafe(32)
    await session_store.add_refresh_token(tx, _digest(refresh_token), session_id, now)
    access_token = tokens.issue(
        await signing_keys.current(tx),
        user_id=user.user_id,
        session_id=session_id,
        roles=user.roles,
        currency=user.currency,
        token_id=context.new_id(),
        now=now,
    )
    return Tokens(
        access_token=access_token,
        refresh_token=refresh_token,
        token_type="Bearer",  # noqa: S106 -- a scheme, not a secret
        expires_in=tokens.LIFETIME_S,
    )


def _digest(refresh_token: str) -> bytes:
    """Return what is stored of a refresh token; its 256 random bits need no slow hash."""
    return sha256(refresh_token.encode()).digest()
