"""A one-time code goes to the telephone alone, and an erased user is reached by nobody any more."""

from svc.identity import contract as identity, contract_privacy as privacy, contract_security
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
