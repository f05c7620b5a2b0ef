"""Pots: exact however often events come, won in the open, paid once, through messages.

Each test plays in a currency of its own, which gets its pot, raffle and tournament at first use.
"""

import msgspec
import pytest

from svc.casino import contract as casino
from svc.gaming import rules
from svc.gaming.contract import (
    JACKPOT_TICKS,
    PRIZE_AWARDED,
    Jackpots,
)
from svc.mesh.clock import new_id
from svc.notification import contract as notification
from tests.casino.players import balance_becomes, new_player
from tests.gaming.feeds import (
    jackpot,
    scores_become,
    stake,
)
from tests.support.mesh import Operator, Services
from tests.support.platform import Platform
from tests.support.waiting import until


@pytest.fixture(scope="module", autouse=True)
async def _running(services: Services) -> None:
    await services("gaming")


async def test_a_pot_grows_by_one_percent_to_a_ten_thousandth_of_a_cent(
    operator: Operator, platform: Platform, currency: str
) -> None:
    user_id = new_id()
    for amount in (250, 333, 1):
        await stake(operator, user_id, amount, currency)

    async def holds() -> bool:
        async with platform.database("gaming") as connection:
            row = await connection.fetchrow(
                "SELECT contributed_e4, main_e4, reserve_e4 FROM jackpots WHERE currency = $1",
                currency,
            )
        return row is not None and tuple(row) == (58_400, 46_720, 11_680)

    await until(holds, "5.84 minor units are contributed")
    pot = await jackpot(operator, currency)
    assert pot is not None
    assert (pot.value, pot.seed, pot.wins) == (10_004, 10_000, 0)


async def test_the_bet_that_reaches_the_secret_target_wins_and_the_draw_can_be_checked(
    operator: Operator, currency: str
) -> None:
    await stake(operator, new_id(), 1, currency)

    async def exists() -> bool:
        return await jackpot(operator, currency) is not None

    await until(exists, "the pot exists")
    before = await jackpot(operator, currency)
    winner = new_id()
    await stake(operator, winner, 20_000_000, currency)
    prize = await operator.heard(PRIZE_AWARDED, lambda data: data.user_id == winner)
    assert (prize.data.kind, prize.data.amount, prize.data.currency) == (
        "jackpot", rules.JACKPOT_CAP, currency
    )  # fmt: skip
    after = await jackpot(operator, currency)
    assert before is not None
    assert after is not None
    assert (after.wins, after.cycle) == (1, 2)
    assert after.value == 10_000 + 160_000 - 90_000
    won = after.last_win
    assert won is not None
    assert won.commitment == before.commitment != after.commitment
    assert won.commitment == rules.target_commitment(won.target, won.salt)
    assert rules.JACKPOT_SEED <= won.target <= rules.JACKPOT_CAP


async def test_a_bet_that_is_delivered_many_times_counts_once(
    operator: Operator, platform: Platform, currency: str
) -> None:
    user_id, event_id = new_id(), new_id()
    placed = casino.CasinoBetPlaced(
        round_id=new_id(), session_id=new_id(), user_id=user_id, game_id="slots", stake=500,
        currency=currency, stake_transfer_id=new_id(),
    )  # fmt: skip
    for _ in range(10):
        await operator.publish(
            casino.CASINO_BET_PLACED, placed, subject=placed.round_id, event_id=event_id
        )
    await stake(operator, user_id, 7, currency)
    await scores_become(operator, currency, [(user_id, 507)])
    async with platform.database("gaming") as connection:
        contributed = await connection.fetchval(
            "SELECT contributed_e4 FROM jackpots WHERE currency = $1", currency
        )
    assert contributed == 50_700


async def test_followers_see_the_pots_whenever_one_grows(operator: Operator, currency: str) -> None:
    frames = await operator.connection.subscribe(JACKPOT_TICKS.subject("all"))
    await operator.connection.flush()
    await stake(operator, new_id(), 100_000, currency)

    async def seen() -> bool:
        message = await frames.next_msg(timeout=5)
        pots = msgspec.json.decode(message.data, type=Jackpots)
        return any((pot.currency, pot.value) == (currency, 10_800) for pot in pots.items)

    await until(seen, "the pot is pushed")
    await frames.unsubscribe()


async def test_a_delivered_notice_of_a_prize_is_noted(
    operator: Operator, platform: Platform, currency: str
) -> None:
    winner = new_id()
    await stake(operator, winner, 20_000_000, currency)
    prize = await operator.heard(PRIZE_AWARDED, lambda data: data.user_id == winner)
    delivered = notification.NotificationDelivered(
        message_id=new_id(), user_id=winner, template="gaming.prize", channel="email",
        cause=prize.id,
    )  # fmt: skip
    await operator.publish(
        notification.NOTIFICATION_DELIVERED, delivered, subject=delivered.message_id
    )

    async def noted() -> bool:
        async with platform.database("gaming") as connection:
            return bool(
                await connection.fetchval(
                    "SELECT notified_at IS NOT NULL FROM awards WHERE award_id = $1",
                    prize.data.award_id,
                )
            )

    await until(noted, "the notice is on record")


async def test_a_prize_reaches_the_winners_wallet_once(
    operator: Operator, services: Services, currency: str
) -> None:
    await services("wallet")
    winner = await new_player(operator, 0, currency)
    await stake(operator, winner, 20_000_000, currency)
    prize = await operator.heard(PRIZE_AWARDED, lambda data: data.user_id == winner)
    await balance_becomes(operator, winner, prize.data.amount)
    await operator.publish(PRIZE_AWARDED, prize.data, subject=prize.data.award_id)
    await stake(operator, winner, 20_000_000, currency)
    again = await operator.heard(
        PRIZE_AWARDED,
        lambda data: data.user_id == winner and data.award_id != prize.data.award_id,
    )
    await balance_becomes(operator, winner, prize.data.amount + again.data.amount)
