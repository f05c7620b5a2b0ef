"""How payments are answered: stored answers of idempotency keys, refusals, texts, the cache."""

from collections.abc import Awaitable

import msgspec
from msgspec import Struct

from svc.mesh.context import Context
from svc.mesh.errors import Conflict, NotFound, Refused, from_problem, problem
from svc.payment import rules, store_deposits, store_players
from svc.payment.contract import (
    AccountBlocked,
    ClosedLoop,
    CurrencyMismatch,
    Deposit,
    InsufficientFunds,
    LimitExceeded,
    NotVerified,
    SelfExcluded,
    Withdrawal,
    WithdrawalStatus,
)
from svc.payment.store_deposits import DepositRow
from svc.payment.store_withdrawals import WithdrawalRow
from svc.wallet import contract as wallet

STORED = (
    InsufficientFunds, CurrencyMismatch, NotVerified, LimitExceeded, SelfExcluded, AccountBlocked,
    ClosedLoop,
)  # fmt: skip
CACHED_S = 60


class CachedDeposit(Struct, frozen=True, kw_only=True):
    """A deposit as the cache keeps it, with whose it is."""

    user_id: str
    deposit: Deposit


async def refusal_of(check: Awaitable[None]) -> Refused | None:
    """Return what a check forbids, to be stored as the answer; None when it forbids nothing."""
    try:
        await check
    except Refused as refusal:
        return refusal
    return None


def stored_refusal(document: dict[str, object]) -> Exception:
    """Return the exception of a refusal that was stored."""
    return from_problem(msgspec.json.encode(document), STORED)


def of_wallet(refusal: Refused) -> dict[str, object]:
    """Return a refusal of the wallet in this service's own words, as it is stored."""
    match refusal:
        case wallet.InsufficientFunds():
            ours: Refused = InsufficientFunds(refusal.detail, **refusal.members)
        case wallet.CurrencyMismatch():
            ours = CurrencyMismatch(refusal.detail, **refusal.members)
        case NotFound():
            ours = NotFound(refusal.detail)
        case _:
            ours = Conflict(refusal.detail)
    return problem(ours)


async def deposit(context: Context, row: DepositRow, *, first_answer: bool = False) -> Deposit:
    """Return a deposit as a player sees it now, or as it was answered first."""
    status = (row.answered_status if first_answer else None) or row.status
    reason = row.reason if status == "failed" else None
    return Deposit(
        deposit_id=row.deposit_id,
        status=status,
        amount=row.amount,
        currency=row.currency,
        created_at=row.created_at,
        received=row.received if status in {"succeeded", "refunded"} else None,
        next_action=row.next_action if status == "pending" else None,
        reason=reason,
        message=await explain(context, row.user_id, reason),
    )


async def withdrawal(
    context: Context, row: WithdrawalRow, status: WithdrawalStatus | None = None
) -> Withdrawal:
    """Return a withdrawal as a player sees it now, or with the status that was answered first."""
    status = status or rules.STATUS_OF_STATE[row.state]
    reason = row.reason if status in {"failed", "cancelled"} else None
    return Withdrawal(
        withdrawal_id=row.withdrawal_id,
        status=status,
        amount=row.amount,
        currency=row.currency,
        created_at=row.created_at,
        reason=reason,
        message=await explain(context, row.user_id, reason),
    )


async def explain(context: Context, user_id: str, reason: str | None) -> str | None:
    """Return what a reason means in the player's language; None without a reason."""
    if reason is None:
        return None
    async with context.transaction() as tx:
        locale = await store_players.locale_of(tx, user_id)
    key = f"reason.{reason}"
    text = await context.localizer.text(locale, "payment", key)
    return await context.localizer.text(locale, "payment", "reason.other") if text == key else text


async def cached_deposit(context: Context, deposit_id: str) -> CachedDeposit:
    """Return a deposit through the cache; raises NotFound."""
    return await context.cache.read_through(
        f"deposit.{deposit_id}",
        CachedDeposit,
        lambda: _load_deposit(context, deposit_id),
        ttl_s=CACHED_S,
    )


async def refresh_deposit(context: Context, deposit_id: str) -> None:
    """Replace what the cache keeps of a deposit; one that is not ours is no matter."""
    try:
        cached = await _load_deposit(context, deposit_id)
    except NotFound:
        return
    await context.cache.put(f"deposit.{deposit_id}", cached, ttl_s=CACHED_S)


async def _load_deposit(context: Context, deposit_id: str) -> CachedDeposit:
    async with context.transaction() as tx:
        row = await store_deposits.find(tx, deposit_id)
    if row is None:
        raise NotFound("there is no such deposit")
    return CachedDeposit(user_id=row.user_id, deposit=await deposit(context, row))
