"""identity as its callers see it: messages in, answers, refusals and events out."""

import asyncio
import secrets
from datetime import UTC, date, datetime, timedelta

import pytest

from svc.identity import contract as identity
from svc.identity.contract import (
    AdminUser,
    Authorize,
    LogIn,
    LogOut,
    OfUser,
    Profile,
    Refresh,
    Register,
    SelfExclude,
    SetKyc,
    SetLimits,
    TakeTimeOut,
    Tokens,
    UnderAge,
    UpdateProfile,
    VerifyToken,
)
from svc.mesh import tokens
from svc.mesh.clock import new_id
from svc.mesh.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated
from svc.notification import contract as notification
from svc.scheduler import contract as scheduler
from tests.support.mesh import Operator, Services
from tests.support.platform import Platform

PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
async def running(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARGON2_MEMORY_KIB", "64")
    monkeypatch.setenv("ARGON2_TIME_COST", "1")
    await services("identity")


def somebody(**changes: object) -> Register:
    fields: dict[str, object] = {
        "email": f"{new_id()}@example.com",
        "phone": f"+49151{secrets.randbelow(10**8):08}",
        "password": PASSWORD,
        "date_of_birth": date(1990, 5, 17),
        "currency": "EUR",
    }
    return Register(**(fields | changes))  # pyright: ignore[reportArgumentType] -- fields by name


async def registered(operator: Operator) -> tuple[str, str]:
    """A new player's id and e-mail address."""
    request = somebody()
    reply = await operator.call(identity.REGISTER, request)
    return reply.user_id, request.email


async def logged_in(operator: Operator, email: str) -> Tokens:
    return await operator.call(identity.LOG_IN, LogIn(email=email, password=PASSWORD))


async def profile_of(operator: Operator, user_id: str) -> Profile:
    return await operator.call(identity.PROFILE, OfUser(user_id=user_id))


async def bucket(platform: Platform, key: str) -> bytes | None:
    """What gateways see in identity's bucket."""
    async with platform.nats("gateway") as connection:
        store = await connection.jetstream().key_value("identity")
        return (await store.get(key)).value


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


async def test_a_log_in_gives_tokens_that_gateways_can_check_by_themselves(
    operator: Operator, platform: Platform
) -> None:
    user_id, email = await registered(operator)
    pair = await logged_in(operator, email.upper())
    assert (pair.token_type, pair.expires_in) == ("Bearer", 600)
    published = await bucket(platform, tokens.JWKS_KEY)
    assert published is not None
    claims = tokens.verify(pair.access_token, tokens.keys_of(published), datetime.now(UTC))
    assert (claims.sub, claims.roles, claims.currency) == (user_id, ["player"], "EUR")
    holder = await operator.call(identity.VERIFY_TOKEN, VerifyToken(token=pair.access_token))
    assert (holder.user_id, holder.session_id) == (user_id, claims.sid)
    event = await operator.heard(identity.USER_LOGGED_IN, lambda data: data.user_id == user_id)
    assert event.data.session_id == claims.sid


async def test_an_unknown_address_and_a_wrong_password_get_the_same_answer(
    operator: Operator,
) -> None:
    _, email = await registered(operator)
    answers: list[str] = []
    for address, password in (
        (email, "another password"),
        (f"{new_id()}@example.com", PASSWORD),
        ("not an address", PASSWORD),
    ):
        with pytest.raises(Unauthenticated) as refusal:
            await operator.call(identity.LOG_IN, LogIn(email=address, password=password))
        answers.append(refusal.value.detail)
    assert len(set(answers)) == 1


async def test_an_unknown_address_costs_a_password_check_too(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Costly parameters, so that the check outweighs everything else by far.
    monkeypatch.setenv("ARGON2_MEMORY_KIB", "32768")
    monkeypatch.setenv("ARGON2_TIME_COST", "4")
    _, email = await registered(operator)
    loop = asyncio.get_running_loop()

    async def refusal_s(address: str) -> float:
        began = loop.time()
        with pytest.raises(Unauthenticated):
            await operator.call(identity.LOG_IN, LogIn(email=address, password="wrong password"))
        return loop.time() - began

    await refusal_s(f"{new_id()}@example.com")  # makes what unknown ones are compared with
    known = min([await refusal_s(email) for _ in range(3)])
    unknown = min([await refusal_s(f"{new_id()}@example.com") for _ in range(3)])
    assert unknown > known / 2


async def test_whatever_a_client_tells_about_itself_it_can_log_in(operator: Operator) -> None:
    _, email = await registered(operator)
    device = "zero \x00 and long " * 50
    request = LogIn(email=email, password=PASSWORD, device=device, ip="::1")
    assert (await operator.call(identity.LOG_IN, request)).expires_in == 600


async def test_a_hash_of_older_parameters_is_renewed_at_the_next_log_in(
    operator: Operator, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_id, email = await registered(operator)
    monkeypatch.setenv("ARGON2_MEMORY_KIB", "128")
    await logged_in(operator, email)
    async with platform.database("identity") as connection:
        stored = await connection.fetchval(
            "SELECT password_hash FROM users WHERE user_id = $1", user_id
        )
    assert stored.startswith("$argon2id$v=19$m=128,t=1,p=1$")
    await logged_in(operator, email)


async def test_a_refresh_token_gives_the_next_pair_of_the_same_session(operator: Operator) -> None:
    _, email = await registered(operator)
    first = await logged_in(operator, email)
    second = await operator.call(identity.REFRESH, Refresh(refresh_token=first.refresh_token))
    third = await operator.call(identity.REFRESH, Refresh(refresh_token=second.refresh_token))
    sessions = {
        (
            await operator.call(identity.VERIFY_TOKEN, VerifyToken(token=pair.access_token))
        ).session_id
        for pair in (first, second, third)
    }
    assert len(sessions) == 1
    assert len({first.refresh_token, second.refresh_token, third.refresh_token}) == 3


async def test_a_refresh_token_used_twice_ends_its_session_and_tells_the_owner(
    operator: Operator, platform: Platform
) -> None:
    user_id, email = await registered(operator)
    first = await logged_in(operator, email)
    other = await logged_in(operator, email)
    second = await operator.call(identity.REFRESH, Refresh(refresh_token=first.refresh_token))
    for token in (first.refresh_token, second.refresh_token):
        with pytest.raises(Unauthenticated):
            await operator.call(identity.REFRESH, Refresh(refresh_token=token))
    with pytest.raises(Unauthenticated):
        await operator.call(identity.VERIFY_TOKEN, VerifyToken(token=second.access_token))
    revoked = await operator.heard(identity.SESSION_REVOKED, lambda data: data.user_id == user_id)
    notice = await operator.heard(
        notification.NOTIFICATION_REQUESTED, lambda data: data.user_id == user_id
    )
    assert notice.data.category == "security"
    assert await bucket(platform, tokens.revoked_key(revoked.data.session_id)) is not None
    # The other session of the same user goes on.
    await operator.call(identity.REFRESH, Refresh(refresh_token=other.refresh_token))


async def test_of_two_refreshes_at_once_at_most_one_gets_a_pair(operator: Operator) -> None:
    _, email = await registered(operator)
    pair = await logged_in(operator, email)
    request = Refresh(refresh_token=pair.refresh_token)
    outcomes = await asyncio.gather(
        *(operator.call(identity.REFRESH, request) for _ in range(2)), return_exceptions=True
    )
    assert sum(isinstance(outcome, Tokens) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, Unauthenticated) for outcome in outcomes) == 1


async def test_an_unknown_refresh_token_is_refused(operator: Operator) -> None:
    with pytest.raises(Unauthenticated):
        await operator.call(identity.REFRESH, Refresh(refresh_token="made up"))


async def test_refresh_tokens_are_stored_as_hashes_only(
    operator: Operator, platform: Platform
) -> None:
    _, email = await registered(operator)
    pair = await logged_in(operator, email)
    async with platform.database("identity") as connection:
        rows = await connection.fetch("SELECT token_hash::text AS hash FROM refresh_tokens")
    assert rows
    assert all(pair.refresh_token.encode().hex() not in row["hash"] for row in rows)


async def test_logging_out_ends_the_session_for_gateways_and_twice_is_once(
    operator: Operator, platform: Platform
) -> None:
    user_id, email = await registered(operator)
    pair = await logged_in(operator, email)
    holder = await operator.call(identity.VERIFY_TOKEN, VerifyToken(token=pair.access_token))
    request = LogOut(user_id=user_id, session_id=holder.session_id)
    for _ in range(2):
        await operator.call(identity.LOG_OUT, request)
    assert await bucket(platform, tokens.revoked_key(holder.session_id)) == b"true"
    with pytest.raises(Unauthenticated):
        await operator.call(identity.VERIFY_TOKEN, VerifyToken(token=pair.access_token))
    with pytest.raises(Unauthenticated):
        await operator.call(identity.REFRESH, Refresh(refresh_token=pair.refresh_token))
    await operator.heard(identity.SESSION_REVOKED, lambda data: data.user_id == user_id)
    said = await operator.all_heard(
        identity.SESSION_REVOKED, lambda data: data.session_id == holder.session_id
    )
    assert len(said) == 1


async def test_nobody_ends_the_session_of_somebody_else(operator: Operator) -> None:
    _, email = await registered(operator)
    stranger, _ = await registered(operator)
    pair = await logged_in(operator, email)
    holder = await operator.call(identity.VERIFY_TOKEN, VerifyToken(token=pair.access_token))
    await operator.call(identity.LOG_OUT, LogOut(user_id=stranger, session_id=holder.session_id))
    await operator.call(identity.VERIFY_TOKEN, VerifyToken(token=pair.access_token))


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


async def test_a_limit_falls_at_once_and_a_raise_waits_a_day(operator: Operator) -> None:
    user_id, _ = await registered(operator)

    async def set_to(amount: int) -> Profile:
        return await operator.call(
            identity.SET_LIMITS,
            SetLimits(user_id=user_id, kind="deposit", period="day", amount=amount),
        )

    assert (await set_to(10_000)).limits[0].amount == 10_000
    raised = (await set_to(20_000)).limits[0]
    assert (raised.amount, raised.pending_amount) == (10_000, 20_000)
    event = await operator.heard(
        identity.LIMIT_CHANGED, lambda data: data.user_id == user_id and data.amount == 20_000
    )
    assert event.data.effective_at == raised.pending_from
    assert event.data.effective_at - event.time > timedelta(hours=23, minutes=59)
    lowered = (await set_to(5_000)).limits[0]
    assert (lowered.amount, lowered.pending_amount) == (5_000, None)
    assert (await profile_of(operator, user_id)).limits == [lowered]


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


async def test_the_installations_admin_can_log_in_and_may_everything_of_staff(
    operator: Operator, platform: Platform
) -> None:
    pair = await operator.call(
        identity.LOG_IN,
        LogIn(email=platform.settings["ADMIN_EMAIL"], password=platform.settings["ADMIN_PASSWORD"]),
    )
    holder = await operator.call(identity.VERIFY_TOKEN, VerifyToken(token=pair.access_token))
    assert set(holder.roles) == {"operator", "admin"}
    await operator.call(
        identity.AUTHORIZE, Authorize(user_id=holder.user_id, permission="reporting.overview")
    )


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
    async with platform.database("identity") as connection, asyncio.timeout(10):
        while True:
            row = await connection.fetchrow(
                "SELECT delivered_at, failed_at, failures FROM contact_health"
                " WHERE user_id = $1 AND delivered_at IS NOT NULL AND failed_at IS NOT NULL",
                user_id,
            )
            if row is not None:
                break
            await asyncio.sleep(0.02)
    assert row["failures"] == 1


async def test_the_nightly_job_deletes_what_ended_long_ago_and_nothing_else(
    operator: Operator, platform: Platform
) -> None:
    user_id, email = await registered(operator)
    pairs = [await logged_in(operator, email) for _ in range(2)]
    old, kept = [
        (
            await operator.call(identity.VERIFY_TOKEN, VerifyToken(token=pair.access_token))
        ).session_id
        for pair in pairs
    ]
    async with platform.database("identity") as connection, asyncio.timeout(10):
        await connection.execute(
            "UPDATE sessions SET created_at = now() - interval '40 days',"
            " expires_at = now() - interval '2 days' WHERE session_id = $1",
            old,
        )
        due = scheduler.JobDue(
            service="identity",
            name="purge-sessions",
            key="",
            due_at=datetime.now(UTC),
            payload={},
        )
        await operator.publish(scheduler.JOB_DUE, due, subject="identity.purge-sessions")
        while True:
            left = await connection.fetch(
                "SELECT session_id::text FROM sessions WHERE user_id = $1", user_id
            )
            if len(left) == 1:
                break
            await asyncio.sleep(0.02)
    assert left[0]["session_id"] == kept


async def test_a_restart_keeps_the_key_so_tokens_go_on_holding(
    operator: Operator, services: Services, platform: Platform
) -> None:
    _, email = await registered(operator)
    pair = await logged_in(operator, email)
    before = await bucket(platform, tokens.JWKS_KEY)
    await services.stop("identity")
    await services("identity")
    assert await bucket(platform, tokens.JWKS_KEY) == before
    await operator.call(identity.VERIFY_TOKEN, VerifyToken(token=pair.access_token))
