"""Verification of players: handed in, handed over to whoever verifies, decided, run out.

What a player hands in is kept before anybody is asked, so whatever stops the work in between is
made up for by the sweep.
"""

from datetime import timedelta

from svc.identity import audit, rules, store, users, verification_store
from svc.identity.contract import KYC_CHANGED, KycChanged, KycStatus
from svc.identity.contract_privacy import ExportedVerification, SubmitVerification, Verification
from svc.identity.verifier import verifier_of
from svc.mesh.context import Context
from svc.mesh.database import Tx
from svc.mesh.errors import Unavailable

SWEEP_MAX = 50


async def submit(request: SubmitVerification, context: Context) -> Verification:
    """Take an application in and ask whoever verifies; raises NotFound or Conflict."""
    now = context.now()
    user_id = request.user_id
    applicant = ExportedVerification(
        first_name=request.first_name,
        last_name=request.last_name,
        street=request.street,
        city=request.city,
        country=request.country,
        document_number=request.document_number,
        submitted_at=now,
    )
    async with context.transaction() as tx:
        user = await users.locked(tx, user_id)
        rules.check_application(user.kyc_status)
        await verification_store.put(tx, user_id, applicant)
        await set_status(tx, user, "pending")
        await audit.note(tx, user_id, "verification-submitted")
    try:
        await hand_over(context, user_id)
    except Unavailable as failure:
        context.log.info("verification waits", cause=failure.detail)
    async with context.transaction() as tx:
        user = await users.found(tx, user_id)
    return Verification(status=user.kyc_status, submitted_at=now)


async def hand_over(context: Context, user_id: str) -> None:
    """Ask whoever verifies, unless they were asked; raises Unavailable."""
    async with context.transaction() as tx:
        user = await users.found(tx, user_id)
        applicant = await verification_store.waiting_of(tx, user_id)
    if applicant is None:
        return
    born = user.date_of_birth.isoformat() if user.date_of_birth else ""
    outcome = await verifier_of(context.runtime.settings).check(user_id, born, applicant)
    async with context.transaction() as tx:
        user = await users.locked(tx, user_id)
        await verification_store.handed_over(tx, user_id, applicant.submitted_at, context.now())
        # Staff, or a newer application, may have decided meanwhile: that stands.
        if user.kyc_status == "pending":
            await set_status(tx, user, outcome)


async def sweep(context: Context) -> None:
    """Hand over what waits since an outage."""
    async with context.transaction() as tx:
        waiting = await verification_store.waiting(tx, SWEEP_MAX)
    for user_id in waiting:
        try:
            await hand_over(context, user_id)
        except Unavailable as failure:
            context.log.info("verifications wait", waiting=len(waiting), cause=failure.detail)
            return


async def expire(tx: Tx) -> None:
    """Let verifications run out that are older than `KYC_VALID_DAYS` (0, the default: never)."""
    context = tx.context
    days = int(context.runtime.settings.get("KYC_VALID_DAYS", "0"))
    if days <= 0:
        return
    for user_id in await verification_store.verified_before(tx, context.now() - timedelta(days)):
        await set_status(tx, await users.locked(tx, user_id), "expired")


async def set_status(
    tx: Tx, user: store.UserRow, status: KycStatus, actor_id: str | None = None
) -> None:
    """Store and tell an outcome; the same one again is no event."""
    if user.kyc_status == status:
        return
    await store.set_kyc(tx, user.user_id, status, tx.context.now())
    await audit.note(tx, user.user_id, "verification", actor_id=actor_id, detail=status)
    changed = KycChanged(user_id=user.user_id, status=status)
    await tx.publish(KYC_CHANGED, changed, subject=user.user_id)
    tx.after_commit(lambda: users.forget_profile(tx.context, user.user_id))
