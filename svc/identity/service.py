"""identity, as the mesh runs it: what it hears and calls, then one handler for each."""

from datetime import timedelta

from svc.identity import (
    api_keys,
    audit,
    contract_limits,
    contract_privacy as privacy,
    contract_security as security,
    exclusions,
    guesses,
    password_changes,
    play_store,
    plays,
    privacy as own_data,
    reset_store,
    resets,
    rules,
    second_factor,
    security_store,
    session_store,
    sessions,
    signing_keys,
    staff,
    store,
    users,
    verification,
)
from svc.identity.contract import (
    ADMIN_USER,
    AUTHORIZE,
    CONTACT,
    COUNT_STAKE,
    GET_USER,
    IDENTITY,
    KYC_CHANGED,
    LIMIT_CHANGED,
    LOG_IN,
    LOG_OUT,
    PROFILE,
    PROFILE_UPDATED,
    REFRESH,
    REGISTER,
    SELF_EXCLUDE,
    SELF_EXCLUDED,
    SESSION_REVOKED,
    SET_KYC,
    SET_LIMITS,
    STAKES_TOLD,
    TAKE_TIME_OUT,
    UPDATE_PROFILE,
    VERIFY_TOKEN,
    AdminUser,
    Authorize,
    Authorized,
    Contact,
    KycChanged,
    LimitChanged,
    LogIn,
    LogOut,
    OfUser,
    Profile,
    ProfileUpdated,
    Refresh,
    Register,
    Registered,
    SelfExclude,
    SelfExcludedData,
    SessionRevoked,
    SetKyc,
    SetLimits,
    TakeTimeOut,
    TokenHolder,
    Tokens,
    UpdateProfile,
    User,
    VerifyToken,
)
from svc.mesh import tokens
from svc.mesh.context import Context
from svc.mesh.database import Tx
from svc.mesh.envelope import CloudEvent
from svc.mesh.errors import NotFound, Unavailable
from svc.mesh.service import Hear, Service
from svc.mesh.types import Empty
from svc.notification import contract as notification
from svc.notification.contract import NotificationDelivered, NotificationFailed
from svc.scheduler import contract as scheduler
from svc.wallet import contract as wallet

PURGE = "purge-sessions"
PURGE_CRON = "0 40 3 * * *"
HAND_OVER = "hand-over-verifications"
HAND_OVER_CRON = "15 * * * * *"
KEPT_AFTER_END = timedelta(days=1)
REACHABLE = frozenset({"sms", "email"})

identity = Service(
    IDENTITY,
    hears=(
        Hear(PROFILE_UPDATED, "drop the cached profile, in every instance's name"),
        Hear(KYC_CHANGED, "drop the cached profile"),
        Hear(LIMIT_CHANGED, "drop the cached profile"),
        Hear(SELF_EXCLUDED, "drop the cached profile"),
        Hear(privacy.RESET_ASKED, "send a code, where the address has an account"),
        Hear(STAKES_TOLD, "count what players with limits staked and got back"),
        Hear(SESSION_REVOKED, "mark it for gateways, if that failed right after the commit"),
        Hear(
            notification.NOTIFICATION_DELIVERED,
            "know that a contact works",
            only=lambda data: data.channel in REACHABLE,
        ),
        Hear(
            notification.NOTIFICATION_FAILED,
            "know that a contact does not work",
            only=lambda data: data.channel in REACHABLE,
        ),
        Hear(scheduler.JOB_DUE, "purge old sessions", only=lambda data: data.service == "identity"),
    ),
    calls=(wallet.BALANCE,),
    asks=(scheduler.JOB_REQUESTED, notification.NOTIFICATION_REQUESTED),
    database=True,
    cache=True,
    localizes=("identity",),
)


@identity.answers(REGISTER)
async def register(request: Register, context: Context) -> Registered:
    """Open a player's account."""
    return Registered(user_id=await users.register(context, request))


@identity.answers(LOG_IN)
async def log_in(request: LogIn, context: Context) -> Tokens:
    """Open a session; an unknown address and a wrong password look and take the same."""
    return await password_changes.log_in(request, context)


@identity.answers(REFRESH)
async def refresh(request: Refresh, context: Context) -> Tokens:
    """Swap a refresh token for the next pair."""
    return await sessions.rotate(context, request.refresh_token)


@identity.answers(LOG_OUT)
async def log_out(request: LogOut, context: Context) -> Empty:
    """End the session; ending it again changes nothing."""
    async with context.transaction() as tx:
        await sessions.revoke(tx, request.user_id, request.session_id, sessions.LOGGED_OUT)
    return Empty()


@identity.answers(PROFILE)
async def profile(request: OfUser, context: Context) -> Profile:
    """Read one's own profile."""
    return await users.cached_profile(context, request.user_id)


@identity.answers(UPDATE_PROFILE)
async def update_profile(request: UpdateProfile, context: Context) -> Profile:
    """Change one's own profile."""
    return await users.update(context, request)


@identity.answers(SET_LIMITS)
async def set_limits(request: SetLimits, context: Context) -> Profile:
    """Set one limit."""
    return await users.set_limit(context, request)


@identity.answers(SELF_EXCLUDE)
async def self_exclude(request: SelfExclude, context: Context) -> Profile:
    """Exclude oneself for calendar months."""
    until = rules.months_later(context.now(), request.months)
    return await exclusions.exclude(context, request.user_id, until, time_out=False)


@identity.answers(TAKE_TIME_OUT)
async def take_time_out(request: TakeTimeOut, context: Context) -> Profile:
    """Pause for days."""
    until = context.now() + timedelta(days=request.days)
    return await exclusions.exclude(context, request.user_id, until, time_out=True)


@identity.answers(VERIFY_TOKEN)
async def verify_token(request: VerifyToken, context: Context) -> TokenHolder:
    """Say whose token it is; the roles are today's, not those of the token's making."""
    claims, user = await sessions.holder(context, request.token)
    return TokenHolder(
        user_id=user.user_id,
        session_id=claims.sid,
        roles=user.roles,
        expires_at=claims.expires_at,
    )


@identity.answers(AUTHORIZE)
async def authorize(request: Authorize, context: Context) -> Authorized:
    """Say that a user may do something now, from the database: exclusions hold at once."""
    async with context.transaction() as tx:
        user = await users.found(tx, request.user_id)
    kyc_required = context.runtime.settings.get("KYC_REQUIRED", "0") == "1"
    rules.authorize(user.standing(), request.permission, context.now(), kyc_required=kyc_required)
    return Authorized(user_id=user.user_id, roles=user.roles)


@identity.answers(CONTACT)
async def contact(request: OfUser, context: Context) -> Contact:
    """Tell notification how to reach a user; one whose account is closed is not reached."""
    async with context.transaction() as tx:
        user = await users.found(tx, request.user_id)
    if user.closed:
        raise NotFound("the account is closed")
    return Contact(
        user_id=user.user_id,
        email=user.email,
        phone=user.phone or "",
        locale=user.locale,
        marketing_opt_in=user.marketing_opt_in,
    )


@identity.answers(GET_USER)
async def get_user(request: OfUser, context: Context) -> User:
    """Tell external callers what they may know."""
    async with context.transaction() as tx:
        user = await users.found(tx, request.user_id)
    return User(
        user_id=user.user_id,
        currency=user.currency,
        locale=user.locale,
        kyc_status=user.kyc_status,
        status=rules.status_of(user.standing(), context.now()),
    )


@identity.answers(ADMIN_USER)
async def admin_user(request: AdminUser, context: Context) -> Profile:
    """Show a user to staff."""
    async with context.transaction() as tx:
        await users.require_staff(tx, request.actor_id, "identity.admin_user")
        found = await users.profile(tx, request.user_id)
    return rules.as_of(found, context.now())


@identity.answers(SET_KYC)
async def set_kyc(request: SetKyc, context: Context) -> Profile:
    """Record the outcome of a verification; the same outcome again is no event."""
    async with context.transaction() as tx:
        await users.require_staff(tx, request.actor_id, "identity.set_kyc")
        user = await users.locked(tx, request.user_id)
        await verification.set_status(tx, user, request.status, request.actor_id)
        return await users.changed_profile(tx, user.user_id)


@identity.answers(security.CONFIRM_EXCLUSION)
async def confirm_exclusion(request: security.ConfirmExclusion, context: Context) -> Empty:
    """Take in that an exclusion holds where money moves."""
    await exclusions.confirm(request, context)
    return Empty()


identity.answers(COUNT_STAKE)(plays.count)
identity.answers(contract_limits.COUNT_RETURN)(plays.count_return)
identity.hears(STAKES_TOLD)(plays.told)
identity.answers(security.LIST_SESSIONS)(sessions.shown)
identity.answers(security.REVOKE_SESSION)(sessions.revoke_one)
identity.answers(security.REVOKE_OTHERS)(sessions.revoke_others)
identity.answers(security.CHANGE_PASSWORD)(password_changes.change)
identity.answers(security.REQUEST_RESET)(resets.request)
identity.answers(privacy.ISSUE_CODE)(resets.issue)
identity.hears(privacy.RESET_ASKED)(resets.asked)
identity.answers(security.CONFIRM_RESET)(password_changes.confirm_reset)
identity.answers(security.SET_UP_FACTOR)(second_factor.set_up)
identity.answers(security.CONFIRM_FACTOR)(second_factor.confirm)
identity.answers(security.REMOVE_FACTOR)(second_factor.remove)


@identity.answers(security.SECURITY_EVENTS)
async def security_events(
    request: security.SecurityEventsOf, context: Context
) -> security.SecurityEvents:
    """Show a user what happened to their account."""
    async with context.transaction() as tx:
        return await audit.page(tx, request.user_id, request.limit, request.cursor)


@identity.answers(security.ADMIN_SECURITY_EVENTS)
async def admin_security_events(
    request: security.AdminSecurityEventsOf, context: Context
) -> security.SecurityEvents:
    """Show staff what happened to an account."""
    async with context.transaction() as tx:
        await users.require_staff(tx, request.actor_id, "identity.security_events")
        return await audit.page(tx, request.user_id, request.limit, request.cursor)


identity.answers(privacy.SUBMIT_VERIFICATION)(verification.submit)
identity.answers(privacy.EXPORT)(own_data.export)
identity.answers(privacy.ERASE)(own_data.erase)
identity.answers(security.SET_ROLES)(staff.set_roles)
identity.answers(security.MAKE_API_KEY)(api_keys.make)
identity.answers(security.LIST_API_KEYS)(api_keys.shown)
identity.answers(security.REVOKE_API_KEY)(api_keys.revoke)
identity.answers(security.ROTATE_KEYS)(signing_keys.rotate)


@identity.hears(PROFILE_UPDATED)
async def profile_updated(event: CloudEvent[ProfileUpdated], _tx: Tx, context: Context) -> None:
    """Drop the cached profile: a reader may have cached the old one during the change."""
    await users.forget_profile(context, event.data.user_id)


@identity.hears(KYC_CHANGED)
async def kyc_changed(event: CloudEvent[KycChanged], _tx: Tx, context: Context) -> None:
    """Drop the cached profile."""
    await users.forget_profile(context, event.data.user_id)


@identity.hears(LIMIT_CHANGED)
async def limit_changed(event: CloudEvent[LimitChanged], _tx: Tx, context: Context) -> None:
    """Drop the cached profile."""
    await users.forget_profile(context, event.data.user_id)


@identity.hears(SELF_EXCLUDED)
async def self_excluded(event: CloudEvent[SelfExcludedData], _tx: Tx, context: Context) -> None:
    """Drop the cached profile."""
    await users.forget_profile(context, event.data.user_id)


@identity.hears(SESSION_REVOKED)
async def session_revoked(event: CloudEvent[SessionRevoked], _tx: Tx, context: Context) -> None:
    """Mark the session for gateways until the mark is seen there."""
    await sessions.mark_revoked(context, event.data.session_id)
    if await context.cache.get(tokens.revoked_key(event.data.session_id), bool) is None:
        raise Unavailable("the revocation could not be marked for gateways")


@identity.hears(notification.NOTIFICATION_DELIVERED)
async def contact_works(
    event: CloudEvent[NotificationDelivered], tx: Tx, _context: Context
) -> None:
    """Note that a channel reaches the user."""
    await store.note_delivered(tx, event.data.user_id, event.data.channel, event.time)


@identity.hears(notification.NOTIFICATION_FAILED)
async def contact_fails(event: CloudEvent[NotificationFailed], tx: Tx, _context: Context) -> None:
    """Note that a channel does not reach the user."""
    await store.note_failed(tx, event.data.user_id, event.data.channel, event.time)


@identity.hears(scheduler.JOB_DUE)
async def job_due(event: CloudEvent[scheduler.JobDue], tx: Tx, context: Context) -> None:
    """Delete sessions that ended a while ago; or hand over verifications that wait."""
    if event.data.name == HAND_OVER:
        tx.after_commit(lambda: verification.sweep(context))
    if event.data.name != PURGE:
        return
    deleted = await session_store.purge_sessions(tx, context.now() - KEPT_AFTER_END)
    await security_store.purge_failures(tx, guesses.stale(context.now()))
    context.log.info("sessions purged", sessions=deleted)
    await reset_store.purge_requests(tx, context.now() - KEPT_AFTER_END)
    await play_store.purge(tx, context.now() - plays.KEPT)
    await verification.expire(tx)
    # Keys whose last tokens have ended are published no longer.
    tx.after_commit(lambda: signing_keys.publish(context))


@identity.on_start
async def publish_keys(context: Context) -> None:
    """Make the signing key at the first start, and publish all keys at every one."""
    await signing_keys.make_first(context)
    await api_keys.publish_all(context)


@identity.on_start
async def make_admin(context: Context) -> None:
    """Make the first member of staff, where the installation names one."""
    settings = context.runtime.settings
    email, password = settings.get("ADMIN_EMAIL"), settings.get("ADMIN_PASSWORD")
    if email and password:
        await users.make_admin(context, email, password)


@identity.on_start
async def ask_for_jobs(context: Context) -> None:
    """Ask for the nightly purge and the sweep of verifications; again changes nothing."""
    async with context.transaction() as tx:
        for name, cron in ((PURGE, PURGE_CRON), (HAND_OVER, HAND_OVER_CRON)):
            request = scheduler.JobRequested(service="identity", name=name, cron=cron)
            await tx.publish(scheduler.JOB_REQUESTED, request, subject=f"identity.{name}")
