"""Deposits on the real broker, database and provider: credited once, whatever goes wrong."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import httpx
import pytest

from svc.identity import contract as identity
from svc.mesh.clock import new_id
from svc.mesh.errors import IdempotencyMismatch, Invalid, NotFound
from svc.notification import contract as notification
from svc.payment.contract import (
    GET_DEPOSIT,
    PAYMENT_FAILED,
    PAYMENT_SUCCESS,
    BadSignature,
    CurrencyMismatch,
    DepositOf,
    LimitExceeded,
    SelfExcluded,
)
from svc.payment.contract_reports import PENDING, PendingPayments
from tests.payment.support import Shop
from tests.support.waiting import until


async def intents_of(shop: Shop, deposit_id: str) -> set[str]:
    """The payments that the provider has for a deposit, as its webhooks tell."""
    events = (await shop.provider.get("/simulate/events")).json()["items"]
    return {
        str(event["about"])
        for event in events
        if event["event"]["data"]["object"].get("metadata", {}).get("deposit_id") == deposit_id
        and event["about"].startswith("pi_")
    }


async def test_a_paid_deposit_is_credited_and_the_first_one_says_so(shop: Shop) -> None:
    user = await shop.player()
    first = await shop.deposit(user, 2_500)
    assert (first.status, first.amount, first.currency) == ("pending", 2_500, "EUR")
    await shop.has(user, cash=2_500)
    await shop.deposit(user, 1_000, method="card")
    await shop.has(user, cash=3_500)
    events = await shop.operator.all_heard(PAYMENT_SUCCESS, lambda paid: paid.user_id == user)
    assert [(event.data.amount, event.data.first) for event in events] == [
        (2_500, True),
        (1_000, False),
    ]
    assert (await shop.deposit_is(user, first.deposit_id, "succeeded")).amount == 2_500


async def test_of_many_deposits_at_once_one_is_the_first(shop: Shop) -> None:
    user = await shop.player()
    await asyncio.gather(*(shop.deposit(user, 100) for _ in range(5)))
    await shop.has(user, cash=500)
    events = await shop.operator.all_heard(PAYMENT_SUCCESS, lambda paid: paid.user_id == user)
    assert sorted(event.data.first for event in events) == [False] * 4 + [True]


async def test_a_declined_card_fails_with_the_reason_in_the_players_language(shop: Shop) -> None:
    user = await shop.player(locale="de")
    asked = await shop.deposit(user, 2_500, method="card_declined")
    event = await shop.operator.heard(PAYMENT_FAILED, lambda failed: failed.user_id == user)
    assert (event.data.payment_id, event.data.reason) == (asked.deposit_id, "card_declined")
    failed = await shop.deposit_is(user, asked.deposit_id, "failed")
    assert failed.reason == "card_declined"
    assert failed.message == "Ihre Karte wurde abgelehnt. Versuchen Sie eine andere."
    assert (await shop.balance(user)).cash == 0


async def test_3ds_tells_what_to_do_and_goes_on_when_it_is_done(shop: Shop) -> None:
    user = await shop.player()
    asked = await shop.deposit(user, 700, method="card_3ds")
    assert asked.next_action is not None
    await shop.provider.post(httpx.URL(asked.next_action["redirect_to_url"]["url"]).path, json={})
    await shop.has(user, cash=700)


async def test_the_same_key_gets_the_same_answer_and_another_body_is_refused(shop: Shop) -> None:
    user, key = await shop.player(), new_id()
    answers = await asyncio.gather(*(shop.deposit(user, 400, key=key) for _ in range(5)))
    await shop.has(user, cash=400)
    answers.append(await shop.deposit(user, 400, key=key))
    assert all(answer == answers[0] for answer in answers)
    assert len(await intents_of(shop, answers[0].deposit_id)) == 1
    with pytest.raises(IdempotencyMismatch):
        await shop.deposit(user, 401, key=key)


async def test_a_method_that_nobody_knows_is_refused_for_ever(shop: Shop) -> None:
    user, key = await shop.player(), new_id()
    for _ in range(2):
        with pytest.raises(Invalid, match=r"at `\$\.method`"):
            await shop.deposit(user, 400, method="seashells", key=key)
    event = await shop.operator.heard(PAYMENT_FAILED, lambda failed: failed.user_id == user)
    assert event.data.reason == "resource_missing"


async def test_nobody_sees_the_deposit_of_another_player(shop: Shop) -> None:
    user, other = await shop.player(), await shop.player()
    asked = await shop.deposit(user, 400)
    with pytest.raises(NotFound):
        await shop.operator.call(GET_DEPOSIT, DepositOf(user_id=other, deposit_id=asked.deposit_id))


async def test_an_excluded_player_cannot_deposit(shop: Shop) -> None:
    user = await shop.player()
    until_then = datetime.now(UTC) + timedelta(days=180)
    await shop.operator.publish(
        identity.SELF_EXCLUDED,
        identity.SelfExcludedData(user_id=user, until=until_then, time_out=False),
        subject=user,
    )

    async def excluded() -> bool:
        return bool((await shop.row("players", "user_id", user))["excluded_until"])

    await until(excluded)
    with pytest.raises(SelfExcluded):
        await shop.deposit(user, 400)


async def test_a_deposit_in_another_currency_is_refused(shop: Shop) -> None:
    user = await shop.player(currency="BRL")
    with pytest.raises(CurrencyMismatch):
        await shop.deposit(user, 400)


async def test_deposits_that_wait_count_against_the_limit(shop: Shop) -> None:
    user = await shop.player()
    await shop.operator.publish(
        identity.LIMIT_CHANGED,
        identity.LimitChanged(
            user_id=user, kind="deposit", period="day", amount=1_000,
            effective_at=datetime.now(UTC),
        ),
        subject=user,
    )  # fmt: skip

    async def limited() -> bool:
        async with shop.platform.database("payment") as database:
            return bool(
                await database.fetchval("SELECT 1 FROM deposit_limits WHERE user_id = $1", user)
            )

    await until(limited)
    await shop.deposit(user, 600, method="card_3ds")
    with pytest.raises(LimitExceeded) as refused:
        await shop.deposit(user, 401)
    assert refused.value.members["remaining"] == 400
    results = await asyncio.gather(
        *(shop.deposit(user, 300) for _ in range(4)), return_exceptions=True
    )
    assert sorted(isinstance(result, LimitExceeded) for result in results) == [False] + [True] * 3


async def test_an_answer_that_never_comes_is_asked_for_again_with_the_same_key(
    shop: Shop,
) -> None:
    user = await shop.player()
    await shop.faults(timeout_after_success=2, drop=True)
    asked = await shop.deposit(user, 900)
    assert asked.status == "pending"
    assert (await shop.row("deposits", "deposit_id", asked.deposit_id))["provider_id"] is None
    await shop.sweep()
    await shop.has(user, cash=900)
    assert len(await intents_of(shop, asked.deposit_id)) == 1


async def test_a_provider_that_is_down_gets_the_deposit_later(shop: Shop) -> None:
    user = await shop.player()
    await shop.faults(error_5xx=2)
    assert (await shop.deposit(user, 900)).status == "pending"
    await shop.sweep()
    await shop.has(user, cash=900)


async def test_a_webhook_that_was_never_sent_is_found_by_asking(shop: Shop) -> None:
    user = await shop.player()
    await shop.faults(drop=True, processing_ms=0)
    asked = await shop.deposit(user, 900)

    async def provider_knows() -> bool:
        provider_id = (await shop.row("deposits", "deposit_id", asked.deposit_id))["provider_id"]
        intent = await shop.provider.get(f"/v1/payment_intents/{provider_id}")
        return bool(intent.json()["status"] == "succeeded")

    await until(provider_knows)
    await shop.sweep()
    await shop.has(user, cash=900)


async def test_duplicates_disorder_and_forgeries_credit_once(shop: Shop) -> None:
    user = await shop.player()
    await shop.faults(duplicate=True, reorder=1, bad_signature=2)
    for _ in range(3):
        await shop.deposit(user, 100)
    await shop.has(user, cash=300)

    async def all_delivered() -> bool:
        events = (await shop.provider.get("/simulate/events")).json()["items"]
        return all(event["state"] == "delivered" for event in events[-6:])

    await until(all_delivered)
    assert (await shop.balance(user)).cash == 300
    events = await shop.operator.all_heard(PAYMENT_SUCCESS, lambda paid: paid.user_id == user)
    assert len(events) == 3


async def test_an_old_or_forged_webhook_is_refused_and_changes_nothing(shop: Shop) -> None:
    user = await shop.player()
    asked = await shop.deposit(user, 100, method="card_3ds")
    intent = await intent_of(shop, asked.deposit_id)
    paid = intent | {"status": "succeeded", "amount_received": 100}
    for wrong in ({"secret": "whsec_other"}, {"age_s": 400}, {"age_s": -400}):
        with pytest.raises(BadSignature):
            await shop.webhook("payment_intent.succeeded", paid, **wrong)  # pyright: ignore[reportArgumentType] -- a table
    assert (await shop.row("deposits", "deposit_id", asked.deposit_id))["status"] == "pending"


async def test_a_secret_can_be_replaced_without_a_gap(shop: Shop) -> None:
    user = await shop.player()
    await shop.faults(rotated_secret="whsec_next")
    await shop.deposit(user, 100)
    await shop.has(user, cash=100)


async def intent_of(shop: Shop, deposit_id: str) -> dict[str, Any]:
    provider_id = (await shop.row("deposits", "deposit_id", deposit_id))["provider_id"]
    found: dict[str, Any] = (await shop.provider.get(f"/v1/payment_intents/{provider_id}")).json()
    return found


@pytest.mark.parametrize("order", list(permutations(("failed", "paid", "refunded"))))
async def test_webhooks_in_any_order_end_the_same(shop: Shop, order: tuple[str, ...]) -> None:
    user = await shop.player()
    asked = await shop.deposit(user, 100, method="card_3ds")
    intent = await intent_of(shop, asked.deposit_id)
    charge = {"id": f"ch_{new_id()}", "payment_intent": intent["id"], "amount_refunded": 100}
    told = {
        "failed": ("payment_intent.payment_failed", intent | {"status": "requires_payment_method"}),
        "paid": (
            "payment_intent.succeeded",
            intent | {"status": "succeeded", "amount_received": 100},
        ),
        "refunded": ("charge.refunded", charge),
    }
    for name in (*order, *order):
        await shop.webhook(*told[name], event=f"evt_{name}_{asked.deposit_id}")
    await shop.operator.heard(PAYMENT_SUCCESS, lambda paid: paid.user_id == user)

    async def credited() -> bool:
        async with shop.platform.database("wallet") as database:
            return bool(await database.fetchval("SELECT 1 FROM transfer WHERE user_id = $1", user))

    await until(credited)
    await shop.sweep()
    await shop.deposit_is(user, asked.deposit_id, "refunded")
    await shop.has(user, cash=0)


async def test_of_a_deposit_that_was_captured_in_part_that_part_is_credited(shop: Shop) -> None:
    user = await shop.player()
    asked = await shop.deposit(user, 100, method="card_3ds")
    intent = await intent_of(shop, asked.deposit_id)
    paid = intent | {"status": "succeeded", "amount_received": 60}
    await shop.webhook("payment_intent.succeeded", paid)
    await shop.has(user, cash=60)
    found = await shop.deposit_is(user, asked.deposit_id, "succeeded")
    assert (found.amount, found.received) == (100, 60)
    event = await shop.operator.heard(PAYMENT_SUCCESS, lambda data: data.user_id == user)
    assert event.data.amount == 60
    charge = {"id": f"ch_{new_id()}", "payment_intent": intent["id"], "amount_refunded": 60}
    await shop.webhook("charge.refunded", charge)
    await shop.sweep()
    await shop.deposit_is(user, asked.deposit_id, "refunded")
    await shop.has(user, cash=0)


async def test_a_deposit_paid_in_another_amount_is_flagged_and_not_credited(shop: Shop) -> None:
    user = await shop.player()
    before = await shop.operator.call(PENDING, PendingPayments())
    asked = await shop.deposit(user, 100, method="card_3ds")
    intent = await intent_of(shop, asked.deposit_id)
    await shop.webhook(
        "payment_intent.succeeded", intent | {"status": "succeeded", "amount_received": 101}
    )
    row = await shop.row("deposits", "deposit_id", asked.deposit_id)
    assert (row["status"], row["flag"]) == ("pending", "paid 101 EUR")
    after = await shop.operator.call(PENDING, PendingPayments())
    assert after.flagged == before.flagged + 1
    assert (await shop.balance(user)).cash == 0


async def test_a_webhook_of_an_unknown_payment_is_kept(shop: Shop) -> None:
    before = await shop.operator.call(PENDING, PendingPayments())
    intent = {"id": f"pi_{new_id()}", "status": "succeeded", "amount": 1, "currency": "eur"}
    await shop.webhook("payment_intent.succeeded", intent)
    after = await shop.operator.call(PENDING, PendingPayments())
    assert after.parked == before.parked + 1


async def test_a_signed_body_that_is_no_webhook_is_refused_clearly(shop: Shop) -> None:
    with pytest.raises(Invalid, match="amount"):
        await shop.webhook("payment_intent.succeeded", {"id": "pi_1", "amount": "much"})
    with pytest.raises(Invalid, match=r"U\+0000"):
        await shop.webhook("payment_intent.succeeded", {"id": "pi_\x00"})


async def test_a_confirmation_that_did_not_arrive_is_flagged_until_one_does(shop: Shop) -> None:
    user = await shop.player()
    asked = await shop.deposit(user, 100)
    event = await shop.operator.heard(PAYMENT_SUCCESS, lambda paid: paid.user_id == user)

    async def confirmation_is(outcome: str) -> None:
        async def so() -> bool:
            row = await shop.row("deposits", "deposit_id", asked.deposit_id)
            return bool(row["confirmation"] == outcome)

        await until(so)

    message = {"message_id": new_id(), "user_id": user, "template": "t", "cause": event.id}
    await shop.operator.publish(
        notification.NOTIFICATION_FAILED,
        notification.NotificationFailed(**message, channel="sms", reason="unreachable"),
        subject=user,
    )
    await confirmation_is("failed")
    await shop.operator.publish(
        notification.NOTIFICATION_DELIVERED,
        notification.NotificationDelivered(**message, channel="email"),
        subject=user,
    )
    await confirmation_is("delivered")
