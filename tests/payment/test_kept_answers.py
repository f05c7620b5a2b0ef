"""The same key and body get the same answer, refusals too, whatever has changed meanwhile."""

from datetime import UTC, datetime

import pytest

from svc.identity import contract as identity
from svc.mesh.clock import new_id
from svc.mesh.errors import IdempotencyMismatch
from svc.payment.contract import PAYMENT_FAILED, CurrencyMismatch, LimitExceeded
from tests.payment.support import Shop
from tests.support.waiting import until


async def limit(shop: Shop, user: str, amount: int) -> None:
    """Let a player deposit no more than that in a day."""
    change = identity.LimitChanged(
        user_id=user, kind="deposit", period="day", amount=amount, effective_at=datetime.now(UTC)
    )
    await shop.operator.publish(identity.LIMIT_CHANGED, change, subject=user)

    async def limited() -> bool:
        async with shop.platform.database("payment") as database:
            known = "SELECT EXISTS (SELECT 1 FROM deposit_limits WHERE user_id = $1)"
            return bool(await database.fetchval(known, user))

    await until(limited)


async def test_a_deposit_that_was_refused_is_refused_alike_for_its_key(shop: Shop) -> None:
    user, key = await shop.player(), new_id()
    await limit(shop, user, 1_000)
    told: list[dict[str, object]] = []
    for _ in range(2):
        with pytest.raises(LimitExceeded) as refused:
            await shop.deposit(user, 1_001, key=key)
        told.append({"detail": refused.value.detail, **refused.value.members})
        await shop.deposit(user, 400)
    assert told[0] == told[1]
    assert told[0]["remaining"] == 1_000
    with pytest.raises(IdempotencyMismatch):
        await shop.deposit(user, 100, key=key)
    await shop.has(user, cash=800)
    await shop.deposit(user, 200)
    await shop.has(user, cash=1_000)


async def test_a_deposit_in_another_currency_is_no_payment_that_failed(shop: Shop) -> None:
    user, key = await shop.player(currency="BRL"), new_id()
    with pytest.raises(CurrencyMismatch):
        await shop.deposit(user, 400, key=key)
    with pytest.raises(IdempotencyMismatch):
        await shop.deposit(user, 400, key=key, currency="BRL")
    declined = await shop.deposit(user, 500, "card_declined", currency="BRL")
    told = await shop.operator.all_heard(PAYMENT_FAILED, lambda data: data.user_id == user, count=1)
    assert [event.data.payment_id for event in told] == [declined.deposit_id]


async def test_a_withdrawal_that_was_refused_is_refused_alike_for_its_key(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, key = await shop.rich_player(1_000), new_id()
    monkeypatch.setenv("PAYMENT_WITHDRAWALS_PER_DAY", "500")
    told: list[dict[str, object]] = []
    for _ in range(2):
        with pytest.raises(LimitExceeded) as refused:
            await shop.withdraw(user, 600, key=key)
        told.append({"detail": refused.value.detail, **refused.value.members})
        monkeypatch.delenv("PAYMENT_WITHDRAWALS_PER_DAY", raising=False)
    assert told[0] == told[1]
    with pytest.raises(IdempotencyMismatch):
        await shop.withdraw(user, 100, key=key)
    await shop.withdraw(user, 600)
    await shop.has(user, cash=400)
