"""payment: deposits, withdrawals and refunds through a payment provider.

The one module of this service that others may import.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta

from svc.mesh.contract import Call, Contract, Door, Event, RawMessage, Route
from svc.mesh.errors import Conflict, Forbidden, IdempotencyMismatch, NotFound, Refused
from svc.mesh.types import (
    Amount,
    AmountOrZero,
    Currency,
    Empty,
    EventData,
    Id,
    IdempotencyKey,
    Reply,
    Request,
)
from svc.payment.contract_reports import PENDING, RECONCILE, RECONCILIATION

PaymentStatus = Literal["pending", "succeeded", "failed", "refunded"]
WithdrawalStatus = Literal["pending", "submitted", "paid", "failed", "cancelled"]
Method = Annotated[
    str, Meta(pattern=r"^[a-z][a-z0-9_]{0,63}$(?!\n)", description="The provider's payment method")
]


class InsufficientFunds(Refused):
    """The wallet does not hold enough free money."""

    name = "insufficient-funds"
    status = 422


class SelfExcluded(Refused):
    """The player is excluded: deposits are not taken."""

    name = "self-excluded"
    status = 403


class LimitExceeded(Refused):
    """The amount is above what may be moved now."""

    name = "limit-exceeded"
    status = 422


class CurrencyMismatch(Refused):
    """The wallet is kept in another currency."""

    name = "currency-mismatch"
    status = 422


class NotVerified(Refused):
    """The player's verification was rejected or has run out."""

    name = "not-verified"
    status = 403


class AccountBlocked(Refused):
    """A payment is disputed: nothing is paid out until that is decided."""

    name = "account-blocked"
    status = 403


class ClosedLoop(Refused):
    """The money must first go back to where it came from."""

    name = "closed-loop"
    status = 422


class BadSignature(Refused):
    """The webhook's signature does not hold."""

    name = "unauthenticated"
    status = 401


class RequestDeposit(Request, frozen=True, kw_only=True):
    """Pay money in: minor units of the wallet's currency."""

    user_id: Id
    idempotency_key: IdempotencyKey
    amount: Amount
    currency: Currency
    method: Method


class Deposit(Reply, frozen=True, kw_only=True, omit_defaults=True):
    """A deposit as it stands; `next_action` tells what the player must do at the provider.

    `received` is given when only a part was captured: that part was credited. `reason` is the
    provider's word for a failure, `message` says it in the player's language.
    """

    deposit_id: Id
    status: PaymentStatus
    amount: Amount
    currency: Currency
    created_at: datetime
    received: Amount | None = None
    next_action: dict[str, Any] | None = None
    reason: str | None = None
    message: str | None = None


class DepositOf(Request, frozen=True, kw_only=True):
    """One of the player's own deposits."""

    user_id: Id
    deposit_id: Id


class RequestWithdrawal(Request, frozen=True, kw_only=True):
    """Pay money out: minor units of the wallet's currency."""

    user_id: Id
    idempotency_key: IdempotencyKey
    amount: Amount
    currency: Currency
    method: Method


class Withdrawal(Reply, frozen=True, kw_only=True, omit_defaults=True):
    """A withdrawal as it stands; `reason` is the word for a failure, `message` says it."""

    withdrawal_id: Id
    status: WithdrawalStatus
    amount: Amount
    currency: Currency
    created_at: datetime
    reason: str | None = None
    message: str | None = None


class WithdrawalOf(Request, frozen=True, kw_only=True):
    """One of the player's own withdrawals."""

    user_id: Id
    withdrawal_id: Id


class RefundDeposit(Request, frozen=True, kw_only=True):
    """An operator gives a deposit back to where it came from."""

    deposit_id: Id
    idempotency_key: IdempotencyKey
    actor_id: Id | None = None


class CaptureDeposit(Request, frozen=True, kw_only=True):
    """An operator takes a deposit that is only authorised; without an amount all of it."""

    deposit_id: Id
    amount: Amount | None = None
    actor_id: Id | None = None


class ReleaseDeposit(Request, frozen=True, kw_only=True):
    """An operator lets a deposit go that is only authorised."""

    deposit_id: Id
    actor_id: Id | None = None


class AbandonWithdrawal(Request, frozen=True, kw_only=True):
    """An operator found that the provider never carried a flagged withdrawal out."""

    withdrawal_id: Id
    actor_id: Id | None = None


class PaymentSuccess(EventData, frozen=True, kw_only=True):
    """A deposit was paid: the wallet credits it under `transfer_id`."""

    payment_id: Id
    user_id: Id
    amount: Amount
    currency: Currency
    method: str
    transfer_id: Id
    first: bool


class PaymentFailed(EventData, frozen=True, kw_only=True):
    """A deposit was refused by the provider; no money moved."""

    payment_id: Id
    user_id: Id
    amount: Amount
    currency: Currency
    reason: str


class PaymentRefunded(EventData, frozen=True, kw_only=True):
    """A deposit was given back; its money had left the wallet before."""

    payment_id: Id
    user_id: Id
    amount: Amount
    currency: Currency


class RefundReturned(EventData, frozen=True, kw_only=True):
    """A refund failed late: the bank sent it back, and the wallet has its money again."""

    payment_id: Id
    user_id: Id
    amount: Amount
    currency: Currency


class PaymentDisputed(EventData, frozen=True, kw_only=True):
    """A player's bank took a deposit back: `amount`, fee included, leaves the wallet.

    The player may then owe it. Until it is decided nothing is paid out to them.
    """

    dispute_id: Id
    payment_id: Id
    user_id: Id
    amount: Amount
    currency: Currency
    reason: str


class DisputeClosed(EventData, frozen=True, kw_only=True):
    """A dispute was lost, or won: then `returned` is what the bank gave back, to be credited."""

    dispute_id: Id
    payment_id: Id
    user_id: Id
    won: bool
    returned: AmountOrZero
    currency: Currency


class WithdrawalRequested(EventData, frozen=True, kw_only=True):
    """A withdrawal was taken in and its amount is held."""

    withdrawal_id: Id
    user_id: Id
    amount: Amount
    currency: Currency


class WithdrawalPaid(EventData, frozen=True, kw_only=True):
    """A withdrawal reached the player; the hold was captured."""

    withdrawal_id: Id
    user_id: Id
    amount: Amount
    currency: Currency


class WithdrawalFailed(EventData, frozen=True, kw_only=True):
    """A withdrawal failed or was cancelled; the hold was released.

    `returned` says that it had been paid and came back: the captured money was credited again.
    """

    withdrawal_id: Id
    user_id: Id
    amount: Amount
    currency: Currency
    reason: str
    returned: bool = False


PAYMENT_SUCCESS = Event("PaymentSuccessEvent", "payment", PaymentSuccess, "A deposit was paid.")
PAYMENT_FAILED = Event("PaymentFailedEvent", "payment", PaymentFailed, "A deposit failed.")
PAYMENT_REFUNDED = Event(
    "PaymentRefundedEvent", "payment", PaymentRefunded, "A deposit was given back."
)
REFUND_RETURNED = Event(
    "RefundReturnedEvent", "payment", RefundReturned, "A refund came back from the bank."
)
PAYMENT_DISPUTED = Event(
    "PaymentDisputedEvent", "payment", PaymentDisputed, "A deposit was charged back."
)
DISPUTE_CLOSED = Event("DisputeClosedEvent", "payment", DisputeClosed, "A dispute was decided.")
WITHDRAWAL_REQUESTED = Event(
    "WithdrawalRequestedEvent", "payment", WithdrawalRequested, "A withdrawal was taken in."
)
WITHDRAWAL_PAID = Event("WithdrawalPaidEvent", "payment", WithdrawalPaid, "A withdrawal was paid.")
WITHDRAWAL_FAILED = Event(
    "WithdrawalFailedEvent", "payment", WithdrawalFailed, "A withdrawal came to nothing."
)

REQUEST_DEPOSIT = Call(
    "rpc.payment.v1.request_deposit", RequestDeposit, Deposit, "Start a deposit.",
    refuses=(
        SelfExcluded, LimitExceeded, CurrencyMismatch, NotVerified, IdempotencyMismatch, Conflict,
    ),
    idempotent=True, deadline_ms=8_000,
    route=Route(
        method="POST", path="/v1/deposits", status=202, tag="payment", from_token=("user_id",),
        idempotent=True,
    ),
)  # fmt: skip
GET_DEPOSIT = Call(
    "rpc.payment.v1.get_deposit", DepositOf, Deposit, "Read one of one's deposits.",
    refuses=(NotFound,), idempotent=True,
    route=Route(
        method="GET", path="/v1/deposits/{deposit_id}", tag="payment", from_token=("user_id",)
    ),
)  # fmt: skip
REQUEST_WITHDRAWAL = Call(
    "rpc.payment.v1.request_withdrawal", RequestWithdrawal, Withdrawal, "Start a withdrawal.",
    refuses=(
        InsufficientFunds, LimitExceeded, CurrencyMismatch, NotVerified, AccountBlocked, ClosedLoop,
        IdempotencyMismatch, Conflict, NotFound,
    ),
    idempotent=True, deadline_ms=8_000,
    route=Route(
        method="POST", path="/v1/withdrawals", status=202, tag="payment",
        from_token=("user_id",), idempotent=True,
    ),
)  # fmt: skip
GET_WITHDRAWAL = Call(
    "rpc.payment.v1.get_withdrawal", WithdrawalOf, Withdrawal, "Read one of one's withdrawals.",
    refuses=(NotFound,), idempotent=True,
    route=Route(
        method="GET", path="/v1/withdrawals/{withdrawal_id}", tag="payment",
        from_token=("user_id",),
    ),
)  # fmt: skip
CANCEL_WITHDRAWAL = Call(
    "rpc.payment.v1.cancel_withdrawal", WithdrawalOf, Withdrawal, "Cancel before it is submitted.",
    refuses=(NotFound, Conflict), idempotent=True, deadline_ms=5_000,
    route=Route(
        method="DELETE", path="/v1/withdrawals/{withdrawal_id}", tag="payment",
        from_token=("user_id",),
    ),
)  # fmt: skip
REFUND_DEPOSIT = Call(
    "rpc.payment.v1.refund_deposit", RefundDeposit, Deposit, "Give a deposit back.",
    refuses=(NotFound, Conflict, Forbidden, InsufficientFunds, IdempotencyMismatch),
    idempotent=True,
    deadline_ms=8_000,
    route=Route(
        method="POST", path="/v1/admin/deposits/{deposit_id}/refunds", role="operator",
        status=202, tag="admin", from_token=("actor_id",), idempotent=True,
    ),
)  # fmt: skip
CAPTURE_DEPOSIT = Call(
    "rpc.payment.v1.capture_deposit", CaptureDeposit, Deposit, "Capture an authorised deposit.",
    refuses=(NotFound, Conflict, Forbidden), idempotent=True, deadline_ms=8_000,
    route=Route(
        method="POST", path="/v1/admin/deposits/{deposit_id}/capture", role="operator",
        tag="admin", from_token=("actor_id",),
    ),
)  # fmt: skip
RELEASE_DEPOSIT = Call(
    "rpc.payment.v1.release_deposit", ReleaseDeposit, Deposit, "Let an authorised deposit go.",
    refuses=(NotFound, Conflict, Forbidden), idempotent=True, deadline_ms=8_000,
    route=Route(
        method="DELETE", path="/v1/admin/deposits/{deposit_id}/authorization", role="operator",
        tag="admin", from_token=("actor_id",),
    ),
)  # fmt: skip
ABANDON_WITHDRAWAL = Call(
    "rpc.payment.v1.abandon_withdrawal", AbandonWithdrawal, Withdrawal,
    "Give the money of a withdrawal back that was never answered.",
    refuses=(NotFound, Conflict, Forbidden), idempotent=True, deadline_ms=5_000,
    route=Route(
        method="DELETE", path="/v1/admin/withdrawals/{withdrawal_id}", role="operator",
        tag="admin", from_token=("actor_id",),
    ),
)  # fmt: skip
RECEIVE_WEBHOOK = Call(
    "rpc.payment.v1.receive_webhook", RawMessage, Empty, "Take in the provider's webhook.",
    callers=("gateway",), refuses=(BadSignature,), idempotent=True, deadline_ms=5_000,
)  # fmt: skip

PAYMENT = Contract(
    name="payment",
    version="1.0.0",
    purpose="Deposits, withdrawals and refunds through a provider over HTTP.",
    answers=(
        REQUEST_DEPOSIT, GET_DEPOSIT, REQUEST_WITHDRAWAL, GET_WITHDRAWAL, CANCEL_WITHDRAWAL,
        REFUND_DEPOSIT, CAPTURE_DEPOSIT, RELEASE_DEPOSIT, ABANDON_WITHDRAWAL, RECEIVE_WEBHOOK,
        PENDING, RECONCILIATION, RECONCILE,
    ),
    publishes=(
        PAYMENT_SUCCESS, PAYMENT_FAILED, PAYMENT_REFUNDED, REFUND_RETURNED, PAYMENT_DISPUTED,
        DISPUTE_CLOSED, WITHDRAWAL_REQUESTED, WITHDRAWAL_PAID, WITHDRAWAL_FAILED,
    ),
    doors=(
        Door(
            path="/webhooks/payment", call=RECEIVE_WEBHOOK, headers=("stripe-signature",),
            media_type="application/json", sender="PaymentProvider",
        ),
    ),
)  # fmt: skip
