"""Delivery receipts: signed, in any order, more than once, for messages known or not."""

import base64

import msgspec
import pytest
from twilio.request_validator import RequestValidator

from svc.mesh.clock import new_id
from svc.mesh.contract import RawMessage
from svc.mesh.errors import Invalid
from svc.notification.contract import (
    NOTIFICATION_DELIVERED,
    RECEIVE_RECEIPT,
    BadSignature,
)
from tests.support.mesh import Operator, Services
from tests.support.platform import Platform


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
    zero = receipt(platform, "SM\x00", "delivered")
    with pytest.raises(Invalid, match=r"U\+0000"):
        await operator.call(
            RECEIVE_RECEIPT,
            msgspec.structs.replace(zero, body=b"MessageSid=SM%00&MessageStatus=delivered"),
        )
