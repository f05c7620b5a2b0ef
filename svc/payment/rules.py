"""The rules of payments: signatures, the lattice of states, limits and what equals what."""

import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Literal

from msgspec import Struct

from svc.mesh.errors import DeclarationError, Unauthenticated
from svc.payment.contract import (
    AccountBlocked,
    BadSignature,
    ClosedLoop,
    CurrencyMismatch,
    LimitExceeded,
    NotVerified,
    PaymentStatus,
    SelfExcluded,
    WithdrawalStatus,
)

Outcome = Literal["open", "lost", "won"]

TIMESTAMP = re.compile(r"[0-9]{1,15}")
TOLERANCE_S = 300
"""How far a webhook's timestamp may be from now, to either side (Stripe: 5 minutes)."""

RANK: dict[PaymentStatus, int] = {"pending": 0, "failed": 1, "succeeded": 2, "refunded": 3}
"""A deposit only ever climbs, so webhooks may come in any order and any number of times.

A failed attempt may still be followed by a success at the provider (Stripe's
`requires_payment_method`), never the other way round.
"""

PERIODS = {"day": timedelta(days=1), "week": timedelta(days=7), "month": timedelta(days=30)}
"""Windows of deposit limits, rolling (UKGC RTS 12: 24 hours, 7 days, month)."""

STATUS_OF_STATE: dict[str, WithdrawalStatus] = {
    "requested": "pending",
    "held": "pending",
    "submitting": "pending",
    "submitted": "submitted",
    "paid_pending_capture": "submitted",
    "paid": "paid",
    "abandoning": "pending",
    "releasing": "submitted",
    "returning": "paid",
    "refused": "failed",
    "failed": "failed",
    "cancelled": "cancelled",
}
"""What a player sees of a withdrawal: it failed only when the money is theirs again."""

DISPUTE_RANK: dict[Outcome, int] = {"open": 0, "lost": 1, "won": 2}
"""A dispute only climbs too: money that was given back after all means that it was won."""
INQUIRY = "warning_"
"""So begin the states of a bank's mere question, which takes no money (Stripe)."""

ASKED_FOR = timedelta(hours=23)
"""So long a payment is asked for with its key: the provider forgets keys after 24 hours (Stripe),
and would then do it a second time."""
FIRST_RETRY = timedelta(seconds=10)
LAST_RETRY = timedelta(minutes=10)


class Player(Struct, frozen=True, kw_only=True):
    """What events told of a player; `currency` is None until the registration was heard."""

    user_id: str
    currency: str | None
    locale: str
    kyc_status: str
    excluded_until: datetime | None


class AnnouncedLimit(Struct, frozen=True, kw_only=True):
    """A deposit limit as identity announced it, in minor units."""

    period: str
    announced_at: datetime
    effective_at: datetime
    amount: int


def check_signature(header: str, body: bytes, secrets: Sequence[str], now_s: int) -> None:
    """Check `t=<unix>,v1=<hex>[,v1=<hex>]` over the raw body, in Stripe's scheme.

    Any v1 by any of our secrets will do, so that a secret can be replaced without a gap. Raises
    BadSignature when none holds, or when the time is more than 300 s away, to either side.
    """
    pairs = [part.strip().partition("=") for part in header.split(",")]
    times = [value for name, _, value in pairs if name == "t"]
    marks = [value for name, _, value in pairs if name == "v1"]
    if len(times) != 1 or not TIMESTAMP.fullmatch(times[0]):
        raise BadSignature("the signature header has no timestamp")
    signed = times[0].encode() + b"." + body
    expected = [
        hmac.new(key.encode(), signed, hashlib.sha256).hexdigest() for key in secrets if key
    ]
    # Every pair is compared, so the time it takes tells nothing.
    matches = [
        hmac.compare_digest(mark.encode(), right.encode()) for mark in marks for right in expected
    ]
    if not any(matches):
        raise BadSignature("no signature matches the body")
    if abs(now_s - int(times[0])) > TOLERANCE_S:
        raise BadSignature("the signature's time is too far from now")


def secrets_of(setting: str) -> tuple[str, ...]:
    """Return the webhook secrets of a setting: one, or two separated by a comma."""
    secrets = tuple(secret.strip() for secret in setting.split(",") if secret.strip())
    if not secrets:
        raise Unauthenticated("no webhook secret is set")
    return secrets


def request_hash(*parts: object) -> bytes:
    """Return what tells one request body from another under the same idempotency key."""
    return hashlib.sha256("\0".join(str(part) for part in parts).encode()).digest()


def climbs(status: PaymentStatus, to: PaymentStatus) -> bool:
    """Say whether a deposit in a status goes on to another one."""
    return RANK[to] > RANK[status]


def captured(asked: tuple[int, str], told: tuple[int, int, str]) -> int | None:
    """Return what was captured of a payment, None when it is not the payment that was asked for.

    `asked` is amount and currency, `told` the provider's amount, what it received, its currency. A
    part may be captured (the rest was let go), never more.
    """
    amount, received, currency = told
    same = (amount, currency) == asked
    return received if same and 0 < received <= amount else None


def outcome_of(status: str) -> Outcome:
    """Return what a dispute's status at the provider comes to."""
    return status if status in {"won", "lost"} else "open"  # pyright: ignore[reportReturnType] -- narrowed by the set


def dispute_money(
    status: str, amount: int, movements: Iterable[int] | None
) -> tuple[int, int]:  # fmt: skip
    """Return what the provider took for a dispute and what it gave back, in minor units.

    `movements` are the signed sums that the provider lists, fees included; without a list the
    amount itself was taken, and given back if the dispute was won. An inquiry takes nothing.
    """
    if movements is not None:
        sums = [*movements]
        return -sum(each for each in sums if each < 0), sum(each for each in sums if each > 0)
    if status.startswith(INQUIRY):
        return 0, 0
    return amount, amount if status == "won" else 0


def climbs_dispute(outcome: Outcome, to: Outcome) -> bool:
    """Say whether a dispute goes on from an outcome to another one."""
    return DISPUTE_RANK[to] > DISPUTE_RANK[outcome]


class WithdrawalPolicy(Struct, frozen=True, kw_only=True):
    """What an installation asks of withdrawals; `per_day` is in minor units, None without one."""

    must_be_verified: bool = False
    per_day: int | None = None
    two_way: frozenset[str] = frozenset({"ewallet"})


class Loop(Struct, frozen=True, kw_only=True):
    """What came in and went out by one method, in minor units."""

    method: str
    deposited: int
    withdrawn: int


def check_withdrawal(
    player: Player, currency: str, *, disputed: bool, policy: WithdrawalPolicy
) -> None:
    """Raise what forbids a withdrawal: a dispute, the verification, another currency.

    An excluded player may withdraw; a verification that has run out forbids it only where one is
    asked for (identity documents must not first be asked for at a withdrawal, LCCP 17.1.1).
    """
    if disputed:
        raise AccountBlocked("a payment of yours is disputed; withdraw when that is decided")
    if player.kyc_status == "rejected":
        raise NotVerified
    if policy.must_be_verified and player.kyc_status != "verified":
        raise NotVerified("your account must be verified first", kyc_status=player.kyc_status)
    if player.currency not in {None, currency}:
        raise CurrencyMismatch(f"the wallet is kept in {player.currency}", currency=player.currency)


def check_withdrawal_amount(
    amount: int, method: str, loops: Sequence[Loop], withdrawn_today: int, policy: WithdrawalPolicy
) -> None:
    """Raise LimitExceeded above the day's maximum, ClosedLoop for money that must go elsewhere.

    What came by a method that money can be sent back to goes back there first, up to what came
    (closed loop, against laundering). Cards only get money back by refunds, so they don't count.
    """
    if policy.per_day is not None and amount > policy.per_day - withdrawn_today:
        left = max(policy.per_day - withdrawn_today, 0)
        raise LimitExceeded(
            f"at most {left} may be withdrawn now",
            period="day", limit=policy.per_day, remaining=left,
        )  # fmt: skip
    owed = {
        loop.method: loop.deposited - loop.withdrawn
        for loop in loops
        if loop.method in policy.two_way and loop.deposited > loop.withdrawn
    }
    if owed and method not in owed:
        first = min(owed)
        raise ClosedLoop(
            f"withdraw {owed[first]} by {first} first: it came from there",
            method=first, remaining=owed[first],
        )  # fmt: skip


def policy_of(setting: Callable[[str, str], str]) -> WithdrawalPolicy:
    """Return the policy that settings ask for; raises DeclarationError for what is no amount."""
    per_day = setting("PAYMENT_WITHDRAWALS_PER_DAY", "")
    if per_day and not per_day.isdecimal():
        raise DeclarationError("PAYMENT_WITHDRAWALS_PER_DAY must be an amount in minor units")
    methods = setting("PAYMENT_TWO_WAY_METHODS", "ewallet").split(",")
    return WithdrawalPolicy(
        must_be_verified=setting("KYC_REQUIRED", "0") == "1",
        per_day=int(per_day) if per_day else None,
        two_way=frozenset(method.strip() for method in methods if method.strip()),
    )


def is_reviewed(amount: int, setting: Callable[[str, str], str]) -> bool:
    """Say whether an operator looks at a deposit first: from PAYMENT_REVIEW_FROM minor units on.

    Raises DeclarationError when the setting is no amount.
    """
    least = setting("PAYMENT_REVIEW_FROM", "")
    if least and not least.isdecimal():
        raise DeclarationError("PAYMENT_REVIEW_FROM must be an amount in minor units")
    return bool(least) and amount >= int(least)


def check_player(
    player: Player, currency: str, now: datetime, *, must_be_verified: bool = False
) -> None:
    """Raise what forbids a deposit: exclusion, the verification, another currency.

    Where one is asked for, it comes before the first deposit (UKGC LCCP 17.1.1).
    """
    if player.excluded_until is not None and now < player.excluded_until:
        raise SelfExcluded(until=player.excluded_until.isoformat())
    if player.kyc_status in {"rejected", "expired"}:
        raise NotVerified
    if must_be_verified and player.kyc_status != "verified":
        raise NotVerified("your account must be verified first", kyc_status=player.kyc_status)
    if player.currency != currency:
        raise CurrencyMismatch(f"the wallet is kept in {player.currency}", currency=player.currency)


def limits_in_force(limits: Iterable[AnnouncedLimit], now: datetime) -> dict[str, int]:
    """Return the limit of each period: the newest announced one that has taken effect.

    A raise that waits for its cooling-off is dropped by anything announced after it.
    """
    newest: dict[str, AnnouncedLimit] = {}
    for limit in sorted(limits, key=lambda each: each.announced_at):
        if limit.effective_at <= now:
            newest[limit.period] = limit
    return {period: limit.amount for period, limit in newest.items()}


def check_limits(
    limits: dict[str, int], deposited: dict[str, int], amount: int, currency: str
) -> None:
    """Raise LimitExceeded when a deposit passes any limit; all apply, so the lowest wins.

    `deposited` are the gross deposits by period (UKGC RTS 12), pending ones included.
    """
    left = {period: limit - deposited.get(period, 0) for period, limit in limits.items()}
    period = min(left, key=lambda each: left[each], default=None)
    if period is not None and amount > left[period]:
        raise LimitExceeded(
            f"at most {max(left[period], 0)} may be deposited now",
            period=period,
            limit=limits[period],
            remaining=max(left[period], 0),
            currency=currency,
        )


def may_be_asked_for(created_at: datetime, now: datetime) -> bool:
    """Say whether the provider still knows the key of a payment that was taken in then."""
    return now - created_at < ASKED_FOR


def next_try(now: datetime, tries: int) -> datetime:
    """Return when to look at something unfinished again: after 10 s, then ever later, <= 600 s."""
    return now + min(FIRST_RETRY * 2 ** min(tries, 10), LAST_RETRY)
