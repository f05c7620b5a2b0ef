"""Which event tells whom what, through which channels: one function per event with a message."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from svc.casino import contract as casino
from svc.gaming import contract as gaming
from svc.identity import contract as identity
from svc.marketing import contract as marketing
from svc.notification.contract import (
    NOTIFICATION_REQUESTED,
    Category,
    Channel,
    NotificationRequested,
)
from svc.notification.rules import Argument
from svc.payment import contract as payment
from svc.sportsbook import contract as sportsbook

IN_APP: tuple[Channel, ...] = ("in_app",)
WITH_EMAIL: tuple[Channel, ...] = ("in_app", "email")
WITH_SMS: tuple[Channel, ...] = ("in_app", "sms")
ALL: tuple[Channel, ...] = ("in_app", "sms", "email")
OWN_CHANNELS: dict[str, tuple[Channel, ...]] = {
    "one_time_code": ("sms",),
    "reality_check": ("in_app",),
}


@dataclass(frozen=True, kw_only=True)
class Notice:
    """A message to be: the template's texts are `<template>.title` and `<template>.text`."""

    user_id: str
    template: str
    channels: tuple[Channel, ...] = IN_APP
    category: Category = "transactional"
    arguments: dict[str, Argument] = field(default_factory=dict[str, Argument])


def _money(amount: int, currency: str) -> Argument:
    return Argument(money=(amount, currency))


def _instant(at: datetime) -> Argument:
    return Argument(instant=at)


def welcome(user: identity.UserRegistered) -> Notice:
    """Greet a new player: the diagram's Welcome SMS."""
    return Notice(user_id=user.user_id, template="welcome", channels=ALL)


def profile_changed(user: identity.ProfileUpdated) -> Notice | None:
    """Warn when the phone number was changed: it may not have been the user."""
    if "phone" not in user.changed:
        return None
    return Notice(
        user_id=user.user_id, template="phone_changed", category="security", channels=WITH_EMAIL
    )


def kyc_changed(user: identity.KycChanged) -> Notice | None:
    """Tell how a verification came out."""
    if user.status == "none":
        return None
    return Notice(user_id=user.user_id, template=f"kyc_{user.status}", channels=WITH_EMAIL)


def limit_changed(limit: identity.LimitChanged) -> Notice:
    """Confirm a limit, with the instant from which it holds."""
    return Notice(
        user_id=limit.user_id,
        template="limit_changed",
        category="security",
        channels=WITH_EMAIL,
        arguments={"since": _instant(limit.effective_at)},
    )


def excluded(user: identity.SelfExcludedData) -> Notice:
    """Confirm an exclusion or a time-out."""
    return Notice(
        user_id=user.user_id,
        template="time_out" if user.time_out else "self_excluded",
        category="security",
        channels=WITH_EMAIL,
        arguments={"until": _instant(user.until)},
    )


def bet_placed(bet: sportsbook.BetPlaced) -> Notice:
    """Confirm a bet: the diagram's Confirmation SMS."""
    return Notice(
        user_id=bet.user_id,
        template="bet_placed",
        channels=WITH_SMS,
        arguments={
            "stake": _money(bet.stake, bet.currency),
            "odds": Argument(text=bet.odds),
            "payout": _money(bet.potential_payout, bet.currency),
        },
    )


def bet_settled(bet: sportsbook.BetSettled) -> Notice:
    """Tell how a bet ended."""
    return Notice(
        user_id=bet.user_id,
        template=f"bet_{bet.result}",
        arguments={
            "stake": _money(bet.stake, bet.currency),
            "payout": _money(bet.payout, bet.currency),
        },
    )


def bet_cancelled(bet: sportsbook.BetCancelled) -> Notice:
    """Tell that a bet was voided and what comes back."""
    return Notice(
        user_id=bet.user_id,
        template="bet_cancelled",
        arguments={"refund": _money(bet.refund, bet.currency)},
    )


def bet_rejected(bet: sportsbook.BetRejected) -> Notice:
    """Tell that a bet was not accepted."""
    return Notice(user_id=bet.user_id, template="bet_rejected")


def deposited(paid: payment.PaymentSuccess) -> Notice:
    """Confirm a deposit: the diagram's confirmation of a payment."""
    return Notice(
        user_id=paid.user_id,
        template="deposit_succeeded",
        channels=WITH_SMS,
        arguments={"amount": _money(paid.amount, paid.currency)},
    )


def deposit_failed(failed: payment.PaymentFailed) -> Notice:
    """Tell that a deposit failed."""
    return Notice(
        user_id=failed.user_id,
        template="deposit_failed",
        arguments={"amount": _money(failed.amount, failed.currency)},
    )


def deposit_refunded(refunded: payment.PaymentRefunded) -> Notice:
    """Confirm that a deposit was given back."""
    return Notice(
        user_id=refunded.user_id,
        template="deposit_refunded",
        channels=WITH_EMAIL,
        arguments={"amount": _money(refunded.amount, refunded.currency)},
    )


def withdrawal_requested(asked: payment.WithdrawalRequested) -> Notice:
    """Confirm that a withdrawal was taken in."""
    return Notice(
        user_id=asked.user_id,
        template="withdrawal_requested",
        arguments={"amount": _money(asked.amount, asked.currency)},
    )


def withdrawal_paid(paid: payment.WithdrawalPaid) -> Notice:
    """Confirm that a withdrawal was paid."""
    return Notice(
        user_id=paid.user_id,
        template="withdrawal_paid",
        channels=WITH_EMAIL,
        arguments={"amount": _money(paid.amount, paid.currency)},
    )


def withdrawal_failed(failed: payment.WithdrawalFailed) -> Notice:
    """Tell that a withdrawal came to nothing and its money is free again."""
    return Notice(
        user_id=failed.user_id,
        template="withdrawal_failed",
        channels=WITH_EMAIL,
        arguments={"amount": _money(failed.amount, failed.currency)},
    )


def payment_disputed(disputed: payment.PaymentDisputed) -> Notice:
    """Tell that a bank took a deposit back, and what that stops until it is decided."""
    return Notice(
        user_id=disputed.user_id,
        template="payment_disputed",
        channels=WITH_EMAIL,
        arguments={"amount": _money(disputed.amount, disputed.currency)},
    )


def dispute_closed(closed: payment.DisputeClosed) -> Notice:
    """Tell how a dispute was decided."""
    return Notice(
        user_id=closed.user_id,
        template="dispute_won" if closed.won else "dispute_lost",
        channels=WITH_EMAIL,
        arguments={"amount": _money(closed.returned, closed.currency)},
    )


def refund_returned(returned: payment.RefundReturned) -> Notice:
    """Tell that a refund could not be paid out and is in the wallet again."""
    return Notice(
        user_id=returned.user_id,
        template="refund_returned",
        channels=WITH_EMAIL,
        arguments={"amount": _money(returned.amount, returned.currency)},
    )


def bonus_awarded(award: marketing.BonusAwarded) -> Notice:
    """Tell of an award: money or spin chances."""
    if award.kind == "free_spins":
        return Notice(
            user_id=award.user_id,
            template="spins_awarded",
            arguments={"count": Argument(number=award.spins)},
        )
    return Notice(
        user_id=award.user_id,
        template="bonus_awarded",
        arguments={"amount": _money(award.amount, award.currency)},
    )


def bonus_expired(expired: marketing.BonusExpired) -> Notice:
    """Tell that a bonus ran out, or was given up by a withdrawal."""
    return Notice(
        user_id=expired.user_id,
        template="bonus_forfeited" if expired.forfeited else "bonus_expired",
        arguments={"amount": _money(expired.amount, expired.currency)},
    )


def bonus_converted(converted: marketing.BonusConverted) -> Notice:
    """Tell that a bonus was wagered: what is left of it is cash now."""
    return Notice(
        user_id=converted.user_id,
        template="bonus_converted",
        arguments={"amount": _money(converted.amount, converted.currency)},
    )


def prize_won(prize: gaming.PrizeAwarded) -> Notice:
    """Congratulate on a jackpot, raffle or tournament prize."""
    return Notice(
        user_id=prize.user_id,
        template=f"prize_{prize.kind}",
        channels=WITH_EMAIL,
        arguments={"amount": _money(prize.amount, prize.currency)},
    )


def tickets_issued(tickets: gaming.RaffleTicketsIssued) -> Notice:
    """Tell of raffle tickets that a deposit earned."""
    return Notice(
        user_id=tickets.user_id,
        template="raffle_tickets",
        arguments={"count": Argument(number=tickets.tickets)},
    )


def casino_payout(played: casino.CasinoPayoutComplete) -> Notice | None:
    """Tell of winnings: the diagram's payout notification; a lost round has none."""
    if played.payout == 0:
        return None
    return Notice(
        user_id=played.user_id,
        template="casino_payout",
        channels=WITH_SMS,
        arguments={"payout": _money(played.payout, played.currency)},
    )


def requested(asked: NotificationRequested) -> Notice:
    """Tell what another service asks for, by in-app message and e-mail; security by SMS too.

    A one-time code proves who holds the telephone, so it goes there alone; how long somebody has
    been logged in is told where they are.
    """
    return Notice(
        user_id=asked.user_id,
        template=asked.template,
        category=asked.category,
        channels=OWN_CHANNELS.get(
            asked.template, ALL if asked.category == "security" else WITH_EMAIL
        ),
        arguments={name: Argument(text=value) for name, value in asked.arguments.items()},
    )


NOTICES: dict[str, Callable[[Any], Notice | None]] = {
    identity.USER_REGISTERED.type: welcome,
    identity.PROFILE_UPDATED.type: profile_changed,
    identity.KYC_CHANGED.type: kyc_changed,
    identity.LIMIT_CHANGED.type: limit_changed,
    identity.SELF_EXCLUDED.type: excluded,
    sportsbook.BET_PLACED.type: bet_placed,
    sportsbook.BET_SETTLED.type: bet_settled,
    sportsbook.BET_CANCELLED.type: bet_cancelled,
    sportsbook.BET_REJECTED.type: bet_rejected,
    payment.PAYMENT_SUCCESS.type: deposited,
    payment.PAYMENT_FAILED.type: deposit_failed,
    payment.PAYMENT_REFUNDED.type: deposit_refunded,
    payment.PAYMENT_DISPUTED.type: payment_disputed,
    payment.DISPUTE_CLOSED.type: dispute_closed,
    payment.REFUND_RETURNED.type: refund_returned,
    payment.WITHDRAWAL_REQUESTED.type: withdrawal_requested,
    payment.WITHDRAWAL_PAID.type: withdrawal_paid,
    payment.WITHDRAWAL_FAILED.type: withdrawal_failed,
    marketing.BONUS_AWARDED.type: bonus_awarded,
    marketing.BONUS_EXPIRED.type: bonus_expired,
    marketing.BONUS_CONVERTED.type: bonus_converted,
    gaming.PRIZE_AWARDED.type: prize_won,
    gaming.RAFFLE_TICKETS_ISSUED.type: tickets_issued,
    casino.CASINO_PAYOUT_COMPLETE.type: casino_payout,
    NOTIFICATION_REQUESTED.type: requested,
}
