"""The money rule as tables: balances before, an operation, and the change or the refusal."""

from datetime import timedelta

import pytest
from hypothesis import given, strategies as st

from svc.mesh.errors import NotFound, Refused
from svc.mesh.types import AMOUNT_MAX
from svc.wallet import rules
from svc.wallet.book import Book, Money, Record, Wallet
from svc.wallet.contract import (
    REFUSALS,
    AccountClosed,
    AlreadySettled,
    BalanceTooLarge,
    CurrencyMismatch,
    HoldExceeded,
    InDebt,
    InsufficientFunds,
    Kind,
    Release,
    RolledBack,
    SelfExcluded,
    TransferConflict,
)
from svc.wallet.operations import Deduct, Operation, fingerprint
from tests.wallet.known import (
    ANN,
    BOB,
    BURIED,
    CLOSED,
    HOLD,
    LATE,
    NEW,
    NOON,
    REFUSED,
    STAKE,
    TURNED_DOWN,
    WIN,
    book,
    capture,
    credit,
    deduct,
    excluded,
    hold,
    hold_of,
    left,
    placed,
    rollback,
    taken,
    undo,
    won,
)

CHANGES: list[tuple[str, Book, Operation, Money]] = [
    ("cash to exactly zero", book(100), deduct(100), Money(-100)),
    ("cash first, then bonus", book(70, 50), deduct(100), Money(-70, -30)),
    ("nothing at all", book(), deduct(0), Money()),
    ("a casino stake from bonus alone", book(0, 5), deduct(5, "casino_bet"), Money(0, -5)),
    ("free cash only beside a hold", book(100, 10, 60), deduct(50), Money(-40, -10)),
    ("an expiry of all that is left", book(9, 5), deduct(8, "bonus_expiry"), Money(0, -5)),
    ("an expiry of a part", book(9, 5), deduct(3, "bonus_expiry"), Money(0, -3)),
    ("an expiry when nothing is left", book(9), deduct(3, "bonus_expiry"), Money()),
    ("a win of who left", left(0, taken(5)), credit(9, stake=STAKE), Money(9)),
    ("a deposit of who left", left(0), credit(9, "deposit"), Money(9)),
    ("a chargeback of who left", left(9), deduct(12, "chargeback", forced=True), Money(-12)),
    ("a refund that the provider gave to who left", left(9), deduct(9, "refund", forced=True),
     Money(-9)),
    ("a bet when the exclusion has ended", excluded(9, now=NOON + timedelta(seconds=1)),
     deduct(9), Money(-9)),
    ("a win of who is excluded", excluded(0, taken(5)), credit(9, stake=STAKE), Money(9)),
    ("a lost bet of who is excluded", excluded(0, taken(5)), credit(0, stake=STAKE), Money()),
    ("a stake of who is excluded undone", excluded(0, taken(5)), rollback(STAKE), Money(5)),
    ("a deposit of who is excluded that was paid already", excluded(0), credit(9, "deposit"),
     Money(9)),
    ("a withdrawal of who is excluded", excluded(9), deduct(9, "withdrawal"), Money(-9)),
    ("a hold of who is excluded, to withdraw", excluded(9), hold(9), Money(held=9)),
    ("a captured hold of who is excluded", excluded(9, placed(9), held=9), capture(),
     Money(-9, 0, -9)),
    ("a release to who is excluded", excluded(9, placed(9), held=9),
     Release(transfer_id=NEW, hold_id=HOLD), Money(held=-9)),
    ("a bonus of who is excluded expires", excluded(9), deduct(9, "bonus_expiry"), Money()),
    ("a chargeback of who is excluded", excluded(9), deduct(12, "chargeback", forced=True),
     Money(-12)),
    ("a deposit", book(), credit(7, "deposit"), Money(7)),
    ("a bonus", book(), credit(7, "bonus"), Money(0, 7)),
    ("a bonus that is cash", book(), credit(7, "bonus", into="cash"), Money(7)),
    ("a win on cash", book(0, 0, 0, taken(100)), credit(250, stake=STAKE), Money(250)),
    ("a win on cash and bonus", book(0, 0, 0, taken(125, 75)), credit(300, stake=STAKE),
     Money(188, 112)),
    ("a win on bonus alone", book(0, 0, 0, taken(0, 3)), credit(7, stake=STAKE), Money(0, 7)),
    ("an odd unit goes to cash", book(0, 0, 0, taken(1, 2)), credit(5, stake=STAKE), Money(2, 3)),
    ("a refund restores the split", book(0, 0, 0, taken(70, 30)),
     credit(100, "bet_refund", STAKE), Money(70, 30)),
    ("a win of a free spin", book(), credit(5, "casino_payout", STAKE, "bonus"), Money(0, 5)),
    ("a win on a stake that nobody took", book(), credit(5, stake=STAKE), Money(5)),
    ("a win on a stake of nothing", book(0, 0, 0, taken(0)), credit(5, stake=STAKE), Money(5)),
    ("all free cash held", book(100, 9, 40), hold(60), Money(held=60)),
    ("all that is held", book(100, 0, 60, placed(60)), capture(), Money(-60, 0, -60)),
    ("a part, the rest released", book(100, 0, 60, placed(60)), capture(10), Money(-10, 0, -60)),
    ("a release", book(100, 0, 60, placed(60)), Release(transfer_id=NEW, hold_id=HOLD),
     Money(held=-60)),
    ("the recorded split, whatever there is now", book(5, 5, 0, taken(70, 30)), rollback(STAKE),
     Money(70, 30)),
    ("a win taken back", book(100, 0, 0, taken(10), won(100)), rollback(WIN), Money(-100)),
    ("a stake whose win was taken back", book(0, 0, 0, taken(10), won(100), undo(WIN, STAKE)),
     rollback(STAKE), Money(10)),
    ("a hold undone", book(100, 0, 60, placed(60)), rollback(HOLD), Money(held=-60)),
    ("an unknown transfer undone", book(5), rollback(STAKE), Money()),
    ("an unknown stake whose win was taken back", book(5, 0, 0, won(5), undo(WIN, STAKE)),
     rollback(STAKE), Money()),
    ("a refused transfer undone", book(5, 0, 0, TURNED_DOWN), rollback(REFUSED), Money()),
    ("a transfer undone twice", book(5, 0, 0, taken(10), undo(STAKE)), rollback(STAKE), Money()),
    ("a buried transfer undone", book(5, 0, 0, BURIED), rollback(LATE), Money()),
    ("a chargeback that the player can pay", book(70, 50), deduct(60, "chargeback", forced=True),
     Money(-60)),
    ("a chargeback of more than there is", book(70, 50), deduct(100, "chargeback", forced=True),
     Money(-100)),
    ("a chargeback beside a hold", book(70, 0, 60), deduct(20, "chargeback", forced=True),
     Money(-20)),
    ("a chargeback of who owes already", book(-5), deduct(20, "chargeback", forced=True),
     Money(-20)),
    ("too high a payout taken back", book(5), deduct(20, "bet_payout", forced=True), Money(-20)),
    ("a deposit of who owes", book(-50), credit(80, "deposit"), Money(80)),
    ("a bonus of who owes", book(-50), credit(80, "bonus"), Money(0, 80)),
    ("a bonus of who owes expires", book(-50, 80), deduct(80, "bonus_expiry"), Money(0, -80)),
    ("nothing corrected of who owes", book(-50), deduct(0, "adjustment"), Money()),
    ("a spent win taken back by force", book(40, 0, 0, taken(10), won(100)),
     rollback(WIN, forced=True), Money(-100)),
    ("a win that is there taken back by force", book(100, 0, 0, taken(10), won(100)),
     rollback(WIN, forced=True), Money(-100)),
    ("bonus money that is gone is not owed", book(5, 4, 0, taken(1, 1), won(5, 6)),
     rollback(WIN, forced=True), Money(-5, -4)),
    ("a stake of who owes undone", book(-50, 0, 0, taken(30)), rollback(STAKE), Money(30)),
    ("a hold of who owes undone", book(10, 0, 60, placed(60)), rollback(HOLD), Money(held=-60)),
    ("a hold of who owes captured", book(10, 0, 60, placed(60)), capture(), Money(-60, 0, -60)),
]  # fmt: skip

REFUSED_CASES: list[tuple[str, Book, Operation, type[Refused]]] = [
    ("a hold id used before", book(9, 0, 5, placed(5)), hold(1, HOLD), TransferConflict),
    ("a win after its stake was rolled back", book(0, 0, 0, taken(5), undo(STAKE)),
     credit(9, stake=STAKE), RolledBack),
    ("a win on a buried stake", book(0, 0, 0, BURIED), credit(9, stake=LATE), RolledBack),
    ("nobody's wallet", book(), deduct(1, user=BOB), NotFound),
    ("another player's stake", book(0, 0, 0, taken(5, user=BOB)), credit(9, stake=STAKE), NotFound),
    ("a stake that was refused", book(0, 0, 0, TURNED_DOWN), credit(9, stake=REFUSED), NotFound),
    ("a win as a stake", book(9, 0, 0, won(9)), credit(9, stake=WIN), NotFound),
    ("no such hold", book(9), capture(), NotFound),
    ("another currency", book(9), deduct(1, currency="USD"), CurrencyMismatch),
    ("a bet of who left", left(9), deduct(1), AccountClosed),
    ("a round of who left", left(9), deduct(1, "casino_bet"), AccountClosed),
    ("a withdrawal of who left", left(9), deduct(1, "withdrawal"), AccountClosed),
    ("a hold of who left", left(9), hold(1), AccountClosed),
    ("a bet of who left, by force", left(9), deduct(1, forced=True), AccountClosed),
    ("a bet of who is excluded", excluded(9), deduct(1), SelfExcluded),
    ("a round of who is excluded", excluded(9), deduct(1, "casino_bet"), SelfExcluded),
    ("a stake of nothing of who is excluded", excluded(9), deduct(0), SelfExcluded),
    ("a stake of who is excluded, by force", excluded(9), deduct(1, forced=True), SelfExcluded),
    ("a stake that who is excluded could not pay", excluded(0), deduct(1), SelfExcluded),
    ("a hold for a bet of who is excluded", excluded(9), hold_of("bet"), SelfExcluded),
    ("a hold for a round of who is excluded", excluded(9), hold_of("casino_bet"), SelfExcluded),
    ("a hold that is closed", book(9, 0, 0, placed(5), CLOSED), capture(1), AlreadySettled),
    ("a release twice", book(9, 0, 0, placed(5), CLOSED), Release(transfer_id=NEW, hold_id=HOLD),
     AlreadySettled),
    ("a closed hold undone", book(9, 0, 0, placed(5), CLOSED), rollback(HOLD), AlreadySettled),
    ("a settled stake undone", book(9, 0, 0, taken(5), won(0)), rollback(STAKE), AlreadySettled),
    ("a stake that never came but was settled undone", book(9, 0, 0, won(5)), rollback(STAKE),
     AlreadySettled),
    ("a release undone", book(9, 0, 0, placed(5), CLOSED), rollback(LATE), AlreadySettled),
    ("a rollback undone", book(9, 0, 0, taken(5), undo(STAKE)), rollback(LATE), AlreadySettled),
    ("more than is held", book(9, 0, 5, placed(5)), capture(6), HoldExceeded),
    ("a bet of who owes", book(-1, 50), deduct(1), InDebt),
    ("a round of who owes", book(-1, 50), deduct(1, "casino_bet"), InDebt),
    ("a withdrawal of who owes", book(-1), deduct(1, "withdrawal"), InDebt),
    ("a refund of who owes", book(-1), deduct(1, "refund"), InDebt),
    ("a hold of who owes", book(10, 0, 60), hold(1), InDebt),
    ("a stake of who owes by force", book(-1, 50), deduct(1, forced=True), InDebt),
    ("a stake by force", book(5), deduct(6, forced=True), InsufficientFunds),
    ("a withdrawal by force", book(5), deduct(6, "withdrawal", forced=True), InsufficientFunds),
    ("a chargeback not by force", book(5), deduct(6, "chargeback"), InsufficientFunds),
    ("a correction of who owes, not by force", book(-1, 9), deduct(1, "adjustment"),
     InsufficientFunds),
    ("a win of who owes taken back, not by force", book(-1, 0, 0, taken(10), won(5)),
     rollback(WIN), InsufficientFunds),
    ("a settled stake by force", book(9, 0, 0, taken(5), won(0)), rollback(STAKE, forced=True),
     AlreadySettled),
    ("a debt beyond what a message can carry", book(-1),
     deduct(AMOUNT_MAX, "chargeback", forced=True), BalanceTooLarge),
    ("one minor unit more", book(60, 40), deduct(101), InsufficientFunds),
    ("held money staked", book(100, 0, 60), deduct(41), InsufficientFunds),
    ("bonus withdrawn", book(5, 40), deduct(6, "withdrawal"), InsufficientFunds),
    ("bonus refunded", book(5, 40), deduct(6, "refund"), InsufficientFunds),
    ("bonus held", book(5, 40), hold(6), InsufficientFunds),
    ("held money held again", book(9, 0, 5), hold(5), InsufficientFunds),
    ("a spent win taken back", book(99, 0, 0, taken(10), won(100)), rollback(WIN),
     InsufficientFunds),
    ("a win taken back that is held", book(100, 0, 1, taken(10), won(100)), rollback(WIN),
     InsufficientFunds),
    ("a spent bonus win taken back", book(99, 4, 0, taken(0, 1), won(0, 5)), rollback(WIN),
     InsufficientFunds),
    ("more than a message can carry", book(1), credit(AMOUNT_MAX, "deposit"), BalanceTooLarge),
]  # fmt: skip


@pytest.mark.parametrize(
    ("known", "operation", "change"),
    [case[1:] for case in CHANGES],
    ids=[case[0].replace(" ", "_") for case in CHANGES],
)
def test_an_operation_changes_exactly_this(
    known: Book, operation: Operation, change: Money
) -> None:
    assert rules.decide(operation, known).change == change


@pytest.mark.parametrize(
    ("known", "operation", "refusal"),
    [case[1:] for case in REFUSED_CASES],
    ids=[case[0].replace(" ", "_") for case in REFUSED_CASES],
)
def test_an_operation_is_refused_for_exactly_this(
    known: Book, operation: Operation, refusal: type[Refused]
) -> None:
    with pytest.raises(Refused) as refused:
        rules.decide(operation, known)
    assert type(refused.value) is refusal


def test_every_refusal_of_the_contract_is_in_the_table_and_in_the_order_of_precedence() -> None:
    assert rules.PRECEDENCE == REFUSALS
    assert {case[3] for case in REFUSED_CASES} == set(REFUSALS)
    assert {refusal.name for refusal in REFUSALS} == set(rules.REFUSAL_NAMED)


@pytest.mark.parametrize("days", [(1, 9), (9, 1), (9, 9), (1, 9, 2), (9, 1, 1)])
def test_the_longest_of_all_exclusions_holds_in_whatever_order_they_come(
    days: tuple[int, ...],
) -> None:
    known = Wallet(ANN, "EUR", Money())
    for each in days:
        known.exclude(NOON + timedelta(days=each))
    assert known.excluded_until == NOON + timedelta(days=9)


def test_who_is_excluded_is_so_as_long_as_nobody_says_what_time_it_is() -> None:
    known = book(9)
    known.wallets[ANN].exclude(NOON)
    with pytest.raises(SelfExcluded):
        rules.decide(deduct(1), known)


def test_the_first_credit_of_a_bet_moves_its_stake_to_the_revenue_and_the_second_does_not() -> None:
    first = rules.decide(credit(0, stake=STAKE), book(0, 0, 0, taken(70, 30)))
    second = rules.decide(credit(9, stake=STAKE), book(0, 0, 0, taken(70, 30), won(5)))
    assert first.legs() == [rules.Leg("revenue", "bets_in_play", 100)]
    assert second.legs() == [
        rules.Leg("cash", "revenue", 7),
        rules.Leg("bonus", "revenue", 2),
    ]


def test_a_stake_that_comes_after_its_credit_is_never_in_play() -> None:
    late = Deduct(
        transfer_id=STAKE, user_id=ANN, amount=10, currency="EUR", kind="bet", reference="r"
    )
    plan = rules.decide(late, book(100, 0, 0, won(5)))
    assert plan.legs()[1] == rules.Leg("revenue", "bets_in_play", 10)


def test_rolling_back_the_last_credit_of_a_bet_puts_its_stake_back_into_play() -> None:
    plan = rules.decide(rollback(WIN), book(100, 0, 0, taken(10), won(100)))
    assert plan.legs() == [
        rules.Leg("cash", "revenue", -100),
        rules.Leg("revenue", "bets_in_play", -10),
    ]


def test_every_kind_has_a_house_account() -> None:
    assert set(rules.HOUSE_OF) == set(Kind.__args__)


def test_an_id_with_another_body_is_a_conflict_and_with_the_same_body_the_same_record() -> None:
    asked = deduct(5)
    known = book(9)
    stored = Record(
        transfer_id=NEW, verb="deduct_balance", outcome="applied", fingerprint=fingerprint(asked)
    )
    known.add([stored])
    assert rules.replay(asked, fingerprint(asked), known) is stored
    other = deduct(6)
    with pytest.raises(TransferConflict):
        rules.replay(other, fingerprint(other), known)


def test_a_buried_transfer_is_refused_whatever_its_body_says() -> None:
    known = book(9)
    known.add([Record(transfer_id=NEW, verb="rollback", outcome="tombstone")])
    with pytest.raises(RolledBack):
        rules.replay(deduct(5), fingerprint(deduct(5)), known)


def test_a_rollback_of_itself_is_a_conflict() -> None:
    with pytest.raises(TransferConflict):
        rules.replay(rollback(NEW), b"", book(9))


amounts = st.integers(0, 1_000)


@given(cash=amounts, bonus=amounts, stake=amounts, payout=amounts)
def test_winnings_are_split_without_losing_a_unit_and_never_give_bonus_where_cash_was_staked(
    cash: int, bonus: int, stake: int, payout: int
) -> None:
    if stake > cash + bonus:
        return
    taken_change = rules.decide(deduct(stake), book(cash, bonus)).change
    known = book(0, 0, 0, taken(-taken_change.cash, -taken_change.bonus))
    paid = rules.decide(credit(payout, stake=STAKE), known).change
    assert paid.cash + paid.bonus == payout
    assert paid.bonus * stake <= payout * -taken_change.bonus
    assert (paid.bonus + 1) * max(stake, 1) > payout * -taken_change.bonus
