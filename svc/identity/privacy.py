"""Personal data: all of it for its owner, and none of it left once they leave.

Personal data lives here and, copied for sending, in notification, which hears of an erasure. Every
other service knows ids alone, which the ledger must keep.
"""

from svc.identity import (
    audit,
    guesses,
    privacy_store,
    rules,
    security_store,
    session_store,
    sessions,
    store,
    users,
    verification_store,
)
from svc.identity.contract_privacy import (
    USER_ERASED,
    Erase,
    Export,
    ExportedLimit,
    MoneyLeft,
    OwnData,
    UserErased,
)
from svc.identity.passwords import Passwords
from svc.mesh.context import Context
from svc.mesh.errors import Conflict, Forbidden, NotFound
from svc.mesh.types import Empty
from svc.wallet import contract as wallet

EVENTS_MAX = 1_000
"""The newest; the pages of `security_events` have all of them."""


async def export(request: OwnData, context: Context) -> Export:
    """Return everything personal that is kept of a user; raises NotFound."""
    user_id = request.user_id
    async with context.transaction() as tx:
        user = await users.found(tx, user_id)
        limits = await store.limits(tx, user_id)
        found = Export(
            user_id=user_id,
            email=user.email,
            phone=user.phone or "",
            date_of_birth=user.date_of_birth,
            currency=user.currency,
            locale=user.locale,
            marketing_opt_in=user.marketing_opt_in,
            kyc_status=user.kyc_status,
            roles=user.roles,
            created_at=user.created_at,
            excluded_until=user.excluded_until,
            limits=[ExportedLimit(kind=x.kind, period=x.period, amount=x.amount) for x in limits],
            verification=await verification_store.of_user(tx, user_id),
            sessions=await session_store.open_sessions(
                tx, user_id, "", context.now(), limit=rules.SESSIONS_MAX
            ),
            security_events=await security_store.events(tx, user_id, None, EVENTS_MAX),
        )
        await audit.note(tx, user_id, "exported")
    return found


async def _check_money(user_id: str, context: Context) -> None:
    """Raise MoneyLeft unless nothing is owed, to either side; bonus money lapses with the account.

    Bets that are open still come to their end, and the ledger keeps what they pay under the id.
    """
    try:
        left = await context.call(wallet.BALANCE, wallet.BalanceOf(user_id=user_id))
    except NotFound:
        return  # no wallet was ever opened
    if left.cash or left.held:
        raise MoneyLeft(
            "the wallet must be empty first",
            currency=left.currency, cash=left.cash, held=left.held, debt=left.debt,
        )  # fmt: skip


async def erase(request: Erase, context: Context) -> Empty:
    """Close an account and forget everything personal.

    Raises Forbidden, MoneyLeft, Conflict or LockedOut, and Unavailable while the wallet does not
    answer: nobody could ever get money out of an account that is forgotten. An exclusion must
    outlast the wish to forget it (UKGC LCCP 3.5.3), so it is waited for.
    """
    user_id = request.user_id
    guessed = guesses.keys("user", user_id, request.ip)
    async with context.transaction() as tx:
        await guesses.check(tx, guessed)
        current = await users.password_hash(tx, user_id)
    if not await Passwords(context.runtime.settings).matches(request.password, current):
        async with context.transaction() as tx:
            await guesses.wrong(tx, guessed)
        raise Forbidden("the password is wrong")
    await _check_money(user_id, context)
    async with context.transaction() as tx:
        user = await users.locked(tx, user_id)
        if rules.excluded(user.standing(), context.now()):
            raise Conflict("an account is not erased before its exclusion ends")
        if not rules.STAFF_ROLES.isdisjoint(user.roles):
            raise Conflict("staff must hand back their roles first")
        await sessions.revoke_all(tx, user_id, "erased")
        await audit.note(tx, user_id, "erased")
        for forget in privacy_store.FORGET:
            await forget(tx, user_id)
        await privacy_store.close(tx, user_id, context.now())
        await tx.publish(USER_ERASED, UserErased(user_id=user_id), subject=user_id)
        tx.after_commit(lambda: users.forget_profile(context, user_id))
    return Empty()
