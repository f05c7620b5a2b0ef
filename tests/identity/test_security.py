"""Sessions on several devices, guesses, passwords, the second factor and the audit log."""

import asyncio
import base64
from datetime import UTC, datetime

import asyncpg
import pytest
from nats.js.errors import KeyNotFoundError

from svc.identity import contract as identity, contract_security as security, passwords, totp
from svc.identity.contract import LogIn, Refresh, Tokens, VerifyToken
from svc.mesh import tokens
from svc.mesh.clock import new_id
from svc.mesh.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated
from svc.notification import contract as notification
from tests.identity.people import PASSWORD, bucket, logged_in, registered
from tests.support.mesh import Operator, Services
from tests.support.platform import Platform

NEW = "quite another password"


@pytest.fixture(autouse=True)
async def running(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARGON2_MEMORY_KIB", "64")
    monkeypatch.setenv("ARGON2_TIME_COST", "1")
    await services("identity")


async def session_of(operator: Operator, pair: Tokens) -> str:
    holder = await operator.call(identity.VERIFY_TOKEN, VerifyToken(token=pair.access_token))
    return holder.session_id


async def goes_on(operator: Operator, pair: Tokens) -> bool:
    try:
        await operator.call(identity.VERIFY_TOKEN, VerifyToken(token=pair.access_token))
    except Unauthenticated:
        return False
    return True


async def kinds(operator: Operator, user_id: str) -> list[str]:
    page = await operator.call(
        security.SECURITY_EVENTS, security.SecurityEventsOf(user_id=user_id, limit=200)
    )
    return [event.kind for event in page.items]


async def guess(operator: Operator, email: str, ip: str = "192.0.2.7") -> None:
    with pytest.raises(Unauthenticated):
        await operator.call(identity.LOG_IN, LogIn(email=email, password="a wrong one", ip=ip))


async def test_a_user_sees_all_sessions_and_ends_one_or_all_others(operator: Operator) -> None:
    user_id, email = await registered(operator)
    pairs = [
        await operator.call(
            identity.LOG_IN,
            LogIn(email=email, password=PASSWORD, device=device, ip="192.0.2.7"),
        )
        for device in ("phone\r\nset-cookie: x", "tablet", "laptop")
    ]
    ids = [await session_of(operator, pair) for pair in pairs]
    mine = security.OwnSession(user_id=user_id, session_id=ids[2])
    shown = (await operator.call(security.LIST_SESSIONS, mine)).items
    assert [(s.session_id, s.device, s.current) for s in shown] == [
        (ids[2], "laptop", True),
        (ids[1], "tablet", False),
        (ids[0], "phoneset-cookie: x", False),
    ]
    stranger, _ = await registered(operator)
    for foreign in (
        security.OwnSession(user_id=stranger, session_id=ids[0]),
        security.OwnSession(user_id=user_id, session_id=new_id()),
    ):
        with pytest.raises(NotFound):
            await operator.call(security.REVOKE_SESSION, foreign)
    for _ in range(2):
        await operator.call(
            security.REVOKE_SESSION, security.OwnSession(user_id=user_id, session_id=ids[0])
        )
    assert [await goes_on(operator, pair) for pair in pairs] == [False, True, True]
    await operator.call(security.REVOKE_OTHERS, mine)
    assert [await goes_on(operator, pair) for pair in pairs] == [False, False, True]
    with pytest.raises(Unauthenticated):
        await operator.call(identity.REFRESH, Refresh(refresh_token=pairs[1].refresh_token))


async def test_wrong_guesses_lock_the_guesser_known_or_not_and_not_who_is_elsewhere(
    operator: Operator, platform: Platform
) -> None:
    user_id, email = await registered(operator)
    for address in (email, f"{new_id()}@example.com"):
        for _ in range(5):
            await guess(operator, address)
        with pytest.raises(security.LockedOut) as refusal:
            await operator.call(
                identity.LOG_IN, LogIn(email=address, password=PASSWORD, ip="192.0.2.7")
            )
        assert refusal.value.members["retry_after"] in range(25, 32)
    elsewhere = LogIn(email=email, password=PASSWORD, ip="192.0.2.8")
    await operator.call(identity.LOG_IN, elsewhere)
    assert (await kinds(operator, user_id))[:2] == ["logged-in", "locked-out"]
    # The wait ends by itself; here the wait is made to have ended.
    async with platform.database("identity") as connection:
        await connection.execute("UPDATE wrong_guesses SET locked_until = now()")
    await operator.call(identity.LOG_IN, LogIn(email=email, password=PASSWORD, ip="192.0.2.7"))


async def test_guessing_from_many_addresses_locks_the_account(operator: Operator) -> None:
    _, email = await registered(operator)
    for number in range(20):
        await guess(operator, email, f"192.0.2.{number}")
    with pytest.raises(security.LockedOut):
        await operator.call(identity.LOG_IN, LogIn(email=email, password=PASSWORD, ip="::1"))


async def test_every_kind_of_refused_log_in_does_the_same_work(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, email = await registered(operator)
    done: list[str] = []
    before = passwords.Passwords._matches  # pyright: ignore[reportPrivateUsage] -- counted here

    def counted(self: passwords.Passwords, password: str, password_hash: str | None) -> bool:
        verified = passwords._nobodys_hash(self.hasher) if password_hash is None else password_hash  # pyright: ignore[reportPrivateUsage] -- the hash that is compared with
        done.append(verified.rpartition("$")[0].rpartition("$")[0])
        return before(self, password, password_hash)

    monkeypatch.setattr(passwords.Passwords, "_matches", counted)
    for address in (email, f"{new_id()}@example.com", "not an address"):
        await guess(operator, address)
    assert len(done) == 3
    assert set(done) == {"$argon2id$v=19$m=64,t=1,p=1"}


async def test_a_changed_password_ends_the_other_sessions_and_the_owner_is_told(
    operator: Operator,
) -> None:
    user_id, email = await registered(operator)
    here, other = await logged_in(operator, email), await logged_in(operator, email)
    change = security.ChangePassword(
        user_id=user_id,
        session_id=await session_of(operator, here),
        current_password=PASSWORD,
        new_password=NEW,
    )
    with pytest.raises(Forbidden):
        await operator.call(
            security.CHANGE_PASSWORD,
            security.ChangePassword(
                user_id=user_id,
                session_id=change.session_id,
                current_password="not this one",
                new_password=NEW,
            ),
        )
    await operator.call(security.CHANGE_PASSWORD, change)
    assert [await goes_on(operator, pair) for pair in (here, other)] == [True, False]
    await guess(operator, email)
    await operator.call(identity.LOG_IN, LogIn(email=email, password=NEW))
    notice = await operator.heard(
        notification.NOTIFICATION_REQUESTED, lambda data: data.user_id == user_id
    )
    assert (notice.data.template, notice.data.category) == ("security_alert", "security")
    assert "password-changed" in await kinds(operator, user_id)


async def reset_code(operator: Operator, user_id: str) -> str:
    notice = await operator.heard(
        notification.NOTIFICATION_REQUESTED,
        lambda data: data.user_id == user_id and data.template == "one_time_code",
    )
    reference = notice.data.arguments
    assert reference.keys() == {"code_of"}, "the code itself stands in no stream"
    wanted = identity.IssueCode(user_id=user_id, code_id=reference["code_of"])
    return (await operator.call(identity.ISSUE_CODE, wanted)).code


async def test_a_code_from_the_sms_sets_a_password_once_and_ends_all_sessions(
    operator: Operator, platform: Platform
) -> None:
    user_id, email = await registered(operator)
    pair = await logged_in(operator, email)
    addresses = (email, email, f"{new_id()}@example.com", "not an address")
    requests = [security.RequestReset(email=address) for address in addresses]
    await asyncio.gather(*(operator.call(security.REQUEST_RESET, one) for one in requests))
    code = await reset_code(operator, user_id)
    asked = await operator.all_heard(
        notification.NOTIFICATION_REQUESTED, lambda data: data.user_id == user_id
    )
    assert len(asked) == 1
    async with platform.database("identity") as connection:
        stored = await connection.fetchval("SELECT string_agg(c::text, '') FROM one_time_codes c")
    assert code not in stored
    with pytest.raises(NotFound):
        await operator.call(
            identity.ISSUE_CODE, identity.IssueCode(user_id=user_id, code_id=new_id())
        )
    reset = security.ConfirmReset(email=email, code=code, new_password=NEW)
    outcomes = await asyncio.gather(
        *(operator.call(security.CONFIRM_RESET, reset) for _ in range(3)), return_exceptions=True
    )
    assert sum(isinstance(outcome, Unauthenticated) for outcome in outcomes) == 2
    assert not await goes_on(operator, pair)
    await operator.call(identity.LOG_IN, LogIn(email=email, password=NEW))


@pytest.mark.parametrize("spoilt", ["expired", "guessed at"])
async def test_a_code_that_expired_or_was_guessed_at_five_times_opens_nothing(
    operator: Operator, platform: Platform, spoilt: str
) -> None:
    user_id, email = await registered(operator)
    await operator.call(security.REQUEST_RESET, security.RequestReset(email=email))
    code = await reset_code(operator, user_id)
    async with platform.database("identity") as connection:
        if spoilt == "expired":
            await connection.execute(
                "UPDATE one_time_codes SET created_at = now() - interval '11 minutes',"
                " expires_at = now() WHERE user_id = $1",
                user_id,
            )
        for number in range(5 if spoilt == "guessed at" else 0):
            wrong = security.ConfirmReset(
                email=email, code="00000000", new_password=NEW, ip=f"192.0.2.{number}"
            )
            with pytest.raises(Unauthenticated):
                await operator.call(security.CONFIRM_RESET, wrong)
    right = security.ConfirmReset(email=email, code=code, new_password=NEW, ip="192.0.2.99")
    with pytest.raises(Unauthenticated):
        await operator.call(security.CONFIRM_RESET, right)


async def with_factor(operator: Operator) -> tuple[str, str, bytes, list[str]]:
    """A user with a second factor: id, address, secret, recovery codes."""
    user_id, email = await registered(operator)
    shown = await operator.call(security.SET_UP_FACTOR, security.OfAccount(user_id=user_id))
    secret = base64.b32decode(shown.secret)
    # Not confirmed, it asks for nothing.
    await logged_in(operator, email)
    with pytest.raises(Forbidden):
        await operator.call(
            security.CONFIRM_FACTOR, security.ConfirmFactor(user_id=user_id, code="00000000")
        )
    # Not the step before: it would no longer hold if a step ended between here and there.
    code = totp.code_at(secret, totp.step_of(datetime.now(UTC)))
    codes = await operator.call(
        security.CONFIRM_FACTOR, security.ConfirmFactor(user_id=user_id, code=code)
    )
    return user_id, email, secret, codes.recovery_codes


async def test_a_second_factor_is_asked_for_and_each_code_opens_once(operator: Operator) -> None:
    user_id, email, secret, _ = await with_factor(operator)
    with pytest.raises(security.SecondFactorRequired):
        await logged_in(operator, email)
    with pytest.raises(Unauthenticated):  # a wrong password is not told of the second factor
        await operator.call(
            identity.LOG_IN, LogIn(email=email, password="wrong one", code="123456")
        )
    # The step after the one used up to confirm; it holds now, and also when this step ends.
    code = totp.code_at(secret, totp.step_of(datetime.now(UTC)) + 1)
    request = LogIn(email=email, password=PASSWORD, code=code)
    outcomes = await asyncio.gather(
        *(operator.call(identity.LOG_IN, request) for _ in range(3)), return_exceptions=True
    )
    assert sum(isinstance(outcome, Tokens) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, Unauthenticated) for outcome in outcomes) == 2
    with pytest.raises(Conflict):
        await operator.call(security.SET_UP_FACTOR, security.OfAccount(user_id=user_id))


async def test_a_recovery_code_opens_once_and_removing_needs_password_and_code(
    operator: Operator, platform: Platform
) -> None:
    user_id, email, _, codes = await with_factor(operator)
    assert len(set(codes)) == 10
    with_code = LogIn(email=email, password=PASSWORD, code=codes[0])
    await operator.call(identity.LOG_IN, with_code)
    with pytest.raises(Unauthenticated):
        await operator.call(identity.LOG_IN, with_code)
    for password, code in (("wrong password", codes[1]), (PASSWORD, codes[0])):
        with pytest.raises(Forbidden):
            await operator.call(
                security.REMOVE_FACTOR,
                security.RemoveFactor(user_id=user_id, password=password, code=code),
            )
    await operator.call(
        security.REMOVE_FACTOR,
        security.RemoveFactor(user_id=user_id, password=PASSWORD, code=codes[1]),
    )
    await logged_in(operator, email)
    assert {"second-factor-on", "recovery-code-used", "second-factor-off"} <= set(
        await kinds(operator, user_id)
    )
    async with platform.database("identity") as connection:
        left = await connection.fetchval(
            "SELECT count(*) FROM recovery_codes WHERE user_id = $1", user_id
        )
    assert left == 0


async def test_the_audit_log_is_paged_and_cannot_be_rewritten(
    operator: Operator, platform: Platform
) -> None:
    user_id, email = await registered(operator)
    for _ in range(3):
        await logged_in(operator, email)
    first = await operator.call(
        security.ADMIN_SECURITY_EVENTS, security.AdminSecurityEventsOf(user_id=user_id, limit=2)
    )
    rest = await operator.call(
        security.SECURITY_EVENTS,
        security.SecurityEventsOf(user_id=user_id, limit=2, cursor=first.next_cursor),
    )
    assert (len(first.items), len(rest.items), rest.next_cursor) == (2, 1, None)
    async with platform.database("identity") as connection:
        for statement in (
            "UPDATE security_events SET kind = 'nothing' WHERE user_id = $1",
            "UPDATE security_events SET device = 'another' WHERE user_id = $1",
            "DELETE FROM security_events WHERE user_id = $1",
        ):
            with pytest.raises(asyncpg.RaiseError, match="append-only"):
                await connection.execute(statement, user_id)


async def test_roles_are_set_by_admins_and_old_tokens_end(
    operator: Operator, platform: Platform
) -> None:
    user_id, email = await registered(operator)
    pair = await logged_in(operator, email)
    await operator.call(
        security.SET_ROLES, security.SetRoles(user_id=user_id, roles=["operator", "player"])
    )
    assert not await goes_on(operator, pair)
    async with platform.nats("gateway") as connection:
        gateway = Operator(platform, connection)
        gateway.caller.inbox = gateway.caller.inbox.replace("operator", "gateway")
        await gateway.caller.start()
        # An operator may see accounts, and may not make themselves an admin, nor anybody.
        for target in (user_id, (await registered(operator))[0]):
            with pytest.raises(Forbidden):
                await gateway.call(
                    security.SET_ROLES,
                    security.SetRoles(user_id=target, roles=["admin"], actor_id=user_id),
                )
        with pytest.raises(Forbidden):
            await gateway.call(security.ROTATE_KEYS, security.RotateKeys(actor_id=user_id))
        await gateway.call(
            security.ADMIN_SECURITY_EVENTS,
            security.AdminSecurityEventsOf(user_id=user_id, actor_id=user_id),
        )


async def test_the_signing_key_changes_while_all_tokens_go_on_holding(
    operator: Operator, platform: Platform
) -> None:
    _, email = await registered(operator)
    old = await logged_in(operator, email)
    rotated = await operator.call(security.ROTATE_KEYS, security.RotateKeys())
    with pytest.raises(Conflict):  # one change at a time
        await operator.call(security.ROTATE_KEYS, security.RotateKeys())
    published = await bucket(platform, tokens.JWKS_KEY)
    assert published is not None
    # The new key is known before it signs.
    assert rotated.kid in tokens.keys_of(published)
    between = await logged_in(operator, email)
    async with platform.database("identity") as connection:
        await connection.execute(
            "UPDATE signing_keys SET created_at = created_at - interval '1 minute',"
            " signs_from = signs_from - interval '1 minute',"
            " retired_at = retired_at - interval '10 seconds'"
        )
    new = await logged_in(operator, email)
    known = tokens.keys_of(published)
    kids: list[str] = []
    for pair in (old, between, new):
        tokens.verify(pair.access_token, known, datetime.now(UTC))
        await operator.call(identity.VERIFY_TOKEN, VerifyToken(token=pair.access_token))
        kids.append(tokens.jwt.get_unverified_header(pair.access_token)["kid"])
    assert kids[0] == kids[1] != kids[2] == rotated.kid


async def test_an_api_key_is_published_by_digest_and_ended(
    operator: Operator, platform: Platform
) -> None:
    made = await operator.call(
        security.MAKE_API_KEY, security.MakeApiKey(name="partner", scopes=["wallet.read"])
    )
    async with platform.database("identity") as connection:
        digest = await connection.fetchval(
            "SELECT digest FROM api_keys WHERE key_id = $1", made.key_id
        )
    entry = security.api_key_entry(digest)
    published = await bucket(platform, entry)
    assert published is not None
    assert b"wallet.read" in published
    assert made.key.encode() not in published
    await operator.call(security.REVOKE_API_KEY, security.RevokeApiKey(key_id=made.key_id))
    shown = await operator.call(security.LIST_API_KEYS, security.ApiKeysOf())
    assert next(key for key in shown.items if key.key_id == made.key_id).revoked_at is not None
    with pytest.raises(KeyNotFoundError):
        await bucket(platform, entry)
    with pytest.raises(NotFound):
        await operator.call(security.REVOKE_API_KEY, security.RevokeApiKey(key_id=new_id()))


@pytest.mark.parametrize("at", ["2999-01-01", "9999-12-31T23:00:00-12:00"])
async def test_a_key_that_ends_at_no_instant_is_not_made(operator: Operator, at: str) -> None:
    request = security.MakeApiKey(
        name="partner", scopes=["wallet.read"], expires_at=datetime.fromisoformat(at)
    )
    with pytest.raises(Invalid, match="expires_at"):
        await operator.call(security.MAKE_API_KEY, request)
