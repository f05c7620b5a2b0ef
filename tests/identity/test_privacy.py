"""Verification, reality checks, and personal data: taken along by its owner, or forgotten."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from svc.identity import contract as identity, contract_security as security
from svc.identity.contract import LogIn, OfUser, Refresh, SelfExclude, SetKyc
from svc.identity.contract_privacy import (
    ERASE,
    EXPORT,
    SUBMIT_VERIFICATION,
    USER_ERASED,
    Erase,
    MoneyLeft,
    OwnData,
    SubmitVerification,
    Verification,
)
from svc.mesh.clock import new_id
from svc.mesh.errors import Conflict, Forbidden, NotFound, Unauthenticated
from svc.notification import contract as notification
from svc.scheduler import contract as scheduler
from svc.wallet import contract as wallet
from tests.identity.people import PASSWORD, logged_in, profile_of, registered, somebody
from tests.support.mesh import Operator, Services
from tests.support.platform import Platform


@pytest.fixture(autouse=True)
async def running(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARGON2_MEMORY_KIB", "64")
    monkeypatch.setenv("ARGON2_TIME_COST", "1")
    monkeypatch.setenv("EXCLUSION_CONFIRMED_BY", "none")
    await services("identity", "wallet")


async def submit(operator: Operator, user_id: str) -> Verification:
    return await operator.call(
        SUBMIT_VERIFICATION,
        SubmitVerification(
            user_id=user_id,
            first_name="Zoë",
            last_name="Quill",
            street="1 Long Street",
            city="Cork",
            country="IE",
            document_number="P1234567",
        ),
    )


@asynccontextmanager
async def provider(*answers: bytes) -> AsyncGenerator[tuple[str, list[bytes]]]:
    """A verification provider on loopback that gives these answers, and what it was asked."""
    asked: list[bytes] = []
    left = list(answers)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        asked.append(head + await reader.readexactly(length))
        body = left.pop(0)
        status = b"200 OK" if body else b"503 Service Unavailable"
        writer.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked


async def test_people_verify_what_a_player_hands_in_once(operator: Operator) -> None:
    user_id, _ = await registered(operator)
    assert (await submit(operator, user_id)).status == "pending"
    with pytest.raises(Conflict):
        await submit(operator, user_id)
    await operator.call(identity.SET_KYC, SetKyc(user_id=user_id, status="rejected"))
    assert (await submit(operator, user_id)).status == "pending"
    await operator.call(identity.SET_KYC, SetKyc(user_id=user_id, status="verified"))
    with pytest.raises(Conflict):
        await submit(operator, user_id)
    told = await operator.all_heard(
        identity.KYC_CHANGED, lambda data: data.user_id == user_id, count=4
    )
    assert [e.data.status for e in told] == ["pending", "rejected", "pending", "verified"]


async def test_a_provider_decides_and_one_that_is_away_is_asked_again_by_the_sweep(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_id, _ = await registered(operator)
    async with provider(b"", b'{"status": "verified"}') as (url, asked):
        monkeypatch.setenv("KYC_URL", url)
        monkeypatch.setenv("KYC_TOKEN", "secret")
        assert (await submit(operator, user_id)).status == "pending"
        due = scheduler.JobDue(
            service="identity",
            name="hand-over-verifications",
            key="",
            due_at=datetime.now(UTC),
            payload={},
        )
        await operator.publish(scheduler.JOB_DUE, due, subject="identity.hand-over-verifications")
        await operator.heard(
            identity.KYC_CHANGED,
            lambda data: (data.user_id, data.status) == (user_id, "verified"),
        )
    assert len(asked) == 2
    assert all(b"Bearer secret" in request for request in asked)
    keys = {request.partition(b"idempotency-key: ")[2].split(b"\r\n")[0] for request in asked}
    assert len(keys) == 1


async def test_a_player_who_goes_on_is_told_for_how_long_and_not_at_every_refresh(
    operator: Operator, platform: Platform
) -> None:
    user_id, email = await registered(operator)
    pair = await logged_in(operator, email)
    async with platform.database("identity") as connection:
        await connection.execute(
            "UPDATE sessions SET created_at = now() - interval '61 minutes' WHERE user_id = $1",
            user_id,
        )
    for _ in range(3):
        pair = await operator.call(identity.REFRESH, Refresh(refresh_token=pair.refresh_token))
    await operator.heard(notification.NOTIFICATION_REQUESTED, lambda data: data.user_id == user_id)
    told = await operator.all_heard(
        notification.NOTIFICATION_REQUESTED, lambda data: data.user_id == user_id
    )
    assert [(e.data.template, e.data.arguments) for e in told] == [
        ("reality_check", {"minutes": "61"})
    ]


async def test_an_export_holds_all_that_an_erasure_forgets(
    operator: Operator, platform: Platform
) -> None:
    account = somebody()
    user_id = (await operator.call(identity.REGISTER, account)).user_id
    request = LogIn(email=account.email, password=PASSWORD, device="a phone", ip="192.0.2.44")
    pair = await operator.call(identity.LOG_IN, request)
    await submit(operator, user_id)
    exported = await operator.call(EXPORT, OwnData(user_id=user_id))
    assert (exported.email, exported.phone) == (account.email, account.phone)
    assert exported.verification is not None
    personal = (
        account.email, account.phone, "1990-05-17", "Zoë", "Quill", "1 Long Street", "P1234567",
        "a phone", "192.0.2.44",
    )  # fmt: skip
    told = repr(exported)
    assert [text for text in personal[3:] if text not in told] == []

    with pytest.raises(Forbidden):
        await operator.call(ERASE, Erase(user_id=user_id, password="not this one"))
    await operator.call(ERASE, Erase(user_id=user_id, password=PASSWORD))
    event = await operator.heard(USER_ERASED, lambda data: data.user_id == user_id)
    assert event.data.user_id == user_id
    async with platform.database("identity") as connection:
        tables = await connection.fetch(
            "SELECT table_name AS name FROM information_schema.columns"
            " WHERE column_name = 'user_id' AND table_schema = 'public'"
        )
        kept = ""
        for table in tables:
            rows = await connection.fetch(
                f"SELECT t::text FROM {table['name']} t WHERE user_id = $1",  # noqa: S608 -- names of tables
                user_id,
            )
            kept += "\n".join(row["t"] for row in rows)
    assert user_id in kept
    assert [text for text in personal if text in kept] == []
    for call in (operator.call(identity.CONTACT, OfUser(user_id=user_id)),):
        with pytest.raises(NotFound):
            await call
    with pytest.raises(Unauthenticated):
        await operator.call(identity.LOG_IN, request)
    with pytest.raises(Unauthenticated):
        await operator.call(identity.REFRESH, Refresh(refresh_token=pair.refresh_token))
    # The address is free again, and what happened is still known.
    await operator.call(identity.REGISTER, account)
    page = await operator.call(security.SECURITY_EVENTS, security.SecurityEventsOf(user_id=user_id))
    assert page.items[0].kind == "erased"


async def test_an_account_with_money_is_not_forgotten_before_it_is_taken_out(
    operator: Operator,
) -> None:
    user_id, _ = await registered(operator)
    fields = {"user_id": user_id, "amount": 70, "currency": "EUR", "reference": "test"}
    paid = wallet.Transfer(transfer_id=new_id(), kind="deposit", **fields)  # pyright: ignore[reportArgumentType] -- fields by name
    await operator.call(wallet.CREDIT_BALANCE, paid)
    with pytest.raises(MoneyLeft) as refused:
        await operator.call(ERASE, Erase(user_id=user_id, password=PASSWORD))
    assert (refused.value.members["cash"], refused.value.members["debt"]) == (70, 0)
    taken = wallet.Transfer(transfer_id=new_id(), kind="withdrawal", **fields)  # pyright: ignore[reportArgumentType] -- fields by name
    await operator.call(wallet.DEDUCT_BALANCE, taken)
    await operator.call(ERASE, Erase(user_id=user_id, password=PASSWORD))


async def test_an_exclusion_outlasts_the_wish_to_be_forgotten(operator: Operator) -> None:
    user_id, _ = await registered(operator)
    await operator.call(identity.SELF_EXCLUDE, SelfExclude(user_id=user_id, months=6))
    with pytest.raises(Conflict, match="before its exclusion ends"):
        await operator.call(ERASE, Erase(user_id=user_id, password=PASSWORD))
    assert (await profile_of(operator, user_id)).excluded_until is not None
