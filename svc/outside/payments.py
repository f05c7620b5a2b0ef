"""The payment provider's memory and rules, and the signed webhooks that tell what happened."""

import asyncio
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import msgspec
from msgspec import Struct

from svc.outside.delivery import Courier, Faults, Parcel, Switch
from svc.outside.payment_objects import (
    BANKS,
    CARDS,
    REFUNDS_FAIL,
    BalanceTransaction,
    CancelIntent,
    CaptureIntent,
    Charge,
    CloseDispute,
    CompleteAction,
    CreateIntent,
    CreatePayout,
    CreateRefund,
    Dispute,
    Intent,
    Listing,
    ListRefunds,
    OpenDispute,
    Payout,
    Refund,
    Thing,
)
from svc.outside.server import Rejected

PORT = 9101
STALE_S = 600
DISPUTE_FEE = 1500
"""What a chargeback costs on top, in minor units; it stays with the bank, whoever wins."""

Found = TypeVar("Found")


class Settings(Struct, frozen=True, kw_only=True):
    """What the provider must be told."""

    key: str
    webhook_secret: str
    webhook_url: str
    port: int = PORT


class PaymentFaults(Faults, kw_only=True):
    """The faults of a webhook sender, and those of a payment API."""

    timeout_after_success: Switch = False
    """The call is carried out, but its answer never comes."""
    stale_timestamp: Switch = False
    """The attempt is signed ten minutes ago."""
    dispute: Switch = False
    """The payment is charged back as soon as it has succeeded."""
    rotated_secret: str = ""
    """Sign with this second secret too, as Stripe does while a secret is being replaced."""


def signature(body: bytes, secret: str, timestamp_s: int) -> str:
    """Return Stripe's v1 signature: the hex HMAC-SHA256 of timestamp, full stop and raw body."""
    signed = f"{timestamp_s}.".encode() + body
    return hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def _new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(12)}"


def find(things: Mapping[str, Found], key: str, name: str) -> Found:
    """Return the thing with that id; raises Rejected 404 in Stripe's words."""
    if key not in things:
        raise Rejected(404, f"No such {name}: '{key}'", code="resource_missing")
    return things[key]


def _page(
    things: Iterable[Found],
    ask: Listing,
    name: Callable[[Found], str],
    created: Callable[[Found], int],
) -> tuple[list[Found], bool]:
    rest = [each for each in reversed([*things]) if created(each) >= ask.created_gte]
    if ask.starting_after:
        names = [name(each) for each in rest]
        if ask.starting_after not in names:
            raise Rejected(400, f"No such object: '{ask.starting_after}'", code="resource_missing")
        rest = rest[names.index(ask.starting_after) + 1 :]
    return rest[: ask.limit], len(rest) > ask.limit


def _unexpected(intent: Intent, verb: str) -> Rejected:
    sentence = f"You cannot {verb} this PaymentIntent because it has a status of {intent.status}."
    return Rejected(400, sentence, code="payment_intent_unexpected_state")


class Provider:
    """The provider's memory and rules; nothing survives the process."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        """Start empty; `clock` gives Unix seconds."""
        self.settings = settings
        self.clock = clock
        self.faults = PaymentFaults()
        self.courier = Courier(self._sign, self.faults)
        self.intents: dict[str, Intent] = {}
        self.charges: dict[str, Charge] = {}  # by the id of their intent
        self.payouts: dict[str, Payout] = {}
        self.disputes: dict[str, Dispute] = {}
        self.movements: list[BalanceTransaction] = []  # oldest first
        # Idempotency key -> what was asked, and the status and body that it was answered with.
        self.answers: dict[str, tuple[bytes, int, bytes]] = {}

    def set_faults(self, faults: PaymentFaults) -> None:
        """Replace all fault switches at once."""
        self.faults = self.courier.faults = faults

    def now_s(self) -> int:
        """Return the Unix time in whole seconds."""
        return int(self.clock())

    def create_intent(self, ask: CreateIntent) -> Intent:
        """Start a payment; only webhooks, or asking again, tell how it ends."""
        if ask.payment_method not in CARDS:
            sentence = f"No such PaymentMethod: '{ask.payment_method}'"
            raise Rejected(400, sentence, code="resource_missing")
        intent = Intent(
            id=_new_id("pi"),
            amount=ask.amount,
            capture_method=ask.capture_method,
            created=self.now_s(),
            currency=ask.currency.lower(),
            metadata=ask.metadata,
            payment_method=ask.payment_method,
        )
        self.intents[intent.id] = intent
        outcome = CARDS[ask.payment_method]
        if outcome == "asks":
            intent.status = "requires_action"
            url = f"http://127.0.0.1:{self.settings.port}/simulate/complete_action/{intent.id}"
            intent.next_action = {"type": "redirect_to_url", "redirect_to_url": {"url": url}}
            self._emit("payment_intent.requires_action", intent)
        else:
            self._emit("payment_intent.processing", intent)
            self.courier.spawn(self._process(intent, succeeds=outcome == "succeeds"))
        return intent

    def complete_action(self, key: str, ask: CompleteAction) -> Intent:
        """Do what the player does on the bank's page: pass or fail the 3-D Secure check."""
        intent = find(self.intents, key, "payment_intent")
        if intent.status != "requires_action":
            raise _unexpected(intent, "authenticate")
        intent.status, intent.next_action = "processing", None
        self._emit("payment_intent.processing", intent)
        self.courier.spawn(self._process(intent, succeeds=ask.outcome == "succeeds"))
        return intent

    def capture(self, key: str, ask: CaptureIntent) -> Intent:
        """Take the money of an authorised payment, all of it or a part; the rest is let go."""
        intent = find(self.intents, key, "payment_intent")
        if intent.status != "requires_capture":
            raise _unexpected(intent, "capture")
        amount = ask.amount_to_capture or intent.amount_capturable
        if amount > intent.amount_capturable:
            raise Rejected(400, "The amount is larger than what is left.", code="amount_too_large")
        self._succeed(intent, amount)
        return intent

    def cancel(self, key: str, ask: CancelIntent) -> Intent:
        """Give up a payment that has not succeeded."""
        intent = find(self.intents, key, "payment_intent")
        if intent.status in {"succeeded", "canceled"}:
            raise _unexpected(intent, "cancel")
        intent.status, intent.amount_capturable, intent.next_action = "canceled", 0, None
        intent.cancellation_reason = ask.cancellation_reason
        self._emit("payment_intent.canceled", intent)
        return intent

    def refund(self, ask: CreateRefund) -> Refund:
        """Give a payment back, all that is left of it or a part."""
        intent = find(self.intents, ask.payment_intent, "payment_intent")
        if intent.id not in self.charges:
            raise _unexpected(intent, "refund")
        charge = self.charges[intent.id]
        left = charge.amount_captured - charge.amount_refunded
        amount = ask.amount or left
        if charge.disputed:
            sentence = f"Charge {charge.id} has been charged back; cannot issue a refund."
            raise Rejected(400, sentence, code="charge_disputed")
        if not left:
            sentence = f"Charge {charge.id} has already been refunded."
            raise Rejected(400, sentence, code="charge_already_refunded")
        if amount > left:
            sentence = f"Refund amount ({amount}) is greater than unrefunded amount ({left})."
            raise Rejected(400, sentence, code="amount_too_large")
        refund = Refund(
            id=_new_id("re"),
            amount=amount,
            charge=charge.id,
            created=self.now_s(),
            currency=charge.currency,
            metadata=ask.metadata,
            payment_intent=intent.id,
        )
        charge.amount_refunded += amount
        charge.refunded = charge.amount_refunded == charge.amount_captured
        charge.refunds.data.append(refund)
        self._move("refund", -amount, refund)
        self._emit("charge.refunded", charge)
        if intent.payment_method in REFUNDS_FAIL:
            self.courier.spawn(self._send_back(refund, charge))
        return refund

    async def _send_back(self, refund: Refund, charge: Charge) -> None:
        await asyncio.sleep(self.faults.processing_ms / 1000)
        refund.status, refund.failure_reason = "failed", "expired_or_canceled_card"
        charge.amount_refunded -= refund.amount
        charge.refunded = False
        self._move("refund_failure", refund.amount, refund)
        self._emit("refund.failed", refund)

    def create_payout(self, ask: CreatePayout) -> Payout:
        """Send money to a bank account; webhooks tell whether it arrived."""
        if ask.destination not in BANKS:
            sentence = f"No such external account: '{ask.destination}'"
            raise Rejected(400, sentence, code="resource_missing")
        payout = Payout(
            id=_new_id("po"),
            amount=ask.amount,
            created=self.now_s(),
            currency=ask.currency.lower(),
            destination=ask.destination,
            metadata=ask.metadata,
        )
        self.payouts[payout.id] = payout
        self.courier.spawn(self._pay_out(payout))
        return payout

    def open_dispute(self, ask: OpenDispute) -> Dispute:
        """Let the player's bank charge a payment back."""
        charge = find(self.charges, ask.payment_intent, "charge of payment_intent")
        left = charge.amount_captured - charge.amount_refunded
        if charge.disputed or (ask.amount or left) > left:
            raise Rejected(400, "There is nothing left to charge back.")
        charge.disputed = True
        dispute = Dispute(
            id=_new_id("dp"),
            amount=ask.amount or left,
            charge=charge.id,
            created=self.now_s(),
            currency=charge.currency,
            payment_intent=ask.payment_intent,
            reason=ask.reason,
        )
        self.disputes[dispute.id] = dispute
        taken = self._move("adjustment", -dispute.amount, dispute, fee=DISPUTE_FEE)
        dispute.balance_transactions = [taken]
        self._emit("charge.dispute.created", dispute)
        return dispute

    def close_dispute(self, key: str, ask: CloseDispute) -> Dispute:
        """Let the bank decide; `won` means that the merchant keeps the money."""
        dispute = find(self.disputes, key, "dispute")
        if dispute.status != "needs_response":
            raise Rejected(400, f"The dispute is already {dispute.status}.")
        dispute.status = ask.status
        if ask.status == "won":
            given = self._move("adjustment", dispute.amount, dispute)
            dispute.balance_transactions = [*dispute.balance_transactions, given]
        self._emit("charge.dispute.closed", dispute)
        return dispute

    async def _process(self, intent: Intent, *, succeeds: bool) -> None:
        await asyncio.sleep(self.faults.processing_ms / 1000)
        if intent.status != "processing":  # canceled meanwhile
            return
        if not succeeds:
            intent.status = "requires_payment_method"
            intent.last_payment_error = {
                "type": "card_error",
                "code": "card_declined",
                "decline_code": "generic_decline",
                "message": "Your card was declined.",
            }
            self._emit("payment_intent.payment_failed", intent)
        elif intent.capture_method == "manual":
            intent.status, intent.amount_capturable = "requires_capture", intent.amount
            self._emit("payment_intent.amount_capturable_updated", intent)
        else:
            self._succeed(intent, intent.amount)

    def _succeed(self, intent: Intent, amount: int) -> None:
        charge = Charge(
            id=_new_id("ch"),
            amount=intent.amount,
            amount_captured=amount,
            created=self.now_s(),
            currency=intent.currency,
            metadata=intent.metadata,
            payment_intent=intent.id,
        )
        self.charges[intent.id] = charge
        intent.latest_charge, intent.status = charge.id, "succeeded"
        intent.amount_received, intent.amount_capturable = amount, 0
        self._move("charge", amount, charge)
        self._emit("payment_intent.succeeded", intent)
        if self.faults.take("dispute"):
            self.open_dispute(OpenDispute(payment_intent=intent.id))

    async def _pay_out(self, payout: Payout) -> None:
        for status in BANKS[payout.destination]:
            await asyncio.sleep(self.faults.processing_ms / 1000)
            was_paid, payout.status = payout.status == "paid", status
            if status == "paid":
                self._move("payout", -payout.amount, payout)
            if status == "failed":
                if was_paid:
                    self._move("payout_failure", payout.amount, payout)
                payout.failure_code = "account_closed"
                payout.failure_message = "The bank account has been closed."
            self._emit(f"payout.{status}", payout)

    def list_movements(self, ask: Listing) -> tuple[list[BalanceTransaction], bool]:
        """Return a page of the merchant's movements, newest first, and whether more follow."""
        return _page(self.movements, ask, lambda each: each.id, lambda each: each.created)

    def list_refunds(self, ask: ListRefunds) -> tuple[list[Refund], bool]:
        """Return a page of a payment's refunds, newest first, and whether more follow."""
        charge = self.charges.get(ask.payment_intent)
        made = charge.refunds.data if charge else []
        return _page(made, ask, lambda each: each.id, lambda each: each.created)

    def list_events(self, ask: Listing) -> tuple[list[Parcel], bool]:
        """Return a page of the events, newest first, whatever became of their webhooks."""
        parcels = self.courier.parcels
        return _page(parcels, ask, lambda each: each.id, lambda each: each.created)

    def _move(self, kind: str, amount: int, source: Thing, fee: int = 0) -> BalanceTransaction:
        movement = BalanceTransaction(
            id=_new_id("txn"),
            amount=amount,
            created=self.now_s(),
            currency=source.currency,
            fee=fee,
            net=amount - fee,
            source=source,
            type=kind,
        )
        self.movements.append(movement)
        return self.unexpanded(movement)

    def unexpanded(self, movement: BalanceTransaction) -> BalanceTransaction:
        """Return a movement that only names what it is about."""
        source = movement.source
        named = source if isinstance(source, str) else source.id
        return msgspec.structs.replace(movement, source=named)

    def _emit(self, kind: str, thing: Thing) -> None:
        event = {
            "id": _new_id("evt"),
            "object": "event",
            "api_version": "2020-08-27",
            "created": self.now_s(),
            "data": {"object": thing},
            "livemode": False,
            "type": kind,
        }
        parcel = Parcel(
            id=str(event["id"]),
            kind=kind,
            about=thing.id,
            created=self.now_s(),
            url=self.settings.webhook_url,
            content=msgspec.json.encode(event),
        )
        self.courier.send(parcel)

    def _sign(self, parcel: Parcel, forged: bool) -> dict[str, str]:
        timestamp_s = self.now_s() - (STALE_S if self.faults.take("stale_timestamp") else 0)
        keys = [self.settings.webhook_secret + ("-forged" if forged else "")]
        if self.faults.rotated_secret:
            keys.append(self.faults.rotated_secret)
        marks = [f"v1={signature(parcel.content, key, timestamp_s)}" for key in keys]
        return {
            "content-type": "application/json; charset=utf-8",
            "stripe-signature": ",".join([f"t={timestamp_s}", *marks]),
        }
