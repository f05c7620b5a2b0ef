"""An exclusion is answered once it holds where money moves, and is kept before that."""

import asyncio
from datetime import UTC, datetime

import pytest

from svc.identity import contract as identity
from svc.identity.contract import Authorize, SelfExclude
from svc.identity.contract_security import ConfirmExclusion
from svc.mesh.errors import Forbidden, Unavailable
from tests.identity.people import profile_of, registered
from tests.support.mesh import Operator, Services
from tests.support.platform import Platform


@pytest.fixture(autouse=True)
async def running(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """Identity alone; who confirms in the place of a service is the operator."""
    monkeypatch.setenv("ARGON2_MEMORY_KIB", "64")
    monkeypatch.setenv("ARGON2_TIME_COST", "1")
    monkeypatch.setenv("EXCLUSION_CONFIRMED_BY", "operator")
    await services("identity")


async def test_the_answer_waits_until_the_exclusion_is_confirmed(operator: Operator) -> None:
    user_id, _ = await registered(operator)
    asked = asyncio.create_task(
        operator.call(identity.SELF_EXCLUDE, SelfExclude(user_id=user_id, months=6))
    )
    event = await operator.heard(identity.SELF_EXCLUDED, lambda data: data.user_id == user_id)
    assert not asked.done()
    # A confirmation of an earlier, shorter exclusion is not enough.
    for until in (datetime.now(UTC), event.data.until):
        assert not asked.done()
        await operator.call(
            identity.CONFIRM_EXCLUSION, ConfirmExclusion(user_id=user_id, until=until)
        )
    assert (await asked).excluded_until == event.data.until


async def test_an_exclusion_that_nobody_confirms_is_kept_and_told_again_when_asked_again(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("svc.identity.exclusions.CONFIRMED_WITHIN_S", 0.1)
    user_id, _ = await registered(operator)
    for _ in range(2):
        with pytest.raises(Unavailable, match="not yet confirmed by operator"):
            await operator.call(identity.SELF_EXCLUDE, SelfExclude(user_id=user_id, months=6))
    assert (await profile_of(operator, user_id)).excluded_until is not None
    with pytest.raises(identity.SelfExcluded):
        await operator.call(identity.AUTHORIZE, Authorize(user_id=user_id, permission="bet"))
    told = await operator.all_heard(
        identity.SELF_EXCLUDED, lambda data: data.user_id == user_id, count=2
    )
    latest = max(event.data.until for event in told)
    await operator.call(identity.CONFIRM_EXCLUSION, ConfirmExclusion(user_id=user_id, until=latest))


async def test_staff_who_never_played_are_told_so_at_once(
    operator: Operator, platform: Platform
) -> None:
    async with platform.database("identity") as database:
        admin = await database.fetchval("SELECT user_id FROM users WHERE 'admin' = ANY (roles)")
    with pytest.raises(Forbidden, match="only players"):
        await operator.call(identity.SELF_EXCLUDE, SelfExclude(user_id=str(admin), months=6))
    async with platform.database("identity") as database:
        excluded = await database.fetchval(
            "SELECT excluded_until FROM users WHERE user_id = $1", admin
        )
    assert excluded is None
