"""How accepted bets end, end otherwise, or are open again: decided by their legs, many at once.

Whatever the feed said last is in the legs. Here each bet is held against them: an open bet that is
decided is paid; a paid one whose legs say otherwise has its payment rolled back and, if it is
still decided, is paid anew. The ids of payments are derived from the bet and its version, so that
each happens once, whatever is done twice.
"""

from collections.abc import Sequence
from fractions import Fraction
from hashlib import sha1

from msgspec import Struct

from svc.identity.contract import ToldStake
from svc.mesh.database import Tx
from svc.sportsbook import (
    house,
    own_limits,
    paying,
    payout_day,
    rules,
    store_bets,
    store_exposure,
    store_settlement,
)
from svc.sportsbook.contract import (
    BET_CANCELLED,
    BET_ROLLED_BACK,
    BET_SETTLED,
    BetCancelled,
    BetRolledBack,
    BetSettled,
)
from svc.sportsbook.rules_settlement import ONE, Terms, Verdict, verdict
from svc.sportsbook.store_bets import BetRow, LegRow
from svc.sportsbook.store_settlement import Ended, TransferOrder

FEED_CANCELLED = "cancelled by the feed"
VARIANTS = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
"""The digit of a UUID that says, with the two bits that are left of it, what kind it is."""
AT_ONCE = 500
"""Bets that are settled by one round of statements; more would keep other requests waiting."""


class Changes(Struct):
    """What a round of settlement writes and tells."""

    touched: list[str] = []
    ended: list[Ended] = []
    orders: list[TransferOrder] = []
    settled: list[tuple[str, BetSettled]] = []
    cancelled: list[tuple[str, BetCancelled]] = []
    rolled_back: list[tuple[str, BetRolledBack]] = []
    at_rest: list[str] = []
    at_risk: list[str] = []
    tokens_back: list[str] = []
    tokens_used: list[str] = []
    counted: list[tuple[str, ToldStake]] = []


async def decide(tx: Tx, bet_ids: Sequence[str]) -> None:
    """Bring bets to what their legs say; those that say it already stay as they are.

    The bets are locked first and their legs read only then: of a settlement and an acceptance
    that run at the same time, the later one always sees what the earlier one wrote.
    """
    if not bet_ids:
        return
    ordered = sorted(set(bet_ids))
    for start in range(0, len(ordered), AT_ONCE):
        await _decide(tx, ordered[start : start + AT_ONCE])


async def _decide(tx: Tx, bet_ids: Sequence[str]) -> None:
    locked = await store_bets.lock(tx, bet_ids)
    live = [bet for bet in locked if bet.status in {"accepted", "settled", "cancelled"}]
    legs = await store_bets.legs(tx, [bet.bet_id for bet in live])
    limits = house.limits(tx.context)
    changes = Changes()
    days = await payout_day.of(tx, live, limits)
    for bet in live:
        _change(bet, legs[bet.bet_id], limits, changes, days)
    await _write(tx, changes)
    if days is not None:
        await days.write(tx)


def _change(
    bet: BetRow,
    legs: list[LegRow],
    limits: rules.Limits,
    changes: Changes,
    days: payout_day.Days | None,
) -> None:
    """Note what has to change for a bet, given its legs as they are."""
    win = [leg.state for leg in legs if leg.part == "win"]
    place = [leg.state for leg in legs if leg.part == "place"]
    found = verdict(terms_of(bet, len(win), limits), win, place)
    if days is not None:
        found = days.held(bet, found)
    cancelled = found is not None and found.result == "void" and any(leg.cancelled for leg in legs)
    if bet.status == "accepted":
        if found is None:
            changes.touched.append(bet.bet_id)
        else:
            _pay(bet, found, cancelled=cancelled, changes=changes)
            if len(legs) > 1:  # the outcome of a single takes no more bets anyway
                changes.at_rest.append(bet.bet_id)
        return
    status = "cancelled" if cancelled else "settled"
    if found and (status, found.result, found.payout) == (bet.status, bet.result, bet.payout):
        return
    _take_back(bet, changes)
    if found is None:
        if bet.counted:
            changes.counted.append((bet.user_id, own_limits.stands(bet)))
        changes.ended.append(Ended(bet_id=bet.bet_id, version=bet.version + 1, status="accepted"))
        if len(legs) > 1:
            changes.at_risk.append(bet.bet_id)
    else:
        _pay(bet, found, cancelled=cancelled, changes=changes)


def terms_of(bet: BetRow, legs: int, limits: rules.Limits) -> Terms:
    """Return what a bet of so many legs pays by: what it was struck on, whatever is set by now."""
    return Terms(
        unit_stake=bet.unit_stake,
        stake=bet.stake,
        sizes=tuple(bet.system_sizes or (legs,)),
        payout_max=bet.payout_max or limits.payout_max,
        running=ONE if bet.running == 1 else Fraction(bet.running),
        free=bet.free_bet_id is not None,
        lucky=bet.lucky,
        rounding=bet.rounding or limits.rounding,
    )


def payment_id(bet_id: str, version: int, what: str) -> str:
    """Return the id of a movement of a bet's money: the same for ever, and no other has it.

    It is the UUID of this name among the bet's (version 5), made without the objects between.
    """
    name = bytes.fromhex(bet_id.replace("-", "")) + f"{version}:{what}".encode()
    found = sha1(name, usedforsecurity=False).hexdigest()
    variant = VARIANTS[found[16]]
    return f"{found[:8]}-{found[8:12]}-5{found[13:16]}-{variant}{found[17:20]}-{found[20:32]}"


def _pay(bet: BetRow, found: Verdict, *, cancelled: bool, changes: Changes) -> None:
    """Note that a bet is decided: its payment is a movement of money, and an event."""
    if bet.free_bet_id is not None and found.result == "void":
        changes.tokens_back.append(bet.bet_id)
    if bet.counted:
        changes.counted.append((bet.user_id, own_limits.stands(bet, payout=found.payout)))
    transfer_id = payment_id(bet.bet_id, bet.version + 1, "pay")
    changes.ended.append(
        Ended(
            bet_id=bet.bet_id,
            version=bet.version + 1,
            status="cancelled" if cancelled else "settled",
            result=found.result,
            payout=found.payout,
            transfer_id=transfer_id,
        )
    )
    changes.orders.append(
        TransferOrder(
            transfer_id=transfer_id,
            op="credit_balance",
            bet_id=bet.bet_id,
            user_id=bet.user_id,
            amount=found.payout,
            currency=bet.currency,
            kind="bet_refund" if cancelled else "bet_payout",
            stake_transfer_id=bet.stake_transfer_id,
        )
    )
    if cancelled:
        changes.cancelled.append((bet.bet_id, _cancelled(bet, found, transfer_id)))
    else:
        changes.settled.append((bet.bet_id, _settled(bet, found, transfer_id)))


def _settled(bet: BetRow, found: Verdict, transfer_id: str) -> BetSettled:
    return BetSettled(
        bet_id=bet.bet_id,
        user_id=bet.user_id,
        result=found.result,
        stake=bet.stake,
        payout=found.payout,
        currency=bet.currency,
        odds=rules.odds_text(bet.odds),
        transfer_id=transfer_id,
        stake_transfer_id=bet.stake_transfer_id,
        free=bet.free_bet_id is not None,
    )


def _cancelled(bet: BetRow, found: Verdict, transfer_id: str) -> BetCancelled:
    return BetCancelled(
        bet_id=bet.bet_id,
        user_id=bet.user_id,
        stake=bet.stake,
        refund=found.payout,
        currency=bet.currency,
        reason=FEED_CANCELLED,
        transfer_id=transfer_id,
        stake_transfer_id=bet.stake_transfer_id,
    )


def _take_back(bet: BetRow, changes: Changes) -> None:
    """Note that what a bet was paid is rolled back; what the player has not becomes a debt."""
    if bet.free_bet_id is not None and bet.result == "void":
        changes.tokens_used.append(bet.bet_id)
    paid, original = bet.payout or 0, bet.payout_transfer_id
    assert original is not None, "a decided bet has its payment's id"
    transfer_id = payment_id(bet.bet_id, bet.version, "undo")
    cancelled = bet.status == "cancelled"
    changes.orders.append(
        TransferOrder(
            transfer_id=transfer_id,
            op="rollback",
            bet_id=bet.bet_id,
            user_id=bet.user_id,
            amount=paid,
            currency=bet.currency,
            kind="bet_refund" if cancelled else "bet_payout",
            original_transfer_id=original,
        )
    )
    told = BetRolledBack(
        bet_id=bet.bet_id,
        user_id=bet.user_id,
        payout=0 if cancelled else paid,
        refund=paid if cancelled else 0,
        currency=bet.currency,
        transfer_id=transfer_id,
        original_transfer_id=original,
        stake_transfer_id=bet.stake_transfer_id,
    )
    changes.rolled_back.append((bet.bet_id, told))


async def undo_stake(bet: BetRow, tx: Tx) -> None:
    """Have a rejected bet's stake rolled back, taken or not: it can't be taken any more then."""
    order = TransferOrder(
        transfer_id=payment_id(bet.bet_id, bet.version, "reject"),
        op="rollback",
        bet_id=bet.bet_id,
        user_id=bet.user_id,
        amount=bet.stake,
        currency=bet.currency,
        kind="bet_refund",
        original_transfer_id=bet.stake_transfer_id,
    )
    await store_settlement.order(tx, [order], tx.context.now())
    tx.after_commit(paying.of(tx.context).wake)


async def _write(tx: Tx, changes: Changes) -> None:
    """Write a round of changes, one statement for each kind of thing, and tell of them."""
    now = tx.context.now()
    if changes.touched:
        await store_settlement.touch(tx, changes.touched)
    if not changes.ended:
        return
    await store_settlement.end(tx, changes.ended, now)
    await store_settlement.order(tx, changes.orders, now)
    await store_settlement.publish_all(tx, BET_ROLLED_BACK, changes.rolled_back)
    await store_settlement.publish_all(tx, BET_SETTLED, changes.settled)
    await store_settlement.publish_all(tx, BET_CANCELLED, changes.cancelled)
    await store_exposure.release(tx, changes.at_rest)
    await store_exposure.release(tx, changes.at_risk, 1)
    if changes.counted:
        await own_limits.tell(tx, changes.counted)
    if changes.tokens_used:
        await store_exposure.use_again(tx, changes.tokens_used)
    if changes.tokens_back:
        await store_exposure.give_back(tx, changes.tokens_back)
    tx.after_commit(paying.of(tx.context).wake)
