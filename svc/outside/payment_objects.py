"""What the payment provider is asked and what it tells: bodies in the form of Stripe's API."""

from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

# What a payment method or a bank account leads to; the names with `pm_` are Stripe's own. Money can
# be paid out to an e-wallet that it came from, never to a card: a card gets it back by a refund.
CARDS: Mapping[str, Literal["succeeds", "fails", "asks"]] = {
    "ewallet": "succeeds",
    "card": "succeeds",
    "card_ok": "succeeds",
    "pm_card_visa": "succeeds",
    "card_refund_fails": "succeeds",
    "pm_card_refundFail": "succeeds",
    "card_declined": "fails",
    "pm_card_chargeDeclined": "fails",
    "card_3ds": "asks",
    "pm_card_threeDSecure2Required": "asks",
}
REFUNDS_FAIL = frozenset({"card_refund_fails", "pm_card_refundFail"})
"""Cards whose bank sends a refund back after it was made."""
BANKS: Mapping[str, tuple[Literal["paid", "failed"], ...]] = {
    "ewallet": ("paid",),
    "bank": ("paid",),
    "bank_ok": ("paid",),
    "bank_fail": ("failed",),
    "bank_return": ("paid", "failed"),
}

Amount = Annotated[int, Meta(gt=0, le=99_999_999)]
Currency = Annotated[str, Meta(pattern="^[A-Za-z]{3}$")]


class CreateIntent(Struct, kw_only=True, forbid_unknown_fields=True):
    amount: Amount
    currency: Currency
    payment_method: str
    metadata: dict[str, str] = {}
    capture_method: Literal["automatic", "manual"] = "automatic"


class CaptureIntent(Struct, kw_only=True, forbid_unknown_fields=True):
    amount_to_capture: Amount | None = None


class CancelIntent(Struct, kw_only=True, forbid_unknown_fields=True):
    cancellation_reason: str | None = None


class CreateRefund(Struct, kw_only=True, forbid_unknown_fields=True):
    payment_intent: str
    amount: Amount | None = None
    metadata: dict[str, str] = {}


class CreatePayout(Struct, kw_only=True, forbid_unknown_fields=True):
    amount: Amount
    currency: Currency
    destination: str
    metadata: dict[str, str] = {}


class CompleteAction(Struct, kw_only=True, forbid_unknown_fields=True):
    outcome: Literal["succeeds", "fails"] = "succeeds"


class OpenDispute(Struct, kw_only=True, forbid_unknown_fields=True):
    payment_intent: str
    amount: Amount | None = None
    reason: str = "fraudulent"


class CloseDispute(Struct, kw_only=True, forbid_unknown_fields=True):
    status: Literal["won", "lost"]


class Listing(Struct, kw_only=True):
    """What a list is asked for: those made since an instant, in pages, newest first."""

    created_gte: int = 0
    starting_after: str = ""
    limit: Annotated[int, Meta(ge=1, le=100)] = 10


class ListRefunds(Listing, kw_only=True):
    """The refunds of one payment."""

    payment_intent: str


class Intent(Struct, kw_only=True):
    id: str
    object: str = "payment_intent"
    amount: int
    amount_capturable: int = 0
    amount_received: int = 0
    cancellation_reason: str | None = None
    capture_method: str = "automatic"
    created: int
    currency: str
    last_payment_error: dict[str, str] | None = None
    latest_charge: str | None = None
    livemode: bool = False
    metadata: dict[str, str]
    next_action: dict[str, str | dict[str, str]] | None = None
    payment_method: str
    status: str = "processing"


class Refund(Struct, kw_only=True):
    id: str
    object: str = "refund"
    amount: int
    charge: str
    created: int
    currency: str
    metadata: dict[str, str]
    payment_intent: str
    status: str = "succeeded"
    failure_reason: str | None = None


class Refunds(Struct, kw_only=True):
    object: str = "list"
    data: list[Refund] = []


class Charge(Struct, kw_only=True):
    id: str
    object: str = "charge"
    amount: int
    amount_captured: int
    amount_refunded: int = 0
    created: int
    currency: str
    disputed: bool = False
    metadata: dict[str, str]
    paid: bool = True
    payment_intent: str
    refunded: bool = False
    refunds: Refunds = field(default_factory=Refunds)
    status: str = "succeeded"


class Payout(Struct, kw_only=True):
    id: str
    object: str = "payout"
    amount: int
    created: int
    currency: str
    destination: str
    failure_code: str | None = None
    failure_message: str | None = None
    livemode: bool = False
    metadata: dict[str, str]
    status: str = "pending"


class BalanceTransaction(Struct, kw_only=True):
    """One movement of the merchant's money at the provider: `net` is what it came to."""

    id: str
    object: str = "balance_transaction"
    amount: int
    created: int
    currency: str
    fee: int = 0
    net: int
    source: "str | Thing"
    type: str


class Dispute(Struct, kw_only=True):
    id: str
    object: str = "dispute"
    amount: int
    balance_transactions: list[BalanceTransaction] = []
    charge: str
    created: int
    currency: str
    livemode: bool = False
    metadata: dict[str, str] = {}
    payment_intent: str
    reason: str
    status: str = "needs_response"


Thing = Intent | Refund | Charge | Payout | Dispute
