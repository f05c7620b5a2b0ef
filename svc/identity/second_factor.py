"""The second factor: set up, confirmed by a first code, asked for at log-in, and removed again."""

import secrets
from hashlib import sha256
from typing import Literal

from svc.identity import audit, guesses, security_store, totp, users
from svc.identity.contract_security import (
    ConfirmFactor,
    FactorSetUp,
    OfAccount,
    RecoveryCodes,
    RemoveFactor,
)
from svc.identity.passwords import Passwords
from svc.mesh.context import Context
from svc.mesh.database import Tx
from svc.mesh.errors import Conflict, Forbidden
from svc.mesh.types import Empty

RECOVERY_CODES = 10
RECOVERY_ALPHABET = "ABCDEFGHJKMNPQRSTVWXYZ23456789"
RECOVERY_LENGTH = 12
"""Twelve of thirty letters: 58 random bits, so a fast hash keeps them well enough."""
Outcome = Literal["none", "passed", "missing", "wrong"]


async def set_up(request: OfAccount, context: Context) -> FactorSetUp:
    """Begin with a second factor; nothing is asked for until it is confirmed. Raises Conflict."""
    secret = secrets.token_bytes(totp.SECRET_BYTES)
    async with context.transaction() as tx:
        user = await users.found(tx, request.user_id)
        if not await security_store.put_factor(tx, request.user_id, secret, context.now()):
            raise Conflict("a second factor is on already: remove it first")
    return FactorSetUp(secret=totp.shown(secret), uri=totp.uri(secret, user.email))


async def confirm(request: ConfirmFactor, context: Context) -> RecoveryCodes:
    """Turn the second factor on with its first code; raises Conflict, Forbidden or LockedOut."""
    codes = [_recovery_code() for _ in range(RECOVERY_CODES)]
    guessed = guesses.keys("factor", request.user_id, "")
    async with context.transaction() as tx:
        user = await users.found(tx, request.user_id)
    text = await audit.alert_text(context, user.locale, "second-factor-on")
    async with context.transaction() as tx:
        await guesses.check(tx, guessed)
        factor = await security_store.factor(tx, request.user_id)
        if factor is None or factor.confirmed:
            raise Conflict("there is no second factor that waits for its first code")
        step = totp.matching_step(factor.secret, request.code, context.now(), factor.last_step)
        if step is None:
            await guesses.wrong(tx, guessed)
        else:
            await guesses.right(tx, guessed)
            await security_store.use_step(tx, request.user_id, step, context.now())
            await security_store.remove_recovery_codes(tx, request.user_id)
            for code in codes:
                await security_store.add_recovery_code(tx, request.user_id, _digest(code))
            await audit.note(tx, request.user_id, "second-factor-on")
            await audit.alert(tx, request.user_id, text)
    if step is None:
        raise Forbidden("the code is wrong")
    return RecoveryCodes(recovery_codes=codes)


async def remove(request: RemoveFactor, context: Context) -> Empty:
    """Turn the second factor off; raises Conflict, Forbidden or LockedOut."""
    guessed = guesses.keys("user", request.user_id, request.ip)
    async with context.transaction() as tx:
        await guesses.check(tx, guessed)
        user = await users.found(tx, request.user_id)
        password_hash = await users.password_hash(tx, request.user_id)
    right = await Passwords(context.runtime.settings).matches(request.password, password_hash)
    text = await audit.alert_text(context, user.locale, "second-factor-off")
    async with context.transaction() as tx:
        outcome = await check(tx, request.user_id, request.code) if right else "wrong"
        if outcome == "passed":
            await guesses.right(tx, guessed)
            await security_store.remove_factor(tx, request.user_id)
            await security_store.remove_recovery_codes(tx, request.user_id)
            await audit.note(tx, request.user_id, "second-factor-off", ip=request.ip)
            await audit.alert(tx, request.user_id, text)
        elif outcome == "wrong":
            await guesses.wrong(tx, guessed)
    if outcome == "wrong":
        raise Forbidden("the password or the code is wrong")
    if outcome == "none":
        raise Conflict("there is no second factor")
    return Empty()


async def check(tx: Tx, user_id: str, code: str | None) -> Outcome:
    """Use a code of the app or a recovery code up, where a second factor is on."""
    factor = await security_store.factor(tx, user_id)
    if factor is None or not factor.confirmed:
        return "none"
    if code is None:
        return "missing"
    now = tx.context.now()
    step = totp.matching_step(factor.secret, code, now, factor.last_step)
    if step is not None:
        await security_store.use_step(tx, user_id, step, now)
        return "passed"
    if await security_store.use_recovery_code(tx, user_id, _digest(code)):
        await audit.note(tx, user_id, "recovery-code-used")
        return "passed"
    return "wrong"


def _recovery_code() -> str:
    return "".join(secrets.choice(RECOVERY_ALPHABET) for _ in range(RECOVERY_LENGTH))


def _digest(code: str) -> bytes:
    return sha256(code.encode()).digest()
