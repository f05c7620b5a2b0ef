"""The money rule: what an operation does to a player's money, or why it is refused.

Pure functions: the book and one operation go in; a plan comes out, or a refusal is raised. After
the last check of a function the plan must succeed. Cash is staked before bonus money and winnings
follow the split of the stake; a rollback restores the recorded split. Only what is forced makes a
player owe: cash below what is held is a debt, and whatever comes to the cash clears it first.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal

from msgspec import Struct

from svc.mesh.errors import NotFound, Refused
from svc.mesh.types import AMOUNT_MAX
from svc.wallet.book import NOTHING, Book, Money, Outcome, Record, Wallet
from svc.wallet.contract import (
    STAKES,
    AccountClosed,
    AlreadySettled,
    BalanceTooLarge,
    Capture,
    CurrencyMismatch,
    Hold,
    HoldExceeded,
    InDebt,
    InsufficientFunds,
    Kind,
    Receipt,
    Release,
    Rollback,
    RolledBack,
    SelfExcluded,
    TransferConflict,
)
from svc.wallet.kinds import FORCIBLE, HOUSE_OF, NOT_IN_DEBT, House
from svc.wallet.operations import Close, Credit, Deduct, EndBonus, Exclude, Operation

CLOSED = "this account was closed"
NO_WALLET = "this user has no wallet"

PRECEDENCE: tuple[type[Refused], ...] = (
    TransferConflict, RolledBack, NotFound, CurrencyMismatch, AccountClosed, SelfExcluded,
    AlreadySettled, HoldExceeded, InDebt, InsufficientFunds, BalanceTooLarge,
)  # fmt: skip
"""Every refusal there is, in the order in which they are looked for."""
REFUSAL_NAMED = {refusal.name: refusal for refusal in PRECEDENCE}


class Leg(Struct, frozen=True, gc=False):
    """One movement: `amount` comes to `account` from the house account `contra`, or goes back."""

    account: Literal["cash", "bonus", "held", "revenue"]
    contra: House
    amount: int


class Plan(Struct, frozen=True, kw_only=True, gc=False):
    """What an operation will do.

    `won_from_play` is a stake that leaves the bets in play for the revenue because its bet is
    decided (negative: it is open again); `buries` is a transfer that will never be applied.
    """

    outcome: Outcome = "applied"
    kind: Kind | None = None
    reference: str | None = None
    change: Money = NOTHING
    won_from_play: int = 0
    hold_id: str | None = None
    stake_id: str | None = None
    buries: str | None = None

    def legs(self) -> list[Leg]:
        """Return the movements, player's first; each is balanced in itself."""
        legs: list[Leg] = []
        if self.kind and self.change.cash:
            legs.append(Leg("cash", HOUSE_OF[self.kind], self.change.cash))
        if self.kind and self.change.bonus:
            legs.append(Leg("bonus", HOUSE_OF[self.kind], self.change.bonus))
        if self.change.held:
            legs.append(Leg("held", "holds", self.change.held))
        if self.won_from_play:
            legs.append(Leg("revenue", "bets_in_play", self.won_from_play))
        return legs


def decide(operation: Operation, book: Book) -> Plan:
    """Return what a new operation does. Raises one of PRECEDENCE, which is then its answer."""
    return RULES[type(operation)](operation, book)


def replay(operation: Operation, mark: bytes, book: Book) -> Record | None:
    """Return the stored record of an operation that was decided before, None for a new one.

    Raises RolledBack when it was rolled back before it came, TransferConflict when its id was
    used with another body. Neither changes what is stored under the id.
    """
    known = book.records.get(operation.transfer_id)
    if known is None:
        if type(operation) is Rollback and operation.original_transfer_id == operation.transfer_id:
            raise TransferConflict("a rollback needs an id of its own")
        return None
    if known.outcome == "tombstone":
        raise RolledBack("this transfer was rolled back before it came")
    if known.fingerprint != mark:
        raise TransferConflict("this transfer id was used before with another body")
    return known


def answer(record: Record) -> Receipt | Refused:
    """Return the answer that a record stands for, the same for ever.

    A refusal tells the balances of then; amounts in minor units.
    """
    after = record.after
    if record.refusal is None:
        return Receipt(
            transfer_id=record.transfer_id,
            cash=after.cash,
            bonus=after.bonus,
            held=after.held,
            available=after.available,
        )
    refusal = REFUSAL_NAMED[record.refusal]
    if record.currency is None:
        return refusal(record.detail or "")
    return refusal(
        record.detail or "",
        currency=record.currency,
        cash=after.cash,
        bonus=after.bonus,
        held=after.held,
        available=after.available,
    )


def player_concerned(operation: Operation, book: Book) -> str | None:
    """Return whose money an operation is about, by user id; None when nobody knows."""
    match operation:
        case Deduct() | Credit() | Hold() | Close() | Exclude() | EndBonus():
            return operation.user_id
        case Capture() | Release():
            source = book.holds.get(operation.hold_id)
        case Rollback():
            source = book.records.get(operation.original_transfer_id)
    return source.user_id if source else None


def _deduct(operation: Deduct, book: Book) -> Plan:
    wallet = _wallet(operation, book)
    money, amount = wallet.money, operation.amount
    if (
        wallet.closed
        and operation.kind in NOT_IN_DEBT
        and not (operation.forced and operation.kind in FORCIBLE)
    ):
        raise AccountClosed(CLOSED)
    if wallet.excluded_until is not None:
        _check_exclusion(operation.kind, wallet.excluded_until, book)
    if operation.kind == "bonus_expiry":
        # What was staked or converted meanwhile stays with the player.
        change = Money(bonus=-min(amount, money.bonus))
    elif operation.forced and operation.kind in FORCIBLE:
        change = Money(cash=-amount)
        _check_size(money + change)
    else:
        free = money.available
        if free < 0:
            _check_debt(operation.kind, money)
            free = 0
        cash = min(amount, free)
        bonus = amount - cash
        spendable = money.bonus if operation.kind in STAKES else 0
        if bonus > spendable:
            raise InsufficientFunds(f"{amount} needed, {free + spendable} available")
        change = Money(cash=-cash, bonus=-bonus)
    stake_decided = operation.kind == "bet" and book.credits_left(operation.transfer_id)
    return Plan(
        kind=operation.kind,
        reference=operation.reference,
        change=change,
        won_from_play=amount if stake_decided else 0,
    )


def _credit(operation: Credit, book: Book) -> Plan:
    stake = _stake(operation, book)
    wallet = _wallet(operation, book)
    amount = operation.amount
    if stake:
        # Rounded once, the odd minor unit in the player's favour: as cash.
        staked = -(stake.change.cash + stake.change.bonus)
        bonus = amount * -stake.change.bonus // staked if staked else 0
    else:
        into = operation.into or ("bonus" if operation.kind == "bonus" else "cash")
        bonus = amount if into == "bonus" else 0
    change = Money(cash=amount - bonus, bonus=bonus)
    _check_size(wallet.money + change)
    return Plan(
        kind=operation.kind,
        reference=operation.reference,
        change=change,
        stake_id=operation.stake_transfer_id,
        won_from_play=_in_play(stake, book, credits_left=0),
    )


def _hold(operation: Hold, book: Book) -> Plan:
    if operation.hold_id in book.holds:
        raise TransferConflict("this hold id was used before")
    wallet = _wallet(operation, book)
    if wallet.closed:
        raise AccountClosed(CLOSED)
    if wallet.excluded_until is not None:
        _check_exclusion(operation.kind, wallet.excluded_until, book)
    if wallet.money.debt:
        raise InDebt(f"{wallet.money.debt} owed: a deposit clears it")
    if operation.amount > wallet.money.available:
        raise InsufficientFunds(f"{operation.amount} needed, {wallet.money.available} available")
    return Plan(
        kind=operation.kind,
        reference=operation.reference,
        change=Money(held=operation.amount),
        hold_id=operation.hold_id,
    )


def _capture(operation: Capture, book: Book) -> Plan:
    hold = _open_hold(operation.hold_id, book)
    held = hold.change.held
    amount = held if operation.amount is None else operation.amount
    if amount > held:
        raise HoldExceeded(f"{amount} to be captured, {held} held")
    return Plan(
        kind=hold.kind,
        reference=hold.reference,
        change=Money(cash=-amount, held=-held),
        hold_id=operation.hold_id,
    )


def _release(operation: Release, book: Book) -> Plan:
    hold = _open_hold(operation.hold_id, book)
    return Plan(
        kind=hold.kind,
        reference=hold.reference,
        change=-hold.change,
        hold_id=operation.hold_id,
    )


def _rollback(operation: Rollback, book: Book) -> Plan:
    original = book.records.get(operation.original_transfer_id)
    if original is None:
        _check_unsettled(operation.original_transfer_id, book)
        return Plan(buries=operation.original_transfer_id)
    if original.outcome != "applied" or original.transfer_id in book.undone:
        return Plan(outcome="no_effect")
    _check_undoable(original, book)
    money, change = book.wallets[original.user_id or ""].money, -original.change
    if operation.forced and money.bonus + change.bonus < 0:
        change = Money(change.cash, -money.bonus, change.held)
    after = money + change
    if after.bonus < 0 or (after.available < min(0, money.available) and not operation.forced):
        raise InsufficientFunds("the money of this transfer was spent meanwhile")
    _check_size(after)
    stake = book.records.get(original.stake_id) if original.stake_id else None
    return Plan(
        kind=original.kind,
        reference=original.reference,
        change=change,
        hold_id=original.hold_id,
        stake_id=original.stake_id,
        won_from_play=-_in_play(stake, book, credits_left=1),
    )


def _close(operation: Close, book: Book) -> Plan:
    if operation.user_id not in book.wallets:
        raise NotFound(NO_WALLET)
    return Plan(kind="adjustment", reference="the account was closed")


def _exclude(operation: Exclude, book: Book) -> Plan:
    if operation.user_id not in book.wallets:
        raise NotFound(NO_WALLET)
    return Plan(kind="adjustment", reference=operation.until.isoformat())


def _end_bonus(operation: EndBonus, book: Book) -> Plan:
    wallet = _wallet(operation, book)
    # What was staked meanwhile is not there any more: less is ended then, if anything.
    amount = max(min(operation.amount, wallet.money.bonus - operation.kept), 0)
    change = Money(cash=amount if operation.kind == "bonus_conversion" else 0, bonus=-amount)
    _check_size(wallet.money + change)
    return Plan(kind=operation.kind, reference=operation.reference, change=change)


def _wallet(operation: Deduct | Credit | Hold | EndBonus, book: Book) -> Wallet:
    wallet = book.wallets.get(operation.user_id)
    if wallet is None:
        raise NotFound(NO_WALLET)
    if wallet.currency != operation.currency:
        raise CurrencyMismatch(f"the wallet is kept in {wallet.currency}")
    return wallet


def _stake(operation: Credit, book: Book) -> Record | None:
    """Return the deduction that a credit belongs to.

    None for a stake that nobody took, such as a free spin's.
    """
    stake = book.records.get(operation.stake_transfer_id or "")
    if stake is None:
        return None
    if stake.outcome == "tombstone" or stake.transfer_id in book.undone:
        raise RolledBack("the stake of this credit was rolled back")
    if (stake.user_id, stake.verb, stake.outcome) != (
        operation.user_id, "deduct_balance", "applied",
    ):  # fmt: skip
        raise NotFound("this player has no such stake")
    return stake


def _open_hold(hold_id: str, book: Book) -> Record:
    hold = book.holds.get(hold_id)
    if hold is None:
        raise NotFound("there is no such hold")
    if hold_id in book.closed_holds:
        raise AlreadySettled("this hold was captured or released")
    return hold


def _check_undoable(original: Record, book: Book) -> None:
    if original.verb in ("capture", "release", "rollback", "close", "exclude", "end_bonus"):
        raise AlreadySettled(f"a {original.verb} cannot be rolled back")
    if original.verb == "hold" and original.hold_id in book.closed_holds:
        raise AlreadySettled("this hold was captured or released")
    if original.verb == "deduct_balance":
        _check_unsettled(original.transfer_id, book)


def _check_unsettled(stake_id: str, book: Book) -> None:
    """Refuse to undo a stake that was credited, whether it came or not."""
    if book.credits_left(stake_id):
        raise AlreadySettled("this stake was settled: roll its credits back first")


def _check_exclusion(kind: Kind, until: datetime, book: Book) -> None:
    """Refuse stakes alone: what an excluded player has can be withdrawn (UKGC LCCP 3.5)."""
    if kind in STAKES and until > book.now:
        raise SelfExcluded(f"no stakes until {until:%Y-%m-%dT%H:%M:%SZ}")


def _check_debt(kind: Kind, money: Money) -> None:
    if kind in NOT_IN_DEBT:
        raise InDebt(f"{money.debt} owed: a deposit clears it")


def _check_size(after: Money) -> None:
    if after.cash > AMOUNT_MAX or after.bonus > AMOUNT_MAX or after.available < -AMOUNT_MAX:
        raise BalanceTooLarge(f"no balance may pass {AMOUNT_MAX}")


def _in_play(stake: Record | None, book: Book, *, credits_left: int) -> int:
    """Return the bet's stake if it changes sides now, else 0.

    The first credit of a bet decides it; the rollback of the last one opens it again.
    """
    if stake is None or (stake.verb, stake.kind) != ("deduct_balance", "bet"):
        return 0
    if book.credits_left(stake.transfer_id) != credits_left:
        return 0
    return -(stake.change.cash + stake.change.bonus)


RULES: dict[type[Operation], Callable[[Any, Book], Plan]] = {
    Deduct: _deduct, Credit: _credit, Hold: _hold, Capture: _capture, Release: _release,
    Rollback: _rollback, Close: _close, Exclude: _exclude, EndBonus: _end_bonus,
}  # fmt: skip
"""The rule of each operation."""
