"""Users: accounts, profiles, limits and exclusions, one transaction for each change."""

import asyncpg

from svc.identity import audit, rules, store
from svc.identity.contract import (
    LIMIT_CHANGED,
    PROFILE_UPDATED,
    USER_REGISTERED,
    LimitChanged,
    PlayerLimit,
    Profile,
    ProfileUpdated,
    Register,
    SetLimits,
    UpdateProfile,
    UserRegistered,
)
from svc.identity.passwords import Passwords
from svc.mesh.context import Context
from svc.mesh.database import Tx
from svc.mesh.errors import Conflict, Forbidden, NotFound

STAFF_CURRENCY = "EUR"
PROFILE_TTL_S = 60


def profile_key(user_id: str) -> str:
    """Return the key under which a profile is cached."""
    return f"profile.{user_id}"


async def forget_profile(context: Context, user_id: str) -> None:
    """Drop a cached profile, after its user changed."""
    await context.cache.delete(profile_key(user_id))


async def register(context: Context, request: Register) -> str:
    """Open a player's account and return its id; raises Invalid, UnderAge or Conflict."""
    rules.check_age(request.date_of_birth, context.now().date())
    rules.check_currency(request.currency)
    email, email_key = rules.normalised_email(request.email)
    phone = rules.normalised_phone(request.phone)
    password_hash = await Passwords(context.runtime.settings).hash(request.password)
    user = store.NewUser(
        user_id=context.new_id(),
        email=email,
        email_key=email_key,
        phone=phone,
        password_hash=password_hash,
        date_of_birth=request.date_of_birth,
        currency=request.currency,
        locale=request.locale,
        marketing_opt_in=request.marketing_opt_in,
        roles=["player"],
        created_at=context.now(),
    )
    async with context.transaction() as tx:
        if not await store.insert_user(tx, user):
            if await store.email_taken(tx, email_key):
                raise Conflict("this e-mail address has an account already", field="email")
            raise Conflict("this phone number has an account already", field="phone")
        registered = UserRegistered(
            user_id=user.user_id,
            currency=user.currency,
            locale=user.locale,
            marketing_opt_in=user.marketing_opt_in,
        )
        await tx.publish(USER_REGISTERED, registered, subject=user.user_id)
    return user.user_id


async def make_admin(context: Context, email: str, password: str) -> None:
    """Make the first member of staff, unless somebody has the address."""
    address, email_key = rules.normalised_email(email)
    async with context.transaction() as tx:
        if await store.email_taken(tx, email_key):
            return
    password_hash = await Passwords(context.runtime.settings).hash(password)
    admin = store.NewUser(
        user_id=context.new_id(),
        email=address,
        email_key=email_key,
        phone=None,
        password_hash=password_hash,
        date_of_birth=None,
        currency=STAFF_CURRENCY,
        locale="en",
        marketing_opt_in=False,
        roles=["operator", "admin"],
        created_at=context.now(),
    )
    async with context.transaction() as tx:
        await store.insert_user(tx, admin)


async def locked(tx: Tx, user_id: str) -> store.UserRow:
    """Return a user whose row nobody else changes meanwhile; raises NotFound."""
    user = await store.user(tx, user_id, lock=True)
    if user is None:
        raise NotFound("there is no such user")
    return user


async def found(tx: Tx, user_id: str) -> store.UserRow:
    """Return a user; raises NotFound."""
    user = await store.user(tx, user_id)
    if user is None:
        raise NotFound("there is no such user")
    return user


async def password_hash(tx: Tx, user_id: str) -> str:
    """Return the hash of a user's password; raises NotFound."""
    known = await store.password_hash(tx, user_id)
    if known is None:
        raise NotFound("there is no such user")
    return known


async def profile(tx: Tx, user_id: str) -> Profile:
    """Return a profile with its limits as they were set; raises NotFound."""
    user = await found(tx, user_id)
    return Profile(
        user_id=user.user_id,
        email=user.email,
        phone=user.phone or "",
        date_of_birth=user.date_of_birth,
        currency=user.currency,
        locale=user.locale,
        marketing_opt_in=user.marketing_opt_in,
        kyc_status=user.kyc_status,
        roles=user.roles,
        limits=await store.limits(tx, user_id),
        excluded_until=user.excluded_until,
        created_at=user.created_at,
    )


async def changed_profile(tx: Tx, user_id: str) -> Profile:
    """Return the profile after a change, as of now, and drop the cached one after the commit."""
    tx.after_commit(lambda: forget_profile(tx.context, user_id))
    return rules.as_of(await profile(tx, user_id), tx.context.now())


async def cached_profile(context: Context, user_id: str) -> Profile:
    """Return a profile as of now, from the cache when it is there; raises NotFound."""

    async def load() -> Profile:
        async with context.transaction() as tx:
            return await profile(tx, user_id)

    kept = await context.cache.read_through(
        profile_key(user_id), Profile, load, ttl_s=PROFILE_TTL_S
    )
    return rules.as_of(kept, context.now())


async def update(context: Context, request: UpdateProfile) -> Profile:
    """Change what the request names; raises Invalid, NotFound or Conflict (the phone is taken)."""
    phone = rules.normalised_phone(request.phone) if request.phone is not None else None
    try:
        async with context.transaction() as tx:
            user = await locked(tx, request.user_id)
            wanted = {
                "phone": user.phone if phone is None else phone,
                "locale": request.locale or user.locale,
                "marketing_opt_in": user.marketing_opt_in
                if request.marketing_opt_in is None
                else request.marketing_opt_in,
            }
            changed = [name for name, value in wanted.items() if value != getattr(user, name)]
            if changed:
                opted_in = bool(wanted["marketing_opt_in"])
                await store.update_profile(
                    tx,
                    user.user_id,
                    phone or user.phone,
                    str(wanted["locale"]),
                    marketing_opt_in=opted_in,
                )
                updated = ProfileUpdated(
                    user_id=user.user_id,
                    locale=str(wanted["locale"]),
                    marketing_opt_in=opted_in,
                    changed=changed,
                )
                await tx.publish(PROFILE_UPDATED, updated, subject=user.user_id)
            return await changed_profile(tx, user.user_id)
    except asyncpg.UniqueViolationError as failure:
        raise Conflict("this phone number has an account already", field="phone") from failure


async def set_limit(context: Context, request: SetLimits) -> Profile:
    """Set one limit as rules.change_limit says; raises NotFound."""
    wanted = PlayerLimit(kind=request.kind, period=request.period, amount=request.amount)
    async with context.transaction() as tx:
        user = await locked(tx, request.user_id)
        current = await store.limit(tx, user.user_id, request.kind, request.period)
        step = rules.change_limit(current, wanted, context.now())
        if step.changed:
            await store.put_limit(tx, user.user_id, step.limit)
            kind = f"{request.kind} {request.period} {request.amount}"
            await audit.note(
                tx, user.user_id, "limit-set" if step.holds else "limit-asked", detail=kind
            )
        if step.holds:
            changed = LimitChanged(
                user_id=user.user_id,
                kind=request.kind,
                period=request.period,
                amount=request.amount,
                effective_at=context.now(),
            )
            await tx.publish(LIMIT_CHANGED, changed, subject=user.user_id)
        return await changed_profile(tx, user.user_id)


async def require_staff(tx: Tx, actor_id: str | None, permission: str) -> None:
    """Let staff pass, and the operator on NATS, whom the broker knows by key; raises Forbidden."""
    if tx.context.caller == "operator":
        return
    actor = await store.user(tx, actor_id) if actor_id is not None else None
    if actor is None:
        raise Forbidden("an operator's identity is needed")
    rules.authorize(actor.standing(), permission, tx.context.now())
