"""Codes that set a new password: asked for by anybody, made only when their SMS leaves.

The answer to a request does the same work for every address. Whether there is an account is looked
at afterwards, when the service hears its own event; and notification is told only of a reference,
for which it asks when the SMS is about to leave. So the code stands in no stream and no table.
"""

import secrets
from datetime import timedelta

from svc.identity import audit, guesses, reset_store, rules, store
from svc.identity.contract_privacy import (
    RESET_ASKED,
    IssueCode,
    IssuedCode,
    ResetAsked,
)
from svc.identity.contract_security import RequestReset
from svc.identity.passwords import Passwords
from svc.mesh.context import Context
from svc.mesh.database import Tx
from svc.mesh.envelope import CloudEvent
from svc.mesh.errors import NotFound
from svc.mesh.types import Empty
from svc.notification import contract as notification

CODE_DIGITS = 8
CODE_LIFETIME = timedelta(minutes=10)
CODE_ATTEMPTS = 5
CODE_PAUSE = timedelta(minutes=1)
"""A second request within this time sends nothing: an SMS costs, and tires who gets it."""


async def request(asked: RequestReset, context: Context) -> Empty:
    """Take a request in; the answer and its cost say nothing about the address."""
    email_key = rules.key_of(asked.email)
    guessed = guesses.keys("reset-request", email_key, asked.ip)
    async with context.transaction() as tx:
        await guesses.check(tx, guessed)
        await guesses.wrong(tx, guessed)
        reset_id = context.new_id()
        ip = audit.storable(asked.ip)
        await reset_store.put_request(tx, reset_id, email_key, ip, context.now())
        await tx.publish(RESET_ASKED, ResetAsked(reset_id=reset_id), subject=reset_id)
    return Empty()


async def asked(event: CloudEvent[ResetAsked], tx: Tx, context: Context) -> None:
    """Have a code sent by SMS, where the address has an account and no code was just sent."""
    reset_id, now = event.data.reset_id, context.now()
    found = await reset_store.take_request(tx, reset_id)
    if found is None:
        return
    email_key, ip = found
    known = await store.credentials(tx, email_key)
    if known is None:
        return
    user_id = known[0]
    span = (now - CODE_PAUSE, now, now + CODE_LIFETIME)
    if not await reset_store.put_code(tx, user_id, reset_id, span, CODE_ATTEMPTS):
        return
    await audit.note(tx, user_id, "password-reset-requested", ip=ip)
    notice = notification.NotificationRequested(
        user_id=user_id,
        template="one_time_code",
        category="security",
        arguments={"code_of": reset_id},
    )
    await tx.publish(notification.NOTIFICATION_REQUESTED, notice, subject=user_id)


async def issue(request: IssueCode, context: Context) -> IssuedCode:
    """Make the code of a request and return it; asked again, a new one takes its place.

    Raises NotFound once the request is too old, or its code was used or guessed at too often.
    """
    code = f"{secrets.randbelow(10**CODE_DIGITS):0{CODE_DIGITS}}"
    code_hash = await Passwords(context.runtime.settings).hash(code)
    async with context.transaction() as tx:
        if not await reset_store.set_code(
            tx, request.user_id, request.code_id, code_hash, context.now()
        ):
            raise NotFound("no code is asked for any more")
    return IssuedCode(code=code)
