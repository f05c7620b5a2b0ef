"""Passwords: checked at log-in, changed by their owner, and set anew with a code from an SMS."""

from uuid import UUID

from svc.identity import (
    audit,
    guesses,
    reset_store,
    rules,
    second_factor,
    sessions,
    store,
    users,
)
from svc.identity.contract import LogIn, Tokens
from svc.identity.contract_security import (
    ChangePassword,
    ConfirmReset,
    SecondFactorRequired,
)
from svc.identity.passwords import Passwords
from svc.mesh.context import Context
from svc.mesh.errors import Forbidden, Unauthenticated
from svc.mesh.types import Empty

WRONG = "the e-mail address or the password is wrong"
WRONG_CODE = "the code is wrong or has expired: ask for a new one"
NOBODY = str(UUID(int=0))
"""Stands for the owner of an address that nobody has: finding no code takes as long."""
CHANGED = "password-changed"


async def log_in(request: LogIn, context: Context) -> Tokens:
    """Open a session; an unknown address and a wrong password look and cost the same.

    Raises Unauthenticated, LockedOut after too many wrong guesses, or SecondFactorRequired.
    """
    email_key = rules.key_of(request.email)
    guessed = guesses.keys("log-in", email_key, request.ip)
    async with context.transaction() as tx:
        await guesses.check(tx, guessed)
        known = await store.credentials(tx, email_key)
    passwords = Passwords(context.runtime.settings)
    right = await passwords.matches(request.password, known[1] if known else None)
    if known is None or not right:
        await _count_wrong(context, guessed, known[0] if known else None, request.ip)
        raise Unauthenticated(WRONG)
    user_id, password_hash = known
    outdated = passwords.outdated(password_hash)
    renewed = await passwords.hash(request.password) if outdated else ""
    async with context.transaction() as tx:
        outcome = await second_factor.check(tx, user_id, request.code)
        if outcome in {"none", "passed"}:
            await guesses.right(tx, guessed)
            if renewed:
                await store.set_password_hash(tx, user_id, password_hash, renewed)
            await audit.note(tx, user_id, "logged-in", ip=request.ip, device=request.device)
            return await sessions.open_session(tx, await users.found(tx, user_id), request)
    if outcome == "missing":
        raise SecondFactorRequired("the code of your authenticator app is needed")
    await _count_wrong(context, guessed, user_id, request.ip)
    raise Unauthenticated("the code is wrong")


async def change(request: ChangePassword, context: Context) -> Empty:
    """Set a new password and end all other sessions; raises Forbidden or LockedOut."""
    guessed = guesses.keys("user", request.user_id, request.ip)
    async with context.transaction() as tx:
        await guesses.check(tx, guessed)
        user = await users.found(tx, request.user_id)
        current = await users.password_hash(tx, request.user_id)
    passwords = Passwords(context.runtime.settings)
    if not await passwords.matches(request.current_password, current):
        await _count_wrong(context, guessed, request.user_id, request.ip)
        raise Forbidden("the current password is wrong")
    new = await passwords.hash(request.new_password)
    text = await audit.alert_text(context, user.locale, CHANGED)
    async with context.transaction() as tx:
        await guesses.right(tx, guessed)
        await store.set_password_hash(tx, request.user_id, current, new)
        await sessions.revoke_all(tx, request.user_id, CHANGED, but=request.session_id)
        await audit.note(tx, request.user_id, CHANGED, ip=request.ip)
        await audit.alert(tx, request.user_id, text)
    return Empty()


async def confirm_reset(request: ConfirmReset, context: Context) -> Empty:
    """Set a new password with a code and end all sessions; raises Unauthenticated or LockedOut.

    An attempt is used up before the code is compared, so guessing side by side gains nothing.
    """
    email_key = rules.key_of(request.email)
    guessed = guesses.keys("reset", email_key, request.ip)
    async with context.transaction() as tx:
        await guesses.check(tx, guessed)
        known = await store.credentials(tx, email_key)
        whose = known[0] if known else NOBODY
        code_hash = await reset_store.take_attempt(tx, whose, context.now())
    passwords = Passwords(context.runtime.settings)
    right = await passwords.matches(request.code, code_hash)
    if known is None or code_hash is None or not right:
        await _count_wrong(context, guessed, known[0] if known else None, request.ip)
        raise Unauthenticated(WRONG_CODE)
    user_id, current = known
    new = await passwords.hash(request.new_password)
    async with context.transaction() as tx:
        user = await users.found(tx, user_id)
    text = await audit.alert_text(context, user.locale, CHANGED)
    async with context.transaction() as tx:
        if not await reset_store.use_code(tx, user_id, code_hash):
            raise Unauthenticated(WRONG_CODE)
        await guesses.right(tx, guessed)
        await store.set_password_hash(tx, user_id, current, new)
        await sessions.revoke_all(tx, user_id, CHANGED)
        await audit.note(tx, user_id, "password-reset", ip=request.ip)
        await audit.alert(tx, user_id, text)
    return Empty()


async def _count_wrong(
    context: Context, guessed: guesses.Keys, user_id: str | None, ip: str
) -> None:
    async with context.transaction() as tx:
        locked = await guesses.wrong(tx, guessed)
        await audit.note(tx, user_id, "locked-out" if locked else "wrong-guess", ip=ip)
