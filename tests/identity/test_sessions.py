"""Logging in, refreshing and ending sessions, as callers of identity see it."""

import asyncio
from datetime import UTC, datetime

import asyncpg
import pytest

from svc.identity import contract as identity, contract_security as security, rules
from svc.identity.contract import (
    Authorize,
    LogIn,
    LogOut,
    Refresh,
    Tokens,
    VerifyToken,
)
from svc.identity.contract_privacy import EXPORT, OwnData
from svc.mesh import tokens
from svc.mesh.clock import new_id
from svc.mesh.errors import Unauthenticated
from svc.notification import contract as notification
from svc.scheduler import contract as scheduler
from tests.identity.people import PASSWORD, bucket, logged_in, registered
from tests.support.mesh import Operator, Services
from tests.support.platform import Platform
from tests.support.waiting import until


@pytest.fixture(autouse=True)
async def running(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARGON2_MEMORY_KIB", "64")
    monkeypatch.setenv("ARGON2_TIME_COST", "1")
    await services("identity")


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
    async with platform.database("identity") as connection:
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

        async def purged() -> list[asyncpg.Record] | None:
            left = await connection.fetch(
                "SELECT session_id::text FROM sessions WHERE user_id = $1", user_id
            )
            return left if len(left) == 1 else None

        [left] = await until(purged, "one session is left")
    assert left["session_id"] == kept


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


async def test_of_more_sessions_than_a_user_may_have_those_end_that_were_not_used_for_longest(
    operator: Operator, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "SESSIONS_MAX", 3)
    user_id, email = await registered(operator)
    first, second, third = [await logged_in(operator, email) for _ in range(3)]
    first = await operator.call(identity.REFRESH, Refresh(refresh_token=first.refresh_token))
    fourth = await logged_in(operator, email)
    with pytest.raises(Unauthenticated):
        await operator.call(identity.REFRESH, Refresh(refresh_token=second.refresh_token))
    ids = [
        (
            await operator.call(identity.VERIFY_TOKEN, VerifyToken(token=pair.access_token))
        ).session_id
        for pair in (fourth, third, first)
    ]
    mine = security.OwnSession(user_id=user_id, session_id=ids[0])
    shown = await operator.call(security.LIST_SESSIONS, mine)
    assert [session.session_id for session in shown.items] == ids
    ended = await operator.heard(identity.SESSION_REVOKED, lambda data: data.user_id == user_id)
    assert ended.data.session_id not in ids
    assert await bucket(platform, tokens.revoked_key(ended.data.session_id)) == b"true"


async def test_sessions_beyond_all_bounds_are_neither_listed_nor_exported_and_can_be_ended(
    operator: Operator, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_id, email = await registered(operator)
    for _ in range(6):
        await logged_in(operator, email)
    monkeypatch.setattr(rules, "SESSIONS_MAX", 2)
    mine = security.OwnSession(user_id=user_id, session_id=new_id())
    assert len((await operator.call(security.LIST_SESSIONS, mine)).items) == 2
    exported = await operator.call(EXPORT, OwnData(user_id=user_id))
    assert len(exported.sessions) == 2
    await operator.call(security.REVOKE_OTHERS, mine)
    async with platform.database("identity") as connection:
        going_on = await connection.fetchval(
            "SELECT count(*) FROM sessions WHERE user_id = $1 AND revoked_at IS NULL", user_id
        )
    assert going_on == 0
