"""A one-time code goes to the telephone alone, and an erased user is reached by nobody any more."""

import contextlib
from typing import cast

import pytest
from nats.js.errors import NotFoundError

from svc.identity import contract as identity, contract_privacy as privacy, contract_security
from svc.mesh.errors import Unauthenticated
from tests.notification.conftest import Provider, Register, inbox, received
from tests.support.mesh import Operator, Services
from tests.support.platform import Platform
from tests.support.waiting import until


async def test_a_reset_code_comes_by_sms_and_nowhere_else_and_opens_the_account(
    register: Register, operator: Operator, provider: Provider, platform: Platform
) -> None:
    user = await register(locale="en")
    await received(provider, user.email)
    asked = contract_security.RequestReset(email=user.email)
    await operator.call(contract_security.REQUEST_RESET, asked)
    text = (await received(provider, user.phone, 2))[-1]
    code = text.partition(" ")[0]
    assert len(code) == 8
    async with platform.database("notification") as database:
        kept = await database.fetchval(
            "SELECT string_agg(m::text, '') FROM messages m WHERE user_id = $1", user.user_id
        )
    assert code not in kept
    reset = contract_security.ConfirmReset(
        email=user.email, code=code, new_password="quite another password"
    )
    await operator.call(contract_security.CONFIRM_RESET, reset)
    # The notice of the change has come everywhere, so the code would have, too.
    notice = (await inbox(operator, user, 2))[0]
    assert notice.template == "security_alert"
    (_, mail) = await received(provider, user.email, 2)
    assert code not in mail + "".join(m.text for m in await inbox(operator, user, 2))


async def test_personal_data_stands_in_no_event_and_no_log(
    register: Register,
    operator: Operator,
    provider: Provider,
    services: Services,
    capfd: pytest.CaptureFixture[str],
) -> None:
    await services("payment", "wallet")
    stream = operator.connection.jetstream()
    names = [each.config.name or "" for each in await stream.streams_info()]
    names = [name for name in names if not name.startswith(("KV_", "OBJ_"))]
    before = {name: (await stream.stream_info(name)).state.last_seq for name in names}
    user = await register(locale="en")
    logged_in = identity.LogIn(
        email=user.email, password="correct horse battery", device="Quillphone 7", ip="192.0.2.171"
    )
    await operator.call(identity.LOG_IN, logged_in)
    wrong = identity.LogIn(email=user.email, password="not the battery", ip="192.0.2.171")
    with pytest.raises(Unauthenticated):
        await operator.call(identity.LOG_IN, wrong)
    moved = identity.UpdateProfile(user_id=user.user_id, phone=f"{user.phone[:-1]}2", locale="de")
    await operator.call(identity.UPDATE_PROFILE, moved)
    proof = privacy.SubmitVerification(
        user_id=user.user_id, first_name="Zebulon", last_name="Quillfeather",
        street="77 Marzipan Street", city="Quincetown", country="DE", document_number="ZQ99887766",
    )  # fmt: skip
    await operator.call(privacy.SUBMIT_VERIFICATION, proof)
    await operator.call(
        contract_security.REQUEST_RESET, contract_security.RequestReset(email=user.email)
    )
    (text,) = await received(provider, moved.phone or "", 1)
    erase = privacy.Erase(user_id=user.user_id, password="correct horse battery")
    await operator.call(privacy.ERASE, erase)
    await operator.heard(identity.USER_ERASED, lambda data: data.user_id == user.user_id)
    personal = (
        user.email, user.phone, moved.phone or "", "correct horse", "not the battery",
        "Quillphone", "192.0.2.171", "Zebulon", "Quillfeather", "Marzipan", "Quincetown",
        "ZQ99887766", "1990-01-01", text.partition(" ")[0],
    )  # fmt: skip
    said: list[str] = []
    for name in names:
        last = (await stream.stream_info(name)).state.last_seq
        for number in range(before[name] + 1, last + 1):
            with contextlib.suppress(NotFoundError):
                message = await stream.get_msg(name, number)
                said.append((message.data or b"").decode() + repr(cast("object", message.headers)))
    assert any(user.user_id in each for each in said)
    assert [word for word in personal if any(word in each for each in said)] == []
    logged = "".join(capfd.readouterr())
    assert "payment" in logged, "that service started within this test"
    assert [word for word in personal if word in logged] == []


async def test_an_erased_user_leaves_no_address_behind(
    register: Register,
    operator: Operator,
    provider: Provider,
    platform: Platform,
    services: Services,
) -> None:
    await services("wallet")
    user = await register()
    await received(provider, user.phone)
    await received(provider, user.email)
    erase = privacy.Erase(user_id=user.user_id, password="correct horse battery")
    await operator.call(privacy.ERASE, erase)
    await operator.heard(identity.USER_ERASED, lambda data: data.user_id == user.user_id)

    async def forgotten() -> bool:
        async with platform.database("notification") as database:
            row = await database.fetchrow(
                "SELECT email, phone FROM recipients WHERE user_id = $1", user.user_id
            )
            said = await database.fetch(
                "SELECT m::text AS m FROM messages m WHERE user_id = $1", user.user_id
            )
        assert not [1 for each in said if user.email in each["m"] or user.phone in each["m"]]
        return row is not None and (row["email"], row["phone"]) == (None, None)

    await until(forgotten)
