"""What is known of Ann and asked of her money, in the fewest words: for tables of the rules."""

from datetime import UTC, datetime, timedelta
from typing import Literal

from svc.wallet.book import Book, Money, Record, Wallet
from svc.wallet.contract import Capture, Hold, Kind, Rollback
from svc.wallet.operations import Credit, Deduct

ANN = "00000000-0000-4000-8000-00000000000a"
BOB = "00000000-0000-4000-8000-00000000000b"


def number(value: int) -> str:
    return f"00000000-0000-4000-8000-{value:012d}"


NEW, STAKE, WIN, HOLD, LATE, REFUSED = (number(value) for value in range(1, 7))


def book(cash: int = 0, bonus: int = 0, held: int = 0, *records: Record) -> Book:
    """Ann's money in EUR, and what is known of earlier transfers."""
    known = Book({ANN: Wallet(ANN, "EUR", Money(cash, bonus, held))})
    known.add(records)
    return known


def deduct(
    amount: int,
    kind: Kind = "bet",
    user: str = ANN,
    currency: str = "EUR",
    *,
    forced: bool = False,
) -> Deduct:
    return Deduct(
        transfer_id=NEW,
        user_id=user,
        amount=amount,
        currency=currency,
        kind=kind,
        reference="r",
        forced=forced,
    )


def credit(
    amount: int,
    kind: Kind = "bet_payout",
    stake: str | None = None,
    into: Literal["cash", "bonus"] | None = None,
) -> Credit:
    return Credit(
        transfer_id=NEW,
        user_id=ANN,
        amount=amount,
        currency="EUR",
        kind=kind,
        reference="r",
        stake_transfer_id=stake,
        into=into,
    )


def hold(amount: int, hold_id: str = NEW) -> Hold:
    return Hold(
        transfer_id=NEW,
        hold_id=hold_id,
        user_id=ANN,
        amount=amount,
        currency="EUR",
        kind="withdrawal",
        reference="r",
    )


def capture(amount: int | None = None, hold_id: str = HOLD) -> Capture:
    return Capture(transfer_id=NEW, hold_id=hold_id, amount=amount)


def rollback(original: str, *, forced: bool = False) -> Rollback:
    return Rollback(transfer_id=NEW, original_transfer_id=original, forced=forced)


def taken(cash: int, bonus: int = 0, user: str = ANN, kind: Kind = "bet") -> Record:
    return Record(
        transfer_id=STAKE,
        verb="deduct_balance",
        outcome="applied",
        user_id=user,
        currency="EUR",
        kind=kind,
        change=Money(-cash, -bonus),
    )


def won(cash: int, bonus: int = 0) -> Record:
    return Record(
        transfer_id=WIN,
        verb="credit_balance",
        outcome="applied",
        user_id=ANN,
        currency="EUR",
        kind="bet_payout",
        change=Money(cash, bonus),
        stake_id=STAKE,
    )


def undo(original: str, stake: str | None = None) -> Record:
    return Record(
        transfer_id=LATE,
        verb="rollback",
        outcome="applied",
        user_id=ANN,
        currency="EUR",
        original_id=original,
        stake_id=stake,
    )


def placed(amount: int) -> Record:
    return Record(
        transfer_id=HOLD,
        verb="hold",
        outcome="applied",
        user_id=ANN,
        currency="EUR",
        kind="withdrawal",
        change=Money(held=amount),
        hold_id=HOLD,
    )


CLOSED = Record(
    transfer_id=LATE, verb="release", outcome="applied", user_id=ANN, currency="EUR", hold_id=HOLD
)
BURIED = Record(transfer_id=LATE, verb="rollback", outcome="tombstone")
TURNED_DOWN = Record(
    transfer_id=REFUSED, verb="deduct_balance", outcome="refused", user_id=ANN, currency="EUR"
)


def left(cash: int, *records: Record) -> Book:
    """Return what is known of a player whose account was closed."""
    known = book(cash, 0, 0, *records)
    known.wallets[ANN].closed = True
    return known


NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def excluded(cash: int, *records: Record, held: int = 0, now: datetime = NOON) -> Book:
    """Return what is known of a player who is excluded from noon on for a second."""
    known = book(cash, 0, held, *records)
    known.wallets[ANN].exclude(NOON + timedelta(seconds=1))
    known.now = now
    return known


def hold_of(kind: Kind) -> Hold:
    return Hold(
        transfer_id=NEW, hold_id=NEW, user_id=ANN, amount=1, currency="EUR", kind=kind,
        reference="r",
    )  # fmt: skip
