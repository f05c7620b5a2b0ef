"""marketing on the real broker and database: what it awards, and that it awards it once."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from svc.casino import contract as casino
from svc.identity import contract as identity
from svc.marketing.contract import (
    BONUS_AWARDED,
    BONUS_EXPIRED,
    BONUSES,
    CAMPAIGNS,
    CONSUME_SPIN,
    LOYALTY,
    LOYALTY_POINTS_EARNED,
    SPINS,
    Bonus,
    CampaignsOf,
    ConsumeSpin,
    Loyalty,
    NoSpinsLeft,
    OfPlayer,
)
from svc.mesh.clock import new_id
from svc.mesh.errors import NotFound
from svc.payment import contract as payment
from svc.scheduler import contract as scheduler
from svc.sportsbook import contract as sportsbook
from svc.wallet import contract as wallet
from tests.support.mesh import Operator, Services
from tests.support.platform import Platform
from tests.support.waiting import until


@pytest.fixture(autouse=True)
async def _running(services: Services) -> None:
    await services("marketing", "wallet")


async def registered(operator: Operator) -> str:
    user_id = new_id()
    await operator.publish(
        identity.USER_REGISTERED,
        identity.UserRegistered(
            user_id=user_id, currency="EUR", locale="de", marketing_opt_in=False
        ),
        subject=user_id,
    )
    await operator.all_heard(BONUS_AWARDED, lambda award: award.user_id == user_id, count=2)
    return user_id


def deposit(user_id: str, amount: int, *, first: bool) -> payment.PaymentSuccess:
    return payment.PaymentSuccess(
        payment_id=new_id(),
        user_id=user_id,
        amount=amount,
        currency="EUR",
        method="card",
        transfer_id=new_id(),
        first=first,
    )


def round_of(user_id: str, stake: int) -> casino.CasinoPayoutComplete:
    return casino.CasinoPayoutComplete(
        round_id=new_id(),
        session_id=new_id(),
        user_id=user_id,
        game_id="slots",
        stake=stake,
        payout=0,
        currency="EUR",
        transfer_id=new_id(),
        stake_transfer_id=new_id(),
    )


def placed(user_id: str, bet_id: str) -> sportsbook.BetPlaced:
    return sportsbook.BetPlaced(
        bet_id=bet_id,
        user_id=user_id,
        kind="single",
        stake=1_000,
        currency="EUR",
        odds="2.00",
        potential_payout=2_000,
        legs=1,
        event_ids=["sr:match:1"],
        stake_transfer_id=new_id(),
    )


def settled(user_id: str, bet_id: str, result: sportsbook.BetResult) -> sportsbook.BetSettled:
    return sportsbook.BetSettled(
        bet_id=bet_id,
        user_id=user_id,
        result=result,
        stake=1_000,
        payout=0,
        currency="EUR",
        odds="2.00",
        transfer_id=new_id(),
        stake_transfer_id=new_id(),
    )


def cancelled(user_id: str, bet_id: str) -> sportsbook.BetCancelled:
    return sportsbook.BetCancelled(
        bet_id=bet_id,
        user_id=user_id,
        stake=1_000,
        refund=1_000,
        currency="EUR",
        reason="void",
        transfer_id=new_id(),
        stake_transfer_id=new_id(),
    )


def balance(user_id: str, transfer_id: str, bonus: int) -> wallet.BalanceChanged:
    return wallet.BalanceChanged(
        user_id=user_id,
        transfer_id=transfer_id,
        kind="bonus",
        currency="EUR",
        amount=bonus,
        cash=0,
        bonus=bonus,
        held=0,
        available=0,
        reference="test",
    )


async def credited(operator: Operator, transfer_id: str) -> None:
    """Wait until the wallet has told of an award's credit: what is told later is newer."""
    await operator.heard(wallet.BALANCE_CHANGED, lambda change: change.transfer_id == transfer_id)


async def bonuses_of(operator: Operator, user_id: str) -> dict[str, Bonus]:
    found = await operator.call(BONUSES, OfPlayer(user_id=user_id))
    return {bonus.campaign: bonus for bonus in found.items}


async def loyalty_of(operator: Operator, user_id: str) -> Loyalty:
    return await operator.call(LOYALTY, OfPlayer(user_id=user_id))


async def test_a_new_player_gets_spin_chances_and_a_bonus_each_once(operator: Operator) -> None:
    user_id = await registered(operator)
    for _ in range(2):  # other ids: the same registration told again and again
        await operator.publish(
            identity.USER_REGISTERED,
            identity.UserRegistered(
                user_id=user_id, currency="EUR", locale="de", marketing_opt_in=True
            ),
            subject=user_id,
        )
    await operator.publish(
        payment.PAYMENT_SUCCESS, deposit(user_id, 500, first=True), subject=user_id
    )
    awards = await operator.all_heard(BONUS_AWARDED, lambda a: a.user_id == user_id, count=3)
    by_campaign = {award.data.campaign: award.data for award in awards}
    assert by_campaign["welcome-spins"].kind == "free_spins"
    assert (by_campaign["welcome-spins"].spins, by_campaign["welcome-spins"].amount) == (10, 0)
    assert by_campaign["welcome-bonus"].kind == "bonus"
    assert by_campaign["welcome-bonus"].amount == 1_000
    assert by_campaign["first-deposit"].amount == 500
    assert len({award.data.transfer_id for award in awards}) == 3
    found = await bonuses_of(operator, user_id)
    assert {name: bonus.status for name, bonus in found.items()} == dict.fromkeys(
        ("welcome-spins", "welcome-bonus", "first-deposit"), "active"
    )
    left = await operator.call(SPINS, OfPlayer(user_id=user_id))
    assert (left.remaining, left.by_game) == (10, {"slots": 10})


async def test_only_the_first_deposit_is_rewarded(operator: Operator) -> None:
    user_id = await registered(operator)
    await operator.publish(
        payment.PAYMENT_SUCCESS, deposit(user_id, 700, first=False), subject=user_id
    )
    await operator.publish(
        payment.PAYMENT_SUCCESS, deposit(user_id, 50_000, first=True), subject=user_id
    )
    award = await operator.heard(
        BONUS_AWARDED, lambda a: a.user_id == user_id and a.campaign == "first-deposit"
    )
    assert award.data.amount == 10_000


async def test_a_spin_chance_is_used_once_and_the_same_spin_gets_the_same_answer(
    operator: Operator,
) -> None:
    user_id = await registered(operator)
    spin = ConsumeSpin(user_id=user_id, game_id="slots", spin_id=new_id())
    answers = await asyncio.gather(*(operator.call(CONSUME_SPIN, spin) for _ in range(5)))
    assert [(a.remaining, a.bet_size, a.currency) for a in answers] == [(9, 20, "EUR")] * 5
    with pytest.raises(NotFound):
        await operator.call(
            CONSUME_SPIN, ConsumeSpin(user_id=user_id, game_id="dice", spin_id=spin.spin_id)
        )


async def test_twenty_spins_at_once_use_ten_chances(operator: Operator) -> None:
    user_id = await registered(operator)
    results = await asyncio.gather(
        *(
            operator.call(
                CONSUME_SPIN, ConsumeSpin(user_id=user_id, game_id="slots", spin_id=new_id())
            )
            for _ in range(20)
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(result, NoSpinsLeft) for result in results) == 10
    assert (await operator.call(SPINS, OfPlayer(user_id=user_id))).remaining == 0
    assert (await bonuses_of(operator, user_id))["welcome-spins"].status == "completed"


async def test_players_who_excluded_themselves_get_nothing(operator: Operator) -> None:
    user_id = await registered(operator)
    await operator.publish(
        identity.SELF_EXCLUDED,
        identity.SelfExcludedData(
            user_id=user_id, until=datetime.now(UTC) + timedelta(days=180), time_out=False
        ),
        subject=user_id,
    )

    async def refused() -> bool:
        try:
            await operator.call(
                CONSUME_SPIN, ConsumeSpin(user_id=user_id, game_id="slots", spin_id=new_id())
            )
        except NoSpinsLeft:
            return True
        return False

    await until(refused)
    await operator.publish(
        payment.PAYMENT_SUCCESS, deposit(user_id, 700, first=True), subject=user_id
    )
    await operator.publish(casino.CASINO_PAYOUT_COMPLETE, round_of(user_id, 5_000), subject=user_id)
    # Another player, told of later on the same streams: when they have theirs, ours had its turn.
    other = await registered(operator)
    await operator.publish(payment.PAYMENT_SUCCESS, deposit(other, 700, first=True), subject=other)
    await operator.publish(casino.CASINO_PAYOUT_COMPLETE, round_of(other, 5_000), subject=other)
    await operator.heard(
        BONUS_AWARDED, lambda a: a.user_id == other and a.campaign == "first-deposit"
    )
    await operator.heard(LOYALTY_POINTS_EARNED, lambda e: e.user_id == other)
    assert "first-deposit" not in await bonuses_of(operator, user_id)
    assert (await loyalty_of(operator, user_id)).points == 0


async def expire(operator: Operator) -> None:
    await operator.publish(
        scheduler.JOB_DUE,
        scheduler.JobDue(
            service="marketing",
            name="expire-bonuses",
            key="",
            due_at=datetime.now(UTC),
            payload={},
        ),
        subject="marketing.expire-bonuses",
    )


async def test_a_bonus_expires_with_what_is_left_of_it(
    operator: Operator, platform: Platform
) -> None:
    user_id = await registered(operator)
    welcome = (
        await operator.heard(
            BONUS_AWARDED, lambda a: a.user_id == user_id and a.campaign == "welcome-bonus"
        )
    ).data
    await credited(operator, welcome.transfer_id)
    await operator.publish(wallet.BALANCE_CHANGED, balance(user_id, new_id(), 400), subject=user_id)
    async with platform.database("marketing") as database:

        async def followed() -> bool:
            return (
                await database.fetchval(
                    "SELECT bonus_balance FROM players WHERE user_id = $1", user_id
                )
                == 400
            )

        await until(followed)
        await database.execute(
            "UPDATE awards SET expires_at = now() - interval '1 second' WHERE user_id = $1", user_id
        )
    for _ in range(2):
        await expire(operator)
    expired = await operator.heard(BONUS_EXPIRED, lambda e: e.user_id == user_id)
    assert (expired.data.award_id, expired.data.amount) == (welcome.award_id, 400)
    found = await bonuses_of(operator, user_id)
    assert (found["welcome-bonus"].status, found["welcome-spins"].status) == ("expired", "expired")
    assert len(await operator.all_heard(BONUS_EXPIRED, lambda e: e.user_id == user_id)) == 1


async def played_out(operator: Operator, platform: Platform, user_id: str) -> None:
    """Let a player have lost the welcome bonus a day ago."""
    welcome = (
        await operator.heard(
            BONUS_AWARDED, lambda a: a.user_id == user_id and a.campaign == "welcome-bonus"
        )
    ).data
    await credited(operator, welcome.transfer_id)
    await operator.publish(wallet.BALANCE_CHANGED, balance(user_id, new_id(), 0), subject=user_id)
    async with platform.database("marketing") as database:

        async def followed() -> bool:
            known = "SELECT balance_at > credited_at AND bonus_balance = 0 FROM players"
            joined = " JOIN awards USING (user_id) WHERE award_id = $1"
            return bool(await database.fetchval(known + joined, welcome.award_id))

        await until(followed)
        # As if it were yesterday: a round that still ran then has come to its end.
        await database.execute(
            "UPDATE awards SET credited_at = credited_at - interval '1 day' WHERE user_id = $1",
            user_id,
        )
        await database.execute(
            "UPDATE players SET balance_at = balance_at - interval '1 day' WHERE user_id = $1",
            user_id,
        )


async def completed(operator: Operator, user_id: str) -> None:
    """Wait until the welcome bonus is completed."""

    async def so() -> bool:
        return (await bonuses_of(operator, user_id))["welcome-bonus"].status == "completed"

    await until(so, "the welcome bonus is completed")


async def test_a_bonus_of_which_nothing_has_been_left_for_a_while_is_completed(
    operator: Operator, platform: Platform
) -> None:
    user_id = await registered(operator)
    await played_out(operator, platform, user_id)
    await expire(operator)
    await completed(operator, user_id)


async def test_staff_see_what_campaigns_cost(operator: Operator) -> None:
    await registered(operator)
    found = await operator.call(CAMPAIGNS, CampaignsOf())
    by_name = {item.campaign: item for item in found.items}
    assert by_name.keys() >= {"welcome-spins", "welcome-bonus", "first-deposit"}
    assert by_name["welcome-bonus"].active
    assert by_name["welcome-bonus"].awards >= 1
    assert by_name["welcome-bonus"].amount == 1_000 * by_name["welcome-bonus"].awards


async def test_a_job_is_asked_for_at_the_start(operator: Operator) -> None:
    job = await operator.heard(
        scheduler.JOB_REQUESTED, lambda j: (j.service, j.name) == ("marketing", "expire-bonuses")
    )
    assert job.data.cron == "0 * * * * *"
