"""What each event says about money: its kind, signed from the player's side, in minor units.

Kinds are the ledger's own, so that both can be compared. A day is a day in UTC: an event counts
on the day of its time, a transfer on the day when the wallet decided it.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from msgspec import Struct

from svc.casino import contract as casino
from svc.gaming import contract as gaming
from svc.marketing import contract as marketing
from svc.mesh.errors import Invalid
from svc.payment import contract as payment
from svc.sportsbook import contract as sportsbook

KINDS = (
    "deposit", "withdrawal", "refund", "chargeback", "bet", "bet_payout", "bet_refund",
    "casino_bet", "casino_payout", "bonus", "prize",
)  # fmt: skip
"""What is reconciled. Expired bonuses are not: only the wallet knows what was left of them."""

DAYS_MAX = 366
EARLIEST = date(2000, 1, 1)
"""Before this day nothing can have happened: an earlier one is a mistake."""


class Product(Struct, frozen=True):
    """The kinds that make up a product's GGR."""

    stake: str
    payout: str
    refund: str | None


PRODUCTS = {
    "sportsbook": Product("bet", "bet_payout", "bet_refund"),
    "casino": Product("casino_bet", "casino_payout", None),
}


class Movement(Struct, frozen=True):
    """Money that moved for a player: what they got is above zero."""

    kind: str
    currency: str
    amount: int


def _deposit(data: payment.PaymentSuccess) -> Movement:
    return Movement("deposit", data.currency, data.amount)


def _refund(data: payment.PaymentRefunded) -> Movement:
    return Movement("refund", data.currency, -data.amount)


def _refund_returned(data: payment.RefundReturned) -> Movement:
    return Movement("refund", data.currency, data.amount)


def _charged_back(data: payment.PaymentDisputed) -> Movement:
    return Movement("chargeback", data.currency, -data.amount)


def _dispute_closed(data: payment.DisputeClosed) -> Movement | None:
    return Movement("chargeback", data.currency, data.returned) if data.returned else None


def _withdrawal(data: payment.WithdrawalPaid) -> Movement:
    return Movement("withdrawal", data.currency, -data.amount)


def _returned(data: payment.WithdrawalFailed) -> Movement | None:
    return Movement("withdrawal", data.currency, data.amount) if data.returned else None


def _bet(data: sportsbook.BetPlaced) -> Movement | None:
    """The stake of a free bet is the house's."""
    return None if data.free else Movement("bet", data.currency, -data.stake)


def _bet_payout(data: sportsbook.BetSettled) -> Movement:
    return Movement("bet_payout", data.currency, data.payout)


def _bet_refund(data: sportsbook.BetCancelled) -> Movement:
    return Movement("bet_refund", data.currency, data.refund)


def _bet_rolled_back(data: sportsbook.BetRolledBack) -> Movement:
    if data.refund:
        return Movement("bet_refund", data.currency, -data.refund)
    return Movement("bet_payout", data.currency, -data.payout)


def _bet_cashed_out(data: sportsbook.BetCashedOut) -> Movement:
    return Movement("bet_payout", data.currency, data.amount)


def _casino_bet(data: casino.CasinoBetPlaced) -> Movement:
    return Movement("casino_bet", data.currency, -data.stake)


def _casino_payout(data: casino.CasinoPayoutComplete) -> Movement:
    return Movement("casino_payout", data.currency, data.payout)


def _bonus(data: marketing.BonusAwarded) -> Movement | None:
    """Spin chances are no money."""
    if data.kind == "free_spins":
        return None
    return Movement("bonus", data.currency, data.amount)


def _prize(data: gaming.PrizeAwarded) -> Movement:
    return Movement("prize", data.currency, data.amount)


MOVEMENTS: dict[str, Callable[[Any], Movement | None]] = {
    payment.PAYMENT_SUCCESS.type: _deposit,
    payment.PAYMENT_REFUNDED.type: _refund,
    payment.REFUND_RETURNED.type: _refund_returned,
    payment.PAYMENT_DISPUTED.type: _charged_back,
    payment.DISPUTE_CLOSED.type: _dispute_closed,
    payment.WITHDRAWAL_PAID.type: _withdrawal,
    payment.WITHDRAWAL_FAILED.type: _returned,
    sportsbook.BET_PLACED.type: _bet,
    sportsbook.BET_SETTLED.type: _bet_payout,
    sportsbook.BET_CANCELLED.type: _bet_refund,
    sportsbook.BET_ROLLED_BACK.type: _bet_rolled_back,
    sportsbook.BET_CASHED_OUT.type: _bet_cashed_out,
    casino.CASINO_BET_PLACED.type: _casino_bet,
    casino.CASINO_PAYOUT_COMPLETE.type: _casino_payout,
    marketing.BONUS_AWARDED.type: _bonus,
    gaming.PRIZE_AWARDED.type: _prize,
}
"""What an event type says about money; all others move none."""


def movement(event_type: str, data: object) -> Movement | None:
    """Return the money that an event tells of, None when it tells of none."""
    tell = MOVEMENTS.get(event_type)
    return tell(data) if tell else None


def day_of(instant: datetime) -> date:
    """Return the day of an instant, in UTC."""
    return instant.astimezone(UTC).date()


def span(since: date, until: date) -> tuple[datetime, datetime]:
    """Return the half-open span of days, both included, in UTC."""
    return (
        datetime.combine(since, time(), UTC),
        datetime.combine(until + timedelta(days=1), time(), UTC),
    )


def days(
    since: date | None, until: date | None, today: date, default_days: int
) -> tuple[date, date]:
    """Return the days asked for; without them the last `default_days` up to today.

    Raises Invalid when they are in the wrong order or too many.
    """
    last = until or max(since or today, today)
    if not last >= EARLIEST or last.year > today.year + 1:
        raise Invalid("there is nothing to report of this day - at `$.until`")
    first = since or last - timedelta(days=default_days - 1)
    if first > last:
        raise Invalid("the first day is after the last one - at `$.since`")
    if (last - first).days >= DAYS_MAX:
        raise Invalid(f"at most {DAYS_MAX} days at once - at `$.since`")
    return first, last
