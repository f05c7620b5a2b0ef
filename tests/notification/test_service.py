"""notification on the real broker and database, with identity, localization and the provider."""

import random
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from svc.casino import contract as casino
from svc.identity import contract as identity
from svc.mesh.clock import new_id
from svc.mesh.errors import Forbidden, Invalid
from svc.notification.contract import (
    DELIVERIES,
    LIST_MESSAGES,
    NOTIFICATION_DELIVERED,
    NOTIFICATION_FAILED,
    NOTIFICATION_REQUESTED,
    NOTIFICATION_SENT,
    SET_PREFERENCES,
    UPDATES,
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
from tests.notification.conftest import Provider, Register, User, inbox, payout, received
from tests.support.mesh import Operator
from tests.support.platform import Platform
from tests.support.waiting import until


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
    registered = await operator.heard(
        identity.USER_REGISTERED, lambda data: data.user_id == user.user_id
    )
    assert {event.data.cause for event in sent} == {registered.id}


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


async def test_staff_see_the_counts_and_the_job_is_asked_for(
    register: Register, operator: Operator
) -> None:
    user = await register()
    await inbox(operator, user, 1)
    counted = await operator.call(DELIVERIES, DeliveriesOf())
    assert {item.channel for item in counted.items} == {"sms", "email", "in_app"}
    job = await operator.heard(scheduler.JOB_REQUESTED, lambda j: j.service == "notification")
    assert job.data.name == "retry-queued"
