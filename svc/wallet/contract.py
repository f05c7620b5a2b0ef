"""wallet: every player's money, moved only in balanced entries, each movement exactly once.

The one module of this service that others may import.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from svc.mesh.contract import Call, Contract, Event, Route
from svc.mesh.errors import Conflict, Forbidden, NotFound, Refused
from svc.mesh.types import (
    Amount,
    AmountOrZero,
    Currency,
    EventData,
    Id,
    Instant,
    Reply,
    Request,
    ShortText,
    SignedAmount,
)
from svc.wallet.contract_statements import (
    Entries,
    EntriesOf,
    Statement,
    StatementOf,
)

Kind = Literal[
    "bet", "bet_payout", "bet_refund", "casino_bet", "casino_payout", "deposit", "withdrawal",
    "refund", "chargeback", "bonus", "bonus_expiry", "bonus_conversion", "prize", "jackpot",
    "adjustment",
]  # fmt: skip
"""What a transfer is for; it decides which house account stands on the other side."""
STAKES: frozenset[Kind] = frozenset({"bet", "casino_bet"})
"""Only stakes may use bonus money: a withdrawal or a refund never does."""
PAID_FOR_STAKES: frozenset[Kind] = frozenset({"bet_payout", "bet_refund", "casino_payout"})
"""What comes back of a stake."""


class InsufficientFunds(Refused):
    """The account does not hold enough free money."""

    name = "insufficient-funds"
    status = 422


class TransferConflict(Conflict):
    """The transfer id was used before with another body."""


class RolledBack(Refused):
    """The transfer was rolled back and stays refused for ever."""

    name = "rolled-back"
    status = 409


class AlreadySettled(Refused):
    """The hold or transfer is settled and cannot be undone this way."""

    name = "already-settled"
    status = 409


class CurrencyMismatch(Refused):
    """The wallet is kept in another currency."""

    name = "currency-mismatch"
    status = 422


class HoldExceeded(Refused):
    """More was to be captured than is held."""

    name = "hold-exceeded"
    status = 422


class InDebt(InsufficientFunds):
    """The player owes money: no stakes and no withdrawals until deposits or winnings cleared it.

    Who knows no debt may take it for what it is too: a lack of money.
    """

    name = "in-debt"


class AccountClosed(Refused):
    """The account was closed: no stakes and no withdrawals any more."""

    name = "account-closed"
    status = 403


class SelfExcluded(Refused):
    """The player is excluded from play or takes a time-out: no stakes until that ends."""

    name = "self-excluded"
    status = 403


class BalanceTooLarge(Refused):
    """The balance would be larger than a message can carry."""

    name = "balance-too-large"
    status = 422


class BalanceOf(Request, frozen=True, kw_only=True):
    """Whose balance; with `at` the one of then, all zero before the first transfer."""

    user_id: Id
    at: Instant | None = None


class Balance(Reply, frozen=True, kw_only=True):
    """A player's money in minor units; available = cash - held (bonus comes on top for stakes).

    Below zero, `available` is what the player owes: then `debt` is that, above zero. `version`
    counts the player's transfers: of two balances the one with more is the newer.
    """

    user_id: Id
    currency: Currency
    cash: SignedAmount
    bonus: AmountOrZero
    held: AmountOrZero
    available: SignedAmount
    debt: AmountOrZero = 0
    version: Annotated[int, Meta(ge=0)] = 0


class Transfer(Request, frozen=True, kw_only=True, omit_defaults=True):
    """Move money between a player and the house; `transfer_id` is the caller's, unique for ever.

    `stake_transfer_id` of a credit names the deduction it belongs to: winnings are split between
    cash and bonus in the ratio of that stake. A deduction that is `forced` takes what the player
    has not as a debt: for money that is lost already, such as a chargeback's. Stakes, withdrawals
    and bonus money are never forced.
    """

    transfer_id: Id
    user_id: Id
    amount: AmountOrZero
    currency: Currency
    kind: Kind
    reference: ShortText
    stake_transfer_id: Id | None = None
    forced: bool = False


class Receipt(Reply, frozen=True, kw_only=True):
    """The balances right after a transfer, the same for every repetition of the request."""

    transfer_id: Id
    cash: SignedAmount
    bonus: AmountOrZero
    held: AmountOrZero
    available: SignedAmount


class Hold(Request, frozen=True, kw_only=True):
    """Set cash aside: it is still the player's, but not free."""

    transfer_id: Id
    hold_id: Id
    user_id: Id
    amount: Amount
    currency: Currency
    kind: Kind
    reference: ShortText


class Capture(Request, frozen=True, kw_only=True):
    """Take held money for good; without an amount all of it. What is left is released."""

    transfer_id: Id
    hold_id: Id
    amount: Amount | None = None


class Release(Request, frozen=True, kw_only=True):
    """Give held money back."""

    transfer_id: Id
    hold_id: Id


class Rollback(Request, frozen=True, kw_only=True, omit_defaults=True):
    """Undo a transfer; one that is unknown is refused for ever from now on.

    One that is `forced` takes back a win that was spent already: what the player has not of it
    becomes a debt. Bonus money that is gone is not owed.
    """

    transfer_id: Id
    original_transfer_id: Id
    forced: bool = False


class Audit(Request, frozen=True, kw_only=True):
    """Check the ledger's invariants now."""

    actor_id: Id | None = None


class AuditReport(Reply, frozen=True, kw_only=True):
    """The number of violations of each invariant, all zero in a healthy ledger.

    `totals` are the balances of the house's accounts in minor units, as `account:currency`.
    """

    healthy: bool
    violations: dict[str, int]
    transfers: int
    entries: int
    totals: dict[str, int]


class TotalsOf(Request, frozen=True, kw_only=True):
    """The sums by kind for a span of days, for reconciliation."""

    since: Instant
    until: Instant


class KindTotal(Struct, frozen=True, kw_only=True):
    """What one kind of transfer moved for players, in minor units, signed from their side.

    A sum over all players, so beyond what one balance may be.
    """

    kind: str
    currency: Currency
    amount: int
    transfers: int


class Totals(Reply, frozen=True, kw_only=True):
    """The ledger's own sums."""

    totals: list[KindTotal]


class BatchItem(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One operation of a batch: `op` is the verb, the other fields are that verb's."""

    op: Literal["deduct_balance", "credit_balance", "hold", "capture", "release", "rollback"]
    transfer_id: Id
    user_id: Id | None = None
    amount: AmountOrZero | None = None
    currency: Currency | None = None
    kind: Kind | None = None
    reference: ShortText | None = None
    hold_id: Id | None = None
    original_transfer_id: Id | None = None
    stake_transfer_id: Id | None = None
    forced: bool | None = None


class Batch(Request, frozen=True, kw_only=True):
    """Up to 1,000 operations, each applied or refused on its own, in order."""

    transfers: Annotated[list[BatchItem], Meta(min_length=1, max_length=1000)]


class BatchResult(Struct, frozen=True, kw_only=True):
    """The receipt of one operation, or the problem document of its refusal."""

    receipt: Receipt | None = None
    problem: dict[str, object] | None = None


class BatchReceipt(Reply, frozen=True, kw_only=True):
    """One result per operation, in order."""

    results: list[BatchResult]


class BalanceChanged(EventData, frozen=True, kw_only=True):
    """A transfer changed a player's balance; amounts in minor units after it."""

    user_id: Id
    transfer_id: Id
    kind: Kind
    currency: Currency
    amount: SignedAmount
    cash: SignedAmount
    bonus: AmountOrZero
    held: AmountOrZero
    available: SignedAmount
    reference: str


BALANCE_CHANGED = Event(
    "BalanceChangedEvent", "wallet", BalanceChanged, "A transfer changed a player's balance.",
    together=True,
)  # fmt: skip

MONEY_CALLERS = ("sportsbook", "payment", "casino", "gateway")
"""Who may move money by call: the three of the diagram, and the gateway's gRPC door."""
REFUSALS = (
    TransferConflict, RolledBack, NotFound, CurrencyMismatch, AccountClosed, SelfExcluded,
    AlreadySettled, HoldExceeded, InDebt, InsufficientFunds, BalanceTooLarge,
)  # fmt: skip

BALANCE = Call(
    "rpc.wallet.v1.balance", BalanceOf, Balance, "Read a player's balance.",
    callers=(*MONEY_CALLERS, "identity"), refuses=(NotFound,), idempotent=True, deadline_ms=1_000,
    route=Route(method="GET", path="/v1/wallet", tag="wallet", from_token=("user_id",)),
)  # fmt: skip
DEDUCT_BALANCE = Call(
    "rpc.wallet.v1.deduct_balance", Transfer, Receipt, "Take money from a player, cash first.",
    callers=MONEY_CALLERS, refuses=REFUSALS, idempotent=True, batchable=True, deadline_ms=1_000,
    partition_by="user_id",
)  # fmt: skip
CREDIT_BALANCE = Call(
    "rpc.wallet.v1.credit_balance", Transfer, Receipt, "Give money to a player.",
    callers=MONEY_CALLERS, refuses=REFUSALS, idempotent=True, batchable=True, deadline_ms=1_000,
    partition_by="user_id",
)  # fmt: skip
HOLD = Call(
    "rpc.wallet.v1.hold", Hold, Receipt, "Set a player's cash aside.",
    callers=MONEY_CALLERS, refuses=REFUSALS, idempotent=True, batchable=True, deadline_ms=1_000,
    partition_by="user_id",
)  # fmt: skip
CAPTURE = Call(
    "rpc.wallet.v1.capture", Capture, Receipt, "Take held money for good.",
    callers=MONEY_CALLERS, refuses=REFUSALS, idempotent=True, batchable=True, deadline_ms=1_000,
)  # fmt: skip
RELEASE = Call(
    "rpc.wallet.v1.release", Release, Receipt, "Give held money back.",
    callers=MONEY_CALLERS, refuses=REFUSALS, idempotent=True, batchable=True, deadline_ms=1_000,
)  # fmt: skip
ROLLBACK = Call(
    "rpc.wallet.v1.rollback", Rollback, Receipt, "Undo a transfer, known or not yet.",
    callers=MONEY_CALLERS, refuses=REFUSALS, idempotent=True, batchable=True, deadline_ms=1_000,
)  # fmt: skip
ENTRIES = Call(
    "rpc.wallet.v1.entries", EntriesOf, Entries, "Read a player's statement.",
    refuses=(NotFound,), idempotent=True,
    route=Route(method="GET", path="/v1/wallet/entries", tag="wallet", from_token=("user_id",)),
)  # fmt: skip
STATEMENT = Call(
    "rpc.wallet.v1.statement", StatementOf, Statement, "Export a player's statement as CSV.",
    refuses=(NotFound,), idempotent=True, deadline_ms=5_000,
    route=Route(
        method="GET", path="/v1/wallet/statement", tag="wallet", from_token=("user_id",),
        media_type="text/csv",
    ),
)  # fmt: skip
APPLY_BATCH = Call(
    "rpc.wallet.v1.apply_batch", Batch, BatchReceipt, "Apply up to 1,000 operations in order.",
    callers=MONEY_CALLERS, idempotent=True, alone=True, deadline_ms=10_000,
)  # fmt: skip
TOTALS = Call(
    "rpc.wallet.v1.totals", TotalsOf, Totals, "Sum the ledger by kind, for reconciliation.",
    callers=("reporting", "payment"), idempotent=True, deadline_ms=10_000,
)  # fmt: skip
AUDIT = Call(
    "rpc.wallet.v1.audit", Audit, AuditReport, "Check the ledger's invariants.",
    refuses=(Forbidden,), idempotent=True, deadline_ms=20_000,
    route=Route(
        method="GET", path="/v1/admin/wallet/audit", role="operator", tag="admin",
        from_token=("actor_id",),
    ),
)  # fmt: skip

WALLET = Contract(
    name="wallet",
    version="1.0.0",
    purpose="The double-entry ledger of cash, bonus and held money.",
    answers=(
        BALANCE, DEDUCT_BALANCE, CREDIT_BALANCE, HOLD, CAPTURE, RELEASE, ROLLBACK, ENTRIES,
        STATEMENT, APPLY_BATCH, TOTALS, AUDIT,
    ),
    publishes=(BALANCE_CHANGED,),
    readers=("gateway",),
)  # fmt: skip
