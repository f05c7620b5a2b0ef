"""Accounts, profiles, limits and permissions, as callers of identity see them."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from svc.identity import contract as identity
from svc.identity.contract import (
    AdminUser,
    Authorize,
    OfUser,
    PlayerLimit,
    SelfExclude,
    SetKyc,
    SetLimits,
    TakeTimeOut,
    UnderAge,
    UpdateProfile,
)
from svc.mesh.clock import new_id
from svc.mesh.errors import Conflict, Forbidden, Invalid, NotFound
from svc.notification import contract as notification
from tests.identity.people import logged_in, profile_of, registered, somebody
from tests.support.mesh import Operator, Services
from tests.support.platform import Platform
from tests.support.waiting import until


@pytest.fixture(autouse=True)
async def running(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARGON2_MEMORY_KIB", "64")
    monkeypatch.setenv("ARGON2_TIME_COST", "1")
    monkeypatch.setenv("EXCLUSION_CONFIRMED_BY", "none")
    await services("identity")


async def test_a_registration_opens_an_account_and_tells_nothing_personal(
    operator: Operator,
) -> None:
    request = somebody(locale="pt-BR", marketing_opt_in=True)
    reply = await operator.call(identity.REGISTER, request)
    event = await operator.heard(
        identity.USER_REGISTERED, lambda data: data.user_id == reply.user_id
    )
    assert (event.subject, event.data.currency) == (reply.user_id, "EUR")
    assert (event.data.locale, event.data.marketing_opt_in) == ("pt-BR", True)
    assert request.email not in repr(event)
    assert request.phone not in repr(event)
    profile = await profile_of(operator, reply.user_id)
    assert (profile.email, profile.phone) == (request.email, request.phone)
    assert (profile.roles, profile.kyc_status, profile.limits) == (["player"], "none", [])


async def test_an_address_or_a_number_that_is_taken_is_a_conflict_that_names_it(
    operator: Operator,
) -> None:
    first = somebody()
    await operator.call(identity.REGISTER, first)
    with pytest.raises(Conflict) as refusal:
        await operator.call(identity.REGISTER, somebody(email=first.email.upper()))
    assert refusal.value.members == {"field": "email"}
    with pytest.raises(Conflict) as refusal:
        await operator.call(identity.REGISTER, somebody(phone=first.phone))
    assert refusal.value.members == {"field": "phone"}


async def test_of_many_registrations_with_one_address_one_succeeds(operator: Operator) -> None:
    email = f"{new_id()}@example.com"
    outcomes = await asyncio.gather(
        *(operator.call(identity.REGISTER, somebody(email=email)) for _ in range(6)),
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 5
    assert sum(isinstance(outcome, identity.Registered) for outcome in outcomes) == 1


async def test_who_is_not_yet_eighteen_is_refused_and_from_the_birthday_on_welcome(
    operator: Operator,
) -> None:
    today = datetime.now(UTC).date()
    birthday = today.replace(year=today.year - 18, day=min(today.day, 28))
    too_young = somebody(date_of_birth=birthday + timedelta(days=31))
    with pytest.raises(UnderAge):
        await operator.call(identity.REGISTER, too_young)
    await operator.call(identity.REGISTER, somebody(date_of_birth=birthday))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", "not an address"),
        ("phone", "+49"),
        ("phone", "0151 2345678"),
        ("phone", "+4915112345678\n"),
        ("currency", "ZZQ"),
        ("currency", "eur"),
        ("password", "short"),
        ("locale", "english"),
        ("locale", "de\n"),
        ("currency", "EUR\n"),
    ],
)
async def test_a_wrong_field_is_refused_by_its_name(
    operator: Operator, field: str, value: str
) -> None:
    with pytest.raises(Invalid, match=rf"\$\.{field}"):
        await operator.call(identity.REGISTER, somebody(**{field: value}))


async def test_a_profile_changes_only_where_asked_and_the_event_names_what(
    operator: Operator,
) -> None:
    user_id, _ = await registered(operator)
    before = await profile_of(operator, user_id)
    changed = await operator.call(
        identity.UPDATE_PROFILE, UpdateProfile(user_id=user_id, locale="de")
    )
    assert (changed.locale, changed.phone) == ("de", before.phone)
    assert await profile_of(operator, user_id) == changed
    event = await operator.heard(identity.PROFILE_UPDATED, lambda data: data.user_id == user_id)
    assert event.data.changed == ["locale"]


async def test_a_phone_number_of_somebody_else_is_a_conflict(operator: Operator) -> None:
    other = somebody()
    await operator.call(identity.REGISTER, other)
    user_id, _ = await registered(operator)
    with pytest.raises(Conflict):
        await operator.call(
            identity.UPDATE_PROFILE, UpdateProfile(user_id=user_id, phone=other.phone)
        )


async def test_a_limit_falls_at_once_and_a_raise_is_confirmed_after_a_day(
    operator: Operator, platform: Platform
) -> None:
    user_id, _ = await registered(operator)

    async def set_to(amount: int) -> PlayerLimit:
        profile = await operator.call(
            identity.SET_LIMITS,
            SetLimits(user_id=user_id, kind="deposit", period="day", amount=amount),
        )
        assert (await profile_of(operator, user_id)).limits == profile.limits
        return profile.limits[0]

    assert (await set_to(10_000)).amount == 10_000
    for _ in range(2):  # asked again too early, it goes on waiting
        raised = await set_to(20_000)
        assert (raised.amount, raised.pending_amount) == (10_000, 20_000)
    async with platform.database("identity") as connection:
        await connection.execute(
            "UPDATE limits SET pending_from = now() WHERE user_id = $1", user_id
        )
    confirmed = await set_to(20_000)
    assert (confirmed.amount, confirmed.pending_amount) == (20_000, None)
    assert (await set_to(5_000)).amount == 5_000
    told = await operator.all_heard(
        identity.LIMIT_CHANGED, lambda data: data.user_id == user_id, count=3
    )
    # Who enforces limits hears of a raise only once it holds.
    assert [event.data.amount for event in told] == [10_000, 20_000, 5_000]
    assert all(event.data.effective_at <= event.time for event in told)


async def test_a_self_exclusion_stops_play_but_not_withdrawals_and_is_never_shortened(
    operator: Operator,
) -> None:
    user_id, email = await registered(operator)
    bet = Authorize(user_id=user_id, permission="bet")
    await operator.call(identity.AUTHORIZE, bet)
    excluded = await operator.call(identity.SELF_EXCLUDE, SelfExclude(user_id=user_id, months=6))
    with pytest.raises(identity.SelfExcluded) as refusal:
        await operator.call(identity.AUTHORIZE, bet)
    assert "until" in refusal.value.members
    await operator.call(identity.AUTHORIZE, Authorize(user_id=user_id, permission="withdraw"))
    paused = await operator.call(identity.TAKE_TIME_OUT, TakeTimeOut(user_id=user_id, days=1))
    assert paused.excluded_until == excluded.excluded_until
    event = await operator.heard(identity.SELF_EXCLUDED, lambda data: data.user_id == user_id)
    assert (event.data.until, event.data.time_out) == (excluded.excluded_until, False)
    await logged_in(operator, email)
    known = await operator.call(identity.GET_USER, OfUser(user_id=user_id))
    assert known.status == "excluded"


async def test_staff_verifies_and_players_do_not(operator: Operator, platform: Platform) -> None:
    user_id, _ = await registered(operator)
    async with platform.nats("gateway") as connection:
        gateway = Operator(platform, connection)
        gateway.caller.inbox = gateway.caller.inbox.replace("operator", "gateway")
        await gateway.caller.start()
        verify = SetKyc(user_id=user_id, status="verified", actor_id=user_id)
        with pytest.raises(Forbidden):
            await gateway.call(identity.SET_KYC, verify)
        with pytest.raises(Forbidden):
            await gateway.call(identity.ADMIN_USER, AdminUser(user_id=user_id))
        async with platform.database("identity") as database:
            admin = await database.fetchval("SELECT user_id FROM users WHERE 'admin' = ANY (roles)")
        known = await gateway.call(
            identity.SET_KYC, SetKyc(user_id=user_id, status="verified", actor_id=str(admin))
        )
    assert known.kyc_status == "verified"
    event = await operator.heard(identity.KYC_CHANGED, lambda data: data.user_id == user_id)
    assert event.data.status == "verified"
    seen = await operator.call(identity.ADMIN_USER, AdminUser(user_id=user_id))
    assert seen.kyc_status == "verified"


async def test_who_is_unknown_is_not_found(operator: Operator) -> None:
    nobody = new_id()
    for call in (identity.PROFILE, identity.GET_USER, identity.CONTACT):
        with pytest.raises(NotFound):
            await operator.call(call, OfUser(user_id=nobody))
    with pytest.raises(NotFound):
        await operator.call(identity.AUTHORIZE, Authorize(user_id=nobody, permission="bet"))


async def test_receipts_of_messages_show_whether_a_contact_works_in_any_order(
    operator: Operator, platform: Platform
) -> None:
    user_id, _ = await registered(operator)
    message = {
        "message_id": new_id(),
        "user_id": user_id,
        "template": "welcome",
        "channel": "sms",
        "cause": new_id(),
    }
    failed = notification.NotificationFailed(**message, reason="no such number")  # pyright: ignore[reportArgumentType] -- fields by name
    delivered = notification.NotificationDelivered(**message)  # pyright: ignore[reportArgumentType] -- fields by name
    event_id = new_id()
    for _ in range(2):
        await operator.publish(
            notification.NOTIFICATION_FAILED, failed, subject=user_id, event_id=event_id
        )
    await operator.publish(notification.NOTIFICATION_DELIVERED, delivered, subject=user_id)
    async with platform.database("identity") as connection:
        row = await until(
            lambda: connection.fetchrow(
                "SELECT delivered_at, failed_at, failures FROM contact_health"
                " WHERE user_id = $1 AND delivered_at IS NOT NULL AND failed_at IS NOT NULL",
                user_id,
            ),
            "both are noted",
        )
    assert row["failures"] == 1
