"""Webhooks: stored as they came, once, and applied in whatever order they come."""

import re
from collections.abc import Awaitable, Callable
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
    disputes,
    provider,
    refund_returns,
    refunds,
    rules,
    store_deposits,
    store_players,
    store_refunds,
    store_webhooks,
    store_withdrawals,
    withdrawals,
)

State = Literal["applied", "ignored", "parked"]
Follow = tuple[Callable[[Context, str], Awaitable[object]], str]
"""A step to take after the commit, and the id of what it is taken for."""


class Told(Struct, frozen=True, kw_only=True):
    """What every object of a webhook has, and what some have."""

    id: str = ""
    metadata: dict[str, str] = {}
    payment_intent: str | None = None
    amount_refunded: int = 0
    refunds: "ToldRefunds | None" = None

    @property
    def given_back(self) -> int:
        """Return all that was ever given back, what failed later included."""
        listed = sum(each.amount for each in self.refunds.data) if self.refunds else 0
        return max(self.amount_refunded, listed)


class ToldRefund(Struct, frozen=True, kw_only=True):
    """One refund in the list of its charge."""

    amount: int = 0


class ToldRefunds(Struct, frozen=True, kw_only=True):
    """The refunds of a charge, in the forms that list them."""

    data: list[ToldRefund] = []


class Data(Struct, frozen=True, kw_only=True):
    """The object that a webhook is about."""

    object: msgspec.Raw


class Webhook(Struct, frozen=True, kw_only=True):
    """A webhook of the provider."""

    id: str
    type: str
    data: Data


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
        if not await store_webhooks.keep(tx, (hook.id, hook.type, about), message.body):
            return
        follow = await _settle(tx, hook, told)
    await follow_up(context, follow)


async def learn(context: Context, body: bytes) -> bool:
    """Apply an event that the provider listed, unless it was told before; True when it was news.

    Raises Invalid for a body that is no event.
    """
    hook, told = _decode(body)
    async with context.transaction() as tx:
        about = told.payment_intent or told.id
        if not await store_webhooks.keep(tx, (hook.id, hook.type, about), body):
            return False
        follow = await _settle(tx, hook, told)
    await follow_up(context, follow)
    return True


async def retry(context: Context, event_id: str) -> None:
    """Apply a webhook that waits, if its payment is known by now."""
    async with context.transaction() as tx:
        body = await store_webhooks.lock_parked(tx, event_id)
        follow = await _settle(tx, *_decode(body)) if body else None
    await follow_up(context, follow)


async def release_parked(tx: Tx, provider_id: str) -> None:
    """Apply what waited for a deposit that is known now, or for the end of its refund."""
    for body in await store_webhooks.parked_of(tx, provider_id):
        hook, told = _decode(body)
        state, _ = await _apply(tx, hook, told)
        await store_webhooks.webhook_is(tx, hook.id, state)


async def follow_up(context: Context, follow: Follow | None) -> None:
    """Make the calls that news lead to; what cannot be done now the sweep does."""
    if follow is None:
        return
    step, row_id = follow
    try:
        await step(context, row_id)
    except Unavailable as failure:
        context.log.warning("left to the sweep", id=row_id, cause=str(failure))
    except Refused:
        context.log.exception("cannot go on", id=row_id)


def _decode(body: bytes) -> tuple[Webhook, Told]:
    if rb"\u0000" in body:
        raise Invalid("the character U+0000 is not accepted in text")
    try:
        hook = msgspec.json.decode(body, type=Webhook)
        return hook, msgspec.json.decode(hook.data.object, type=Told)
    except msgspec.DecodeError as failure:
        raise Invalid(f"not a webhook of the payment provider: {failure}") from failure


async def _settle(tx: Tx, hook: Webhook, told: Told) -> Follow | None:
    """Apply a webhook and keep what became of it; returns what to bring on afterwards, or None."""
    state, follow = await _apply(tx, hook, told)
    await store_webhooks.webhook_is(tx, hook.id, state)
    if state == "applied" and hook.type.startswith("payment_intent."):
        await release_parked(tx, told.id)
    return follow


async def _apply(tx: Tx, hook: Webhook, told: Told) -> tuple[State, Follow | None]:
    try:
        match hook.type.split("."):
            case ["payment_intent", what]:
                intent = msgspec.json.decode(hook.data.object, type=provider.Intent)
                return await _intent(tx, what, intent), None
            case ["payout", what] if what in {"paid", "failed", "canceled"}:
                payout = msgspec.json.decode(hook.data.object, type=provider.Payout)
                return await _payout(tx, payout)
            case ["charge", "refunded"]:
                return await _refunded(tx, told), None
            case ["refund", _] | ["charge", "refund", "updated"]:
                refund = msgspec.json.decode(hook.data.object, type=provider.Refund)
                return await _refund_told(tx, refund, told)
            case ["charge", "dispute", _] if told.id:
                dispute = msgspec.json.decode(hook.data.object, type=provider.Dispute)
                return await _disputed(tx, dispute, told)
            case _:
                return "ignored", None
    except msgspec.ValidationError as failure:
        raise Invalid(f"not a {hook.type}: {failure}") from failure


async def _deposit_of(tx: Tx, provider_id: str, metadata: dict[str, str]) -> str | None:
    """Return the deposit of a payment: by the provider's id, else by what we told it.

    Its player is locked from then on, as everybody locks players before their payments.
    """
    if found := await store_deposits.id_of(tx, provider_id):
        deposit_id, user_id = found
        await store_players.lock(tx, user_id)
        return deposit_id
    named = metadata.get("deposit_id", "")
    owner = await store_deposits.user_of(tx, named) if re.fullmatch(UUID_PATTERN, named) else None
    if owner is None:
        return None
    await store_players.lock(tx, owner)
    row = await store_deposits.lock(tx, named)
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


async def _payout(tx: Tx, payout: provider.Payout) -> tuple[State, Follow | None]:
    withdrawal_id = await store_withdrawals.id_of(tx, payout.id)
    named = payout.metadata.get("withdrawal_id", "")
    if withdrawal_id is None and re.fullmatch(UUID_PATTERN, named):
        row = await store_withdrawals.find(tx, named)
        withdrawal_id = named if row and row.provider_id in {None, payout.id} else None
    if withdrawal_id is None:
        return "parked", None
    await withdrawals.apply(tx, withdrawal_id, payout)
    return "applied", (withdrawals.advance, withdrawal_id)


async def _refunded(tx: Tx, told: Told) -> State:
    """A refund waits until the deposit's success is known: only then its money can go.

    While one of ours is under way, nobody knows whether this is that one.
    """
    deposit_id = await _deposit_of(tx, told.payment_intent or "", told.metadata)
    deposit = await store_deposits.lock(tx, deposit_id) if deposit_id else None
    if deposit is None or deposit.status in {"pending", "failed"}:
        return "parked"
    if await store_refunds.ours_is_open(tx, deposit.deposit_id):
        return "parked"
    await refunds.found_at_provider(tx, deposit, told.given_back)
    return "applied"


async def _refund_told(
    tx: Tx, refund: provider.Refund, told: Told
) -> tuple[State, Follow | None]:  # fmt: skip
    """A refund that failed returns, once its making is known; any other news tell nothing new."""
    if refund.status not in {"failed", "canceled"}:
        return "ignored", None
    deposit_id = await _deposit_of(tx, refund.payment_intent or "", told.metadata)
    deposit = await store_deposits.lock(tx, deposit_id) if deposit_id else None
    return_id = await refund_returns.apply(tx, deposit, refund) if deposit else None
    if return_id is None:
        return "parked", None
    return "applied", (refund_returns.advance, return_id)


async def _disputed(
    tx: Tx, dispute: provider.Dispute, told: Told
) -> tuple[State, Follow | None]:  # fmt: skip
    """A dispute waits until the deposit's success is known, as a refund does."""
    deposit_id = await _deposit_of(tx, told.payment_intent or "", told.metadata)
    deposit = await store_deposits.lock(tx, deposit_id) if deposit_id else None
    if deposit is None or deposit.status in {"pending", "failed"}:
        return "parked", None
    return "applied", (disputes.advance, await disputes.apply(tx, deposit, dispute))
