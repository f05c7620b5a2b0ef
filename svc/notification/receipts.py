"""Delivery receipts: signed, in any order, sometimes before the sending itself is recorded."""

from collections.abc import Mapping
from urllib.parse import parse_qsl

from svc.mesh.context import Context
from svc.mesh.contract import RawMessage
from svc.mesh.database import Tx
from svc.mesh.errors import Invalid
from svc.notification import messages_store, rules
from svc.notification.contract import (
    NOTIFICATION_DELIVERED,
    NOTIFICATION_FAILED,
    BadSignature,
    NotificationDelivered,
    NotificationFailed,
)
from svc.notification.messages_store import Outgoing

TEXT_MAX = 128


async def take_in(message: RawMessage, settings: Mapping[str, str], context: Context) -> None:
    """Check and record a receipt, then move its message on.

    Raises BadSignature when X-Twilio-Signature does not hold, Invalid when the receipt does not
    say which message it is about. One that we never sent is recorded and otherwise ignored.
    """
    try:
        parameters = parse_qsl(
            message.body.decode(), keep_blank_values=True, strict_parsing=bool(message.body)
        )
    except ValueError:
        raise BadSignature from None
    # The provider signs the address that we gave it; behind a proxy the gateway sees another one.
    own_url = settings["GATEWAY_URL"].rstrip("/") + "/webhooks/sms"
    given = message.headers.get("x-twilio-signature", "")
    token = settings["SMS_WEBHOOK_TOKEN"]
    if not rules.is_signed(given, token, {message.url, own_url}, parameters):
        raise BadSignature
    told = dict(parameters)
    provider_id = told.get("MessageSid") or told.get("SmsSid") or ""
    status = told.get("MessageStatus") or told.get("SmsStatus") or ""
    if not 0 < len(provider_id) <= TEXT_MAX or not 0 < len(status) <= TEXT_MAX:
        raise Invalid("a receipt needs MessageSid and MessageStatus")
    error_code = told.get("ErrorCode", "")[:TEXT_MAX] or None
    if "\0" in provider_id + status + (error_code or ""):
        raise Invalid("the character U+0000 is not accepted in text")
    async with context.transaction() as tx:
        await messages_store.lock_provider_id(tx, provider_id)
        await messages_store.insert_receipt(tx, provider_id, status, error_code, context.now())
        await apply(tx, provider_id)


async def apply(tx: Tx, provider_id: str) -> None:
    """Move the message of a provider's id to the furthest state that receipts tell of.

    The caller holds the lock of the id (`lock_provider_id`).
    """
    message = await messages_store.find_by_provider_id(tx, provider_id)
    if message is None:
        return
    told = await messages_store.receipts_of(tx, provider_id)
    status = rules.furthest(told)
    if status is None or not rules.moves_on(message.status, status):
        return
    reason = next((f"error {code}" for code in told.values() if code), "not delivered")
    final = status in ("delivered", "failed")
    if not final or not await messages_store.set_final(
        tx, message.message_id, status, reason if status == "failed" else None
    ):
        return
    if status == "failed":
        await tell_failed(tx, message, reason)
    else:
        await tx.publish(
            NOTIFICATION_DELIVERED,
            NotificationDelivered(
                message_id=message.message_id,
                user_id=message.user_id,
                template=message.template,
                channel=message.channel,
                cause=message.cause,
            ),
            subject=message.user_id,
        )


async def tell_failed(tx: Tx, message: Outgoing, reason: str) -> None:
    """Publish that a message did not reach its user."""
    await tx.publish(
        NOTIFICATION_FAILED,
        NotificationFailed(
            message_id=message.message_id,
            user_id=message.user_id,
            template=message.template,
            channel=message.channel,
            cause=message.cause,
            reason=reason,
        ),
        subject=message.user_id,
    )
