"""Webhooks: stored as they came, once, and applied in whatever order they come."""

import re
from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec import Struct

from svc.mesh.context import Context
from svc.mesh.contract import RawMessage
from svc.mesh.database import Tx
from svc.mesh.errors import Invalid, Refused, Unavailable
from svc.mesh.types import UUID_PATTERN
from svc.payment import (
    deposits,
    provider,
    refunds,
    rules,
    store_deposits,
    store_refunds,
    store_withdrawals,
    withdrawals,
)

State = Literal["applied", "ignored", "parked"]


class Told(Struct, frozen=True, kw_only=True):
    """What every object of a webhook has, and what some have."""

    id: str = ""
    metadata: dict[str, str] = {}
    payment_intent: str | None = None
    amount_refunded: int = 0
    reason: str | None = None


class Data(Struct, frozen=True, kw_only=True):
    """The object that a webhook is about."""

    object: msgspec.Raw


class Webhook(Struct, frozen=True, kw_only=True):
    """A webhook of the provider."""

    id: str
    type: str
    data: Data


class FollowUp(Struct, frozen=True, kw_only=True):
    """Calls that a webhook leads to, made after its transaction."""

    kind: Literal["withdrawal", "refund"]
    id: str


async def receive(message: RawMessage, context: Context) -> None:
    """Check, store and apply a webhook; once stored it is ours, and the answer is yes.

    Raises BadSignature, and Invalid for a signed body that is no webhook.
    """
    secrets = rules.secrets_of(context.setting("PAYMENT_WEBHOOK_SECRET"))
    header = message.headers.get("stripe-signature", "")
    rules.check_signature(header, message.body, secrets, int(context.now().timestamp()))
    hook, told = _decode(message.body)
    async with context.transaction() as tx:
        about = told.payment_intent or told.id
        if not await store_refunds.keep_webhook(tx, (hook.id, hook.type, about), message.body):
            return
        follow_ups = await _settle(tx, hook, told)
    await follow(context, follow_ups)


async def retry(context: Context, event_id: str) -> None:
    """Apply a webhook that waits, if its payment is known by now."""
    async with context.transaction() as tx:
        body = await store_refunds.lock_parked(tx, event_id)
        follow_ups = await _settle(tx, *_decode(body)) if body else []
    await follow(context, follow_ups)


async def release_parked(tx: Tx, provider_id: str, but: str) -> list[FollowUp]:
    """Apply what waited for a payment that is known now; `but` is the one being applied."""
    follow_ups: list[FollowUp] = []
    for _, body in await store_refunds.parked_of(tx, provider_id, but):
        hook, told = _decode(body)
        state, more = await _apply(tx, hook, told)
        if state != "parked":
            await store_refunds.webhook_is(tx, hook.id, state)
        follow_ups += more
    return follow_ups


async def follow(context: Context, follow_ups: Sequence[FollowUp]) -> None:
    """Make the calls that webhooks led to; what cannot be done now is left to the sweep."""
    for each in follow_ups:
        step = withdrawals.advance if each.kind == "withdrawal" else refunds.advance
        try:
            await step(context, each.id)
        except Unavailable as failure:
            context.log.warning("left to the sweep", kind=each.kind, id=each.id, cause=str(failure))
        except Refused:
            context.log.exception("cannot go on", kind=each.kind, id=each.id)


def _decode(body: bytes) -> tuple[Webhook, Told]:
    try:
        hook = msgspec.json.decode(body, type=Webhook)
        return hook, msgspec.json.decode(hook.data.object, type=Told)
    except msgspec.DecodeError as failure:
        raise Invalid(f"not a webhook of the payment provider: {failure}") from failure


async def _settle(tx: Tx, hook: Webhook, told: Told) -> list[FollowUp]:
    state, follow_ups = await _apply(tx, hook, told)
    if state != "parked":
        await store_refunds.webhook_is(tx, hook.id, state)
        if hook.type.startswith("payment_intent."):
            follow_ups = follow_ups + await release_parked(tx, told.id, but=hook.id)
    return follow_ups


async def _apply(tx: Tx, hook: Webhook, told: Told) -> tuple[State, list[FollowUp]]:
    try:
        match hook.type.split("."):
            case ["payment_intent", what]:
                intent = msgspec.json.decode(hook.data.object, type=provider.Intent)
                return await _intent(tx, what, intent), []
            case ["payout", what] if what in {"paid", "failed", "canceled"}:
                payout = msgspec.json.decode(hook.data.object, type=provider.Payout)
                return await _payout(tx, payout)
            case ["charge", "refunded"]:
                return await _refunded(tx, told)
            case ["charge", "dispute", "created"]:
                return await _disputed(tx, told)
            case _:
                return "ignored", []
    except msgspec.ValidationError as failure:
        raise Invalid(f"not a {hook.type}: {failure}") from failure


async def _deposit_of(tx: Tx, provider_id: str, metadata: dict[str, str]) -> str | None:
    """Return the deposit of a payment: by the provider's id, else by what we told it."""
    if found := await store_deposits.id_of(tx, provider_id):
        return found[0]
    named = metadata.get("deposit_id", "")
    row = await store_deposits.lock(tx, named) if re.match(UUID_PATTERN, named) else None
    return named if row and row.provider_id in {None, provider_id} else None


async def _intent(tx: Tx, what: str, intent: provider.Intent) -> State:
    deposit_id = await _deposit_of(tx, intent.id, intent.metadata)
    if deposit_id is None:
        return "parked"
    await deposits.know(tx, deposit_id, intent)
    if what == "succeeded":
        await deposits.succeed(tx, deposit_id, intent)
    elif what in {"payment_failed", "canceled"}:
        await deposits.fail(tx, deposit_id, deposits.reason_of(intent))
    else:
        return "ignored"
    return "applied"


async def _payout(tx: Tx, payout: provider.Payout) -> tuple[State, list[FollowUp]]:
    withdrawal_id = await store_withdrawals.id_of(tx, payout.id)
    named = payout.metadata.get("withdrawal_id", "")
    if withdrawal_id is None and re.match(UUID_PATTERN, named):
        row = await store_withdrawals.find(tx, named)
        withdrawal_id = named if row and row.provider_id in {None, payout.id} else None
    if withdrawal_id is None:
        return "parked", []
    await withdrawals.apply(tx, withdrawal_id, payout)
    return "applied", [FollowUp(kind="withdrawal", id=withdrawal_id)]


async def _refunded(tx: Tx, told: Told) -> tuple[State, list[FollowUp]]:
    """A refund waits until the deposit's success is known: only then its money can go."""
    deposit_id = await _deposit_of(tx, told.payment_intent or "", told.metadata)
    deposit = await store_deposits.lock(tx, deposit_id) if deposit_id else None
    if deposit is None or deposit.status in {"pending", "failed"}:
        return "parked", []
    refund_id = await refunds.found_at_provider(tx, deposit, told.amount_refunded)
    return "applied", [FollowUp(kind="refund", id=refund_id)] if refund_id else []


async def _disputed(tx: Tx, told: Told) -> tuple[State, list[FollowUp]]:
    """A chargeback is for a person to look at: the deposit is flagged."""
    deposit_id = await _deposit_of(tx, told.payment_intent or "", told.metadata)
    if deposit_id is None:
        return "parked", []
    await store_deposits.flag(tx, deposit_id, f"disputed: {told.reason}", tx.context.now())
    return "applied", []
