"""What comes at the same time for one player is decided one after the other."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from svc.mesh.clock import new_id
from svc.mesh.database import Tx
from svc.mesh.errors import Unavailable
from svc.payment import store_withdrawals
from svc.payment.rules import Loop
from tests.payment.support import Shop
from tests.support.waiting import until


@dataclass
class Gate:
    """Where the first withdrawal stands in the midst of its checks, until it may go on."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    opened: asyncio.Event = field(default_factory=asyncio.Event)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    gate, loops = Gate(), store_withdrawals.loops

    async def waiting(tx: Tx, user_id: str) -> list[Loop]:
        gate.reached.set()
        await gate.opened.wait()
        return await loops(tx, user_id)

    monkeypatch.setattr(store_withdrawals, "loops", waiting)
    return gate


def found(shop: Shop, query: str, *values: object) -> Callable[[], Awaitable[bool]]:
    """Return what asks the database of payment whether something is so."""

    async def ask() -> bool:
        async with shop.platform.database("payment") as database:
            return bool(await database.fetchval(query, *values))

    return ask


SOMEBODY_WAITS = """
    SELECT EXISTS (SELECT 1 FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock')
"""


async def test_the_same_key_at_once_is_one_withdrawal_also_at_the_day_s_limit(
    shop: Shop, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, key = await shop.rich_player(1_000), new_id()
    monkeypatch.setenv("PAYMENT_WITHDRAWALS_PER_DAY", "500")
    first = asyncio.create_task(shop.withdraw(user, 300, key=key))
    await gate.reached.wait()
    second = asyncio.create_task(shop.withdraw(user, 300, key=key))
    await until(found(shop, SOMEBODY_WAITS))
    gate.opened.set()
    one, other = await asyncio.gather(first, second)
    assert one.withdrawal_id == other.withdrawal_id
    await shop.has(user, cash=700)


async def test_a_dispute_waits_for_a_withdrawal_that_is_being_taken_in_and_stops_it(
    shop: Shop, gate: Gate
) -> None:
    user, key = await shop.rich_player(10_000), new_id()
    paid = await shop.deposit(user, 1_000)
    await shop.has(user, cash=11_000)
    await shop.services.stop("wallet")
    withdrawing = asyncio.create_task(shop.withdraw(user, 5_000, key=key))
    await gate.reached.wait()
    await shop.charge_back(paid.deposit_id)
    disputed = "SELECT EXISTS (SELECT 1 FROM disputes WHERE user_id = $1)"
    await until(found(shop, f"SELECT ({SOMEBODY_WAITS}) OR ({disputed})", user))
    gate.opened.set()
    with pytest.raises(Unavailable):
        await withdrawing
    await until(found(shop, disputed, user))
    row = await shop.row("withdrawals", "idempotency_key", key)
    assert (row["state"], row["reason"]) == ("abandoning", "disputed")
    await shop.services("wallet")
    await shop.sweep()
    await shop.withdrawal_is(user, str(row["withdrawal_id"]), "failed")
    await shop.has(user, cash=11_000 - 1_000 - 1_500)
