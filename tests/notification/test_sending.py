"""Messages wait while others are down, and leave as soon as they can."""

from datetime import UTC, datetime

from svc.casino import contract as casino
from svc.identity import contract as identity
from svc.marketing import contract as marketing
from svc.mesh.clock import new_id
from svc.notification.contract import (
    LIST_MESSAGES,
    NOTIFICATION_FAILED,
    InboxOf,
)
from svc.scheduler import contract as scheduler
from tests.notification.conftest import Provider, Register, User, inbox, payout, received
from tests.support.mesh import Operator, Services
from tests.support.platform import Platform
from tests.support.waiting import until


async def test_a_failing_provider_delays_sms_but_not_in_app_messages(
    register: Register, operator: Operator, provider: Provider
) -> None:
    user = await register()
    await received(provider, user.phone)
    await provider.faults(error_5xx=2)
    try:
        await operator.publish(
            casino.CASINO_PAYOUT_COMPLETE, payout(user.user_id, 100), subject=user.user_id
        )
        await inbox(operator, user, 2)
        assert len(await received(provider, user.phone, 2)) == 2
    finally:
        await provider.faults()


async def test_messages_wait_while_identity_and_localization_are_down(
    register: Register, operator: Operator, platform: Platform, services: Services
) -> None:
    await register()
    await services.stop("identity", "localization", "notification")
    await services("notification")  # it knows no text and no address now
    user = User(new_id(), "", "")
    try:
        await operator.publish(
            marketing.BONUS_AWARDED,
            marketing.BonusAwarded(
                award_id=new_id(),
                user_id=user.user_id,
                campaign="welcome-spins",
                kind="free_spins",
                amount=0,
                currency="EUR",
                spins=10,
                transfer_id=new_id(),
                expires_at=None,
            ),
            subject=user.user_id,
        )
        await operator.publish(
            identity.USER_REGISTERED,
            identity.UserRegistered(
                user_id=user.user_id, currency="EUR", locale="pt-BR", marketing_opt_in=False
            ),
            subject=user.user_id,
        )

        async def tried() -> bool:
            async with platform.database("notification") as database:
                waiting = await database.fetchval(
                    "SELECT count(*) FROM messages WHERE user_id = $1 AND status = 'queued'"
                    " AND attempts > 0 AND reason IS NOT NULL",
                    user.user_id,
                )
            return waiting == 4

        await until(tried)
        page = await operator.call(LIST_MESSAGES, InboxOf(user_id=user.user_id))
        assert page.items == []
    finally:
        await services("identity", "localization")
    messages = await inbox(operator, user, 2)
    assert {message.text for message in messages} == {
        "Você recebeu 10 rodadas grátis.",
        "Boas-vindas à betmesh! Sua conta está pronta. Jogue dentro dos seus limites.",
    }
    # identity knows no such user: the SMS fails for good instead of waiting for ever.
    await operator.heard(
        NOTIFICATION_FAILED, lambda e: (e.user_id, e.channel) == (user.user_id, "sms")
    )


async def test_what_a_dead_instance_left_leaves_when_the_job_comes(
    register: Register, operator: Operator, platform: Platform
) -> None:
    user = await register()
    await inbox(operator, user, 1)
    async with platform.database("notification") as database:
        await database.execute(
            "INSERT INTO messages (message_id, event_id, user_id, template, category, channel,"
            " arguments, cause, correlation_id, at, status, attempts, next_attempt_at, created_at)"
            " VALUES ($1, $1, $2, 'kyc_verified', 'transactional', 'in_app', '{}', 'test', '',"
            " now(), 'queued', 1, now(), now())",
            new_id(),
            user.user_id,
        )
    await operator.publish(
        scheduler.JOB_DUE,
        scheduler.JobDue(
            service="notification",
            name="retry-queued",
            key="",
            due_at=datetime.now(UTC),
            payload={},
        ),
        subject="notification.retry-queued",
    )
    (late, _) = await inbox(operator, user, 2)
    assert late.template == "kyc_verified"
