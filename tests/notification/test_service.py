"""notification on the real broker and database, with identity, localization and the provider."""

import base64
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from twilio.request_validator import RequestValidator

from svc.casino import contract as casino
from svc.identity import contract as identity
from svc.marketing import contract as marketing
from svc.mesh.clock import new_id
from svc.mesh.contract import RawMessage
from svc.mesh.errors import Forbidden, Invalid
from svc.notification.contract import (
    DELIVERIES,
    LIST_MESSAGES,
    NOTIFICATION_DELIVERED,
    NOTIFICATION_FAILED,
    NOTIFICATION_REQUESTED,
    NOTIFICATION_SENT,
    RECEIVE_RECEIPT,
    SET_PREFERENCES,
    UPDATES,
    BadSignature,
    Category,
    Channel,
    DeliveriesOf,
    Inbox,
    InboxOf,
    Message,
    NotificationRequested,
    Preference,
    SetPreferences,
)
from svc.scheduler import contract as scheduler
from svc.sportsbook import contract as sportsbook
from tests.notification.conftest import Provider, User, until
from tests.support.mesh import Operator, Services
from tests.support.platform import Platform

Register = Callable[..., Awaitable[User]]


def bet(user_id: str) -> sportsbook.BetPlaced:
    return sportsbook.BetPlaced(
        bet_id=new_id(),
        user_id=user_id,
        kind="single",
        stake=1_234,
        currency="EUR",
        odds="1.85",
        potential_payout=2_283,
        legs=1,
        event_ids=["sr:match:1"],
        stake_transfer_id=new_id(),
    )


def payout(user_id: str, amount: int) -> casino.CasinoPayoutComplete:
    return casino.CasinoPayoutComplete(
        round_id=new_id(),
        session_id=new_id(),
        user_id=user_id,
        game_id="slots",
        stake=100,
        payout=amount,
        currency="EUR",
        transfer_id=new_id(),
        stake_transfer_id=new_id(),
    )


async def inbox(operator: Operator, user: User, count: int) -> list[Message]:
    """Wait until a user has so many in-app messages and return them, newest first."""
    found: list[Message] = []

    async def there() -> bool:
        page = await operator.call(LIST_MESSAGES, InboxOf(user_id=user.user_id))
        found[:] = page.items
        return len(found) >= count

    await until(there)
    return found


async def received(provider: Provider, to: str, count: int = 1) -> list[str]:
    """Wait until the provider has so many messages for an address and return their bodies."""
    found: list[str] = []

    async def there() -> bool:
        found[:] = [message["body"] for message in await provider.messages(to)]
        return len(found) >= count

    await until(there)
    return found


async def states(platform: Platform, user: User) -> dict[tuple[str, str], str]:
    """Return the state of each of a user's messages, by template and channel."""
    async with platform.database("notification") as database:
        rows = await database.fetch(
            "SELECT template, channel, status FROM messages WHERE user_id = $1", user.user_id
        )
    return {(row["template"], row["channel"]): row["status"] for row in rows}


async def prefer(
    operator: Operator, user: User, category: Category, channel: Channel, *, enabled: bool
) -> None:
    choice = Preference(category=category, channel=channel, enabled=enabled)
    await operator.call(SET_PREFERENCES, SetPreferences(user_id=user.user_id, preferences=[choice]))


async def test_a_new_user_is_welcomed_in_their_language_by_sms_email_and_in_app(
    register: Register, operator: Operator, provider: Provider
) -> None:
    user = await register(locale="de")
    (welcome,) = await inbox(operator, user, 1)
    assert welcome.title == "Willkommen bei betmesh"
    assert (await received(provider, user.phone)) == [welcome.text]
    assert (await received(provider, user.email)) == [welcome.text]
    sent = await operator.all_heard(
        NOTIFICATION_SENT, lambda sent: sent.user_id == user.user_id, count=3
    )
    assert {event.data.channel for event in sent} == {"sms", "email", "in_app"}
    assert {event.data.cause for event in sent} == {"UserRegisteredEvent"}


async def test_receipts_through_the_gateway_make_messages_delivered(
    register: Register, operator: Operator, platform: Platform
) -> None:
    user = await register()
    delivered = await operator.all_heard(
        NOTIFICATION_DELIVERED, lambda event: event.user_id == user.user_id, count=2
    )
    assert {event.data.channel for event in delivered} == {"sms", "email"}
    found = await states(platform, user)
    assert found == {
        ("welcome", "sms"): "delivered",
        ("welcome", "email"): "delivered",
        ("welcome", "in_app"): "sent",
    }


async def test_a_number_that_cannot_be_reached_fails_with_the_providers_error(
    register: Register, operator: Operator
) -> None:
    user = await register(phone=f"+49{random.randrange(10**5, 10**6)}0000")
    failed = await operator.heard(NOTIFICATION_FAILED, lambda event: event.user_id == user.user_id)
    assert failed.data.channel == "sms"
    assert "error 3000" in failed.data.reason


async def test_a_bet_is_confirmed_by_sms_and_the_same_event_twice_confirms_it_once(
    register: Register, operator: Operator, provider: Provider
) -> None:
    user = await register(locale="de")
    await received(provider, user.phone)
    event_id = new_id()
    for _ in range(3):
        await operator.publish(
            sportsbook.BET_PLACED, bet(user.user_id), subject=user.user_id, event_id=event_id
        )
    await operator.publish(
        casino.CASINO_PAYOUT_COMPLETE, payout(user.user_id, 0), subject=user.user_id
    )
    await operator.publish(
        casino.CASINO_PAYOUT_COMPLETE, payout(user.user_id, 5_000), subject=user.user_id
    )
    messages = await inbox(operator, user, 3)
    assert {message.template for message in messages} == {"welcome", "bet_placed", "casino_payout"}
    confirmation = next(m for m in messages if m.template == "bet_placed")
    assert "12,34\xa0€" in confirmation.text
    assert "22,83\xa0€" in confirmation.text
    bodies = await received(provider, user.phone, 3)
    assert len(bodies) == 3
    assert confirmation.text in bodies


async def test_what_a_user_turned_off_does_not_leave(
    register: Register, operator: Operator, platform: Platform
) -> None:
    user = await register()
    await prefer(operator, user, "transactional", "sms", enabled=False)
    await operator.publish(sportsbook.BET_PLACED, bet(user.user_id), subject=user.user_id)
    await inbox(operator, user, 2)
    found = await states(platform, user)
    assert found["bet_placed", "sms"] == "suppressed"
    assert found["bet_placed", "in_app"] == "sent"


async def test_security_messages_cannot_be_turned_off_and_nothing_else_changes_then(
    register: Register, operator: Operator
) -> None:
    user = await register(opt_in=True)
    await inbox(operator, user, 1)
    choices = [
        Preference(category="transactional", channel="sms", enabled=False),
        Preference(category="security", channel="email", enabled=False),
    ]
    with pytest.raises(Forbidden):
        await operator.call(
            SET_PREFERENCES, SetPreferences(user_id=user.user_id, preferences=choices)
        )
    again = [Preference(category="marketing", channel="sms", enabled=False)]
    held = await operator.call(
        SET_PREFERENCES, SetPreferences(user_id=user.user_id, preferences=again)
    )
    off = {(p.category, p.channel) for p in held.preferences if not p.enabled}
    assert off == {("marketing", "sms")}
    assert len(held.preferences) == 9


async def ask(
    operator: Operator, user: User, category: Category, template: str = "security_alert"
) -> None:
    await operator.publish(
        NOTIFICATION_REQUESTED,
        NotificationRequested(
            user_id=user.user_id,
            template=template,
            category=category,
            arguments={"reason": "A reason {with} <tags>."},
        ),
        subject=user.user_id,
        publisher="identity",
    )


async def test_marketing_needs_an_opt_in_and_security_does_not(
    register: Register, operator: Operator, platform: Platform
) -> None:
    silent, willing = await register(opt_in=False), await register(opt_in=True)
    for user in (silent, willing):
        await inbox(operator, user, 1)
        await ask(operator, user, "marketing")
    (told, _) = await inbox(operator, willing, 2)
    assert told.text == "A reason {with} <tags>."
    await ask(operator, silent, "security")
    await inbox(operator, silent, 2)
    async with platform.database("notification") as database:
        rows = await database.fetch(
            "SELECT category, status FROM messages WHERE user_id = $1 AND channel = 'in_app'"
            " AND template = 'security_alert' ORDER BY category",
            silent.user_id,
        )
    assert [tuple(row) for row in rows] == [("marketing", "suppressed"), ("security", "sent")]


async def test_players_who_excluded_themselves_get_no_marketing(
    register: Register, operator: Operator, platform: Platform
) -> None:
    user = await register(opt_in=True)
    await inbox(operator, user, 1)
    await operator.publish(
        identity.SELF_EXCLUDED,
        identity.SelfExcludedData(
            user_id=user.user_id, until=datetime.now(UTC) + timedelta(days=180), time_out=False
        ),
        subject=user.user_id,
    )
    (confirmed, _) = await inbox(operator, user, 2)
    assert confirmed.template == "self_excluded"
    await ask(operator, user, "marketing")

    async def suppressed() -> bool:
        return (await states(platform, user)).get(("security_alert", "in_app")) == "suppressed"

    await until(suppressed)


async def test_a_request_without_texts_fails_and_says_why(
    register: Register, operator: Operator
) -> None:
    user = await register()
    await ask(operator, user, "transactional", template="no_such_template")
    failed = await operator.heard(
        NOTIFICATION_FAILED,
        lambda event: event.user_id == user.user_id and event.template == "no_such_template",
    )
    assert failed.data.reason == "there is no text for the template no_such_template"


async def test_the_inbox_has_pages(register: Register, operator: Operator) -> None:
    user = await register()
    for amount in range(1, 6):
        await operator.publish(
            casino.CASINO_PAYOUT_COMPLETE, payout(user.user_id, amount), subject=user.user_id
        )
    everything = await inbox(operator, user, 6)
    paged: list[Message] = []
    cursor: str | None = None
    while True:
        page = await operator.call(
            LIST_MESSAGES, InboxOf(user_id=user.user_id, limit=2, cursor=cursor)
        )
        paged += page.items
        cursor = page.next_cursor
        if cursor is None:
            break
    assert paged == everything
    with pytest.raises(Invalid):
        await operator.call(LIST_MESSAGES, InboxOf(user_id=user.user_id, cursor="nonsense"))


async def test_new_messages_are_pushed_to_the_users_live_channel(
    register: Register, operator: Operator
) -> None:
    user = await register()
    await inbox(operator, user, 1)
    live = await operator.connection.subscribe(UPDATES.subject(user.user_id))
    await operator.connection.flush()
    await operator.publish(
        casino.CASINO_PAYOUT_COMPLETE, payout(user.user_id, 100), subject=user.user_id
    )
    frame = msgspec.json.decode((await live.next_msg(timeout=10)).data, type=Inbox)
    await live.unsubscribe()
    assert [message.template for message in frame.items] == ["casino_payout"]


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


def receipt(platform: Platform, sid: str, status: str, *, token: str | None = None) -> RawMessage:
    """Make a receipt signed by twilio's own library."""
    url = platform.settings["GATEWAY_URL"] + "/webhooks/sms"
    signer = RequestValidator(token or platform.settings["SMS_WEBHOOK_TOKEN"])
    signature = signer.compute_signature(url, {"MessageSid": sid, "MessageStatus": status})
    return RawMessage(
        body=f"MessageSid={sid}&MessageStatus={status}".encode(),
        headers={"x-twilio-signature": signature},
        url=url,
    )


async def test_receipts_come_in_any_order_more_than_once_and_for_unknown_messages(
    services: Services, operator: Operator, platform: Platform
) -> None:
    await services("notification")
    sid = "SM" + new_id().replace("-", "")
    async with platform.database("notification") as database:
        user_id, message_id = new_id(), new_id()
        await operator.call(RECEIVE_RECEIPT, receipt(platform, sid, "delivered"))
        await database.execute("INSERT INTO recipients (user_id) VALUES ($1)", user_id)
        await database.execute(
            "INSERT INTO messages (message_id, event_id, user_id, template, category, channel,"
            " arguments, cause, correlation_id, at, status, title, body, provider_id,"
            " next_attempt_at, created_at) VALUES ($1, $1, $2, 'welcome', 'transactional', 'sms',"
            " '{}', 'test', '', now(), 'sent', 'a', 'b', $3, now(), now())",
            message_id,
            user_id,
            sid,
        )
        for status in ("sent", "undelivered", "delivered", "queued"):
            await operator.call(RECEIVE_RECEIPT, receipt(platform, sid, status))
        status = await database.fetchval(
            "SELECT status FROM messages WHERE message_id = $1", message_id
        )
        recorded = await database.fetchval(
            "SELECT count(*) FROM receipts WHERE provider_id = $1", sid
        )
    assert status == "delivered"
    assert recorded == 4
    await operator.heard(NOTIFICATION_DELIVERED, lambda e: e.message_id == message_id)
    told = await operator.all_heard(NOTIFICATION_DELIVERED, lambda e: e.message_id == message_id)
    assert len(told) == 1


async def test_a_forged_receipt_is_refused(
    services: Services, operator: Operator, platform: Platform
) -> None:
    await services("notification")
    good = receipt(platform, "SM1", "delivered")
    forged = [
        receipt(platform, "SM1", "delivered", token="another"),
        msgspec.structs.replace(good, body=good.body + b"&To=1"),
        msgspec.structs.replace(good, headers={}),
        msgspec.structs.replace(good, body=b"\xff\xfe"),
        msgspec.structs.replace(good, body=base64.b64encode(b"no form at all")),
    ]
    for message in forged:
        with pytest.raises(BadSignature):
            await operator.call(RECEIVE_RECEIPT, message)


async def test_a_signed_receipt_that_names_no_message_is_invalid(
    services: Services, operator: Operator, platform: Platform
) -> None:
    await services("notification")
    with pytest.raises(Invalid):
        await operator.call(RECEIVE_RECEIPT, receipt(platform, "", "delivered"))


async def test_staff_see_the_counts_and_the_job_is_asked_for(
    register: Register, operator: Operator
) -> None:
    user = await register()
    await inbox(operator, user, 1)
    counted = await operator.call(DELIVERIES, DeliveriesOf())
    assert {item.channel for item in counted.items} == {"sms", "email", "in_app"}
    job = await operator.heard(scheduler.JOB_REQUESTED, lambda j: j.service == "notification")
    assert job.data.name == "retry-queued"
