"""What the wallet hears: each event moves money once, however often it comes."""

from datetime import UTC, datetime

import pytest

from svc.casino import contract as casino
from svc.gaming import contract as gaming
from svc.identity import contract as identity
from svc.marketing import contract as marketing
from svc.mesh.clock import new_id
from svc.payment import contract as payment
from svc.scheduler import contract as scheduler
from svc.sportsbook import contract as sportsbook
from svc.wallet import contract as wallet
from tests.support.mesh import Operator
from tests.support.platform import Platform
from tests.wallet.player import Player


def paid(
    player: Player, amount: int, transfer_id: str, currency: str = "EUR"
) -> payment.PaymentSuccess:
    return payment.PaymentSuccess(
        payment_id=new_id(),
        user_id=player.user_id,
        amount=amount,
        currency=currency,
        method="card",
        transfer_id=transfer_id,
        first=True,
    )


def settled(player: Player, stake: str, payout: int, transfer_id: str) -> sportsbook.BetSettled:
    return sportsbook.BetSettled(
        bet_id=new_id(),
        user_id=player.user_id,
        result="won" if payout else "lost",
        stake=40,
        payout=payout,
        currency="EUR",
        odds="2.00",
        transfer_id=transfer_id,
        stake_transfer_id=stake,
    )


async def changed(player: Player, transfer_id: str) -> wallet.BalanceChanged:
    """Wait until a transfer has moved the player's balance."""
    event = await player.operator.heard(
        wallet.BALANCE_CHANGED, lambda data: data.transfer_id == transfer_id
    )
    return event.data


async def decided(platform: Platform, transfer_id: str) -> tuple[str, str | None]:
    """Wait until a transfer is decided; return its outcome and refusal."""
    async with platform.database("wallet") as connection:
        while True:
            row = await connection.fetchrow(
                "SELECT outcome, refusal FROM transfer WHERE id = $1", transfer_id
            )
            if row is not None:
                return row["outcome"], row["refusal"]


async def test_a_registration_opens_an_empty_wallet_in_its_currency(
    ann: Player, operator: Operator
) -> None:
    new = Player(operator, "SEK")
    registered = identity.UserRegistered(
        user_id=new.user_id, currency="SEK", locale="en", marketing_opt_in=False
    )
    await operator.publish(identity.USER_REGISTERED, registered, subject=new.user_id)
    transfer_id = new_id()
    await operator.publish(
        payment.PAYMENT_SUCCESS, paid(new, 5, transfer_id, "SEK"), subject=new.user_id
    )
    assert (await changed(new, transfer_id)).currency == "SEK"
    assert await new.money() == (5, 0, 0)
    assert await ann.money() == (100, 0, 0)


async def test_a_deposit_is_credited_once_however_often_it_is_told(
    ann: Player, operator: Operator
) -> None:
    transfer_id, event_id = new_id(), new_id()
    event = paid(ann, 50, transfer_id)
    for told_as in (event_id, event_id, new_id()):
        await operator.publish(
            payment.PAYMENT_SUCCESS, event, subject=ann.user_id, event_id=told_as
        )
    last = new_id()
    await operator.publish(payment.PAYMENT_SUCCESS, paid(ann, 1, last), subject=ann.user_id)
    assert (await changed(ann, last)).cash == 151
    assert [entry.amount for entry in await ann.entries()] == [100, 50, 1]


async def test_a_deposit_of_an_unknown_user_opens_the_wallet(
    ann: Player, operator: Operator
) -> None:
    stranger, transfer_id = Player(operator), new_id()
    await operator.publish(
        payment.PAYMENT_SUCCESS, paid(stranger, 9, transfer_id), subject=stranger.user_id
    )
    assert (await changed(stranger, transfer_id)).cash == 9
    assert await ann.money() == (100, 0, 0)


async def test_a_refused_event_is_recorded_and_those_after_it_are_worked_on(
    ann: Player, operator: Operator, platform: Platform
) -> None:
    wrong, right = new_id(), new_id()
    await operator.publish(
        payment.PAYMENT_SUCCESS, paid(ann, 50, wrong, "USD"), subject=ann.user_id
    )
    await operator.publish(payment.PAYMENT_SUCCESS, paid(ann, 5, right), subject=ann.user_id)
    assert (await changed(ann, right)).cash == 105
    assert await decided(platform, wrong) == ("refused", "currency-mismatch")


async def test_a_bet_that_won_is_paid_in_the_split_of_its_stake(
    ann: Player, operator: Operator
) -> None:
    await ann.give(100, "bonus")
    stake, win = ann.transfer(125, "bet"), new_id()
    await ann.deduct(stake)
    event = settled(ann, stake.transfer_id, 250, win)
    await operator.publish(sportsbook.BET_SETTLED, event, subject=event.bet_id)
    told = await changed(ann, win)
    assert (told.kind, told.amount, told.cash, told.bonus) == ("bet_payout", 250, 200, 125)


async def test_a_lost_bet_moves_its_stake_from_play_to_the_revenue(
    ann: Player, operator: Operator, platform: Platform
) -> None:
    stake, lost = ann.transfer(40, "bet"), new_id()
    await ann.deduct(stake)
    before = (await operator.call(wallet.AUDIT, wallet.Audit())).totals
    event = settled(ann, stake.transfer_id, 0, lost)
    await operator.publish(sportsbook.BET_SETTLED, event, subject=event.bet_id)
    assert await decided(platform, lost) == ("applied", None)
    after = (await operator.call(wallet.AUDIT, wallet.Audit())).totals
    assert after["revenue:EUR"] - before["revenue:EUR"] == 40
    assert after["bets_in_play:EUR"] - before["bets_in_play:EUR"] == -40
    assert await ann.money() == (60, 0, 0)


async def test_a_cancelled_bet_gives_the_stake_back(ann: Player, operator: Operator) -> None:
    await ann.give(20, "bonus")
    stake, refund = ann.transfer(110, "bet"), new_id()
    await ann.deduct(stake)
    event = sportsbook.BetCancelled(
        bet_id=new_id(),
        user_id=ann.user_id,
        stake=110,
        refund=110,
        currency="EUR",
        reason="abandoned",
        transfer_id=refund,
        stake_transfer_id=stake.transfer_id,
    )
    await operator.publish(sportsbook.BET_CANCELLED, event, subject=event.bet_id)
    told = await changed(ann, refund)
    assert (told.cash, told.bonus) == (100, 20)


def rolled_back(player: Player, stake: str, win: str, transfer_id: str) -> sportsbook.BetRolledBack:
    return sportsbook.BetRolledBack(
        bet_id=new_id(),
        user_id=player.user_id,
        payout=80,
        refund=0,
        currency="EUR",
        transfer_id=transfer_id,
        original_transfer_id=win,
        stake_transfer_id=stake,
    )


async def test_a_bet_that_was_settled_wrongly_is_taken_back_even_if_it_was_spent(
    ann: Player, operator: Operator
) -> None:
    stake, win, undone, lower = ann.transfer(40, "bet"), new_id(), new_id(), new_id()
    await ann.deduct(stake)
    event = settled(ann, stake.transfer_id, 80, win)
    await operator.publish(sportsbook.BET_SETTLED, event, subject=event.bet_id)
    await changed(ann, win)
    await ann.take(140, "withdrawal")
    back = rolled_back(ann, stake.transfer_id, win, undone)
    await operator.publish(sportsbook.BET_ROLLED_BACK, back, subject=back.bet_id)
    assert (await changed(ann, undone)).available == -80
    event = settled(ann, stake.transfer_id, 20, lower)
    await operator.publish(sportsbook.BET_SETTLED, event, subject=event.bet_id)
    assert (await changed(ann, lower)).available == -60


async def test_a_settlement_that_comes_after_its_rollback_pays_nothing(
    ann: Player, operator: Operator, platform: Platform
) -> None:
    stake, win, undone = ann.transfer(40, "bet"), new_id(), new_id()
    await ann.deduct(stake)
    back = rolled_back(ann, stake.transfer_id, win, undone)
    await operator.publish(sportsbook.BET_ROLLED_BACK, back, subject=back.bet_id)
    assert await decided(platform, undone) == ("applied", None)
    event = settled(ann, stake.transfer_id, 80, win)
    await operator.publish(sportsbook.BET_SETTLED, event, subject=event.bet_id)
    assert await decided(platform, win) == ("tombstone", None)
    assert await ann.money() == (60, 0, 0)


async def test_a_bet_that_was_bought_back_in_parts_is_paid_for_each(
    ann: Player, operator: Operator
) -> None:
    stake = ann.transfer(40, "bet")
    await ann.deduct(stake)
    for amount, cash in ((10, 70), (15, 85)):
        paid_out = sportsbook.BetCashedOut(
            bet_id=new_id(),
            user_id=ann.user_id,
            amount=amount,
            fraction="0.5",
            whole=False,
            currency="EUR",
            transfer_id=new_id(),
            stake_transfer_id=stake.transfer_id,
        )
        await operator.publish(sportsbook.BET_CASHED_OUT, paid_out, subject=paid_out.bet_id)
        assert (await changed(ann, paid_out.transfer_id)).cash == cash


async def test_a_payout_of_a_bet_that_was_rolled_back_is_refused(
    ann: Player, operator: Operator, platform: Platform
) -> None:
    stake, win = ann.transfer(40, "bet"), new_id()
    await ann.deduct(stake)
    await ann.rollback(stake.transfer_id)
    event = settled(ann, stake.transfer_id, 80, win)
    await operator.publish(sportsbook.BET_SETTLED, event, subject=event.bet_id)
    assert await decided(platform, win) == ("refused", "rolled-back")
    assert await ann.money() == (100, 0, 0)


async def test_awards_of_money_are_credited_and_spin_chances_are_not(
    ann: Player, operator: Operator, platform: Platform
) -> None:
    spins, bonus, cash = new_id(), new_id(), new_id()
    for kind, transfer_id in (("free_spins", spins), ("bonus", bonus), ("cash", cash)):
        award = marketing.BonusAwarded(
            award_id=new_id(),
            user_id=ann.user_id,
            campaign="welcome",
            kind="free_spins" if kind == "free_spins" else "bonus" if kind == "bonus" else "cash",
            amount=30,
            currency="EUR",
            spins=10,
            transfer_id=transfer_id,
            expires_at=None,
        )
        await operator.publish(marketing.BONUS_AWARDED, award, subject=ann.user_id)
    await changed(ann, bonus)
    await changed(ann, cash)
    assert await ann.money() == (130, 30, 0)
    async with platform.database("wallet") as connection:
        assert await connection.fetchval("SELECT count(*) FROM transfer WHERE id = $1", spins) == 0


async def test_an_expired_bonus_takes_back_at_most_what_is_left(
    ann: Player, operator: Operator, platform: Platform
) -> None:
    await ann.give(30, "bonus")
    await ann.take(110)
    for left in (20, 0):
        expiry = new_id()
        event = marketing.BonusExpired(
            award_id=new_id(), user_id=ann.user_id, amount=30, currency="EUR", transfer_id=expiry
        )
        await operator.publish(marketing.BONUS_EXPIRED, event, subject=ann.user_id)
        if left:
            assert (await changed(ann, expiry)).amount == -left
        assert await decided(platform, expiry) == ("applied", None)
    assert await ann.money() == (0, 0, 0)


async def test_a_round_is_paid_a_lost_one_recorded_and_a_free_spin_wins_bonus_money(
    ann: Player, operator: Operator, platform: Platform
) -> None:
    for payout, free_spin in ((15, False), (0, False), (8, True)):
        stake, transfer_id = ann.transfer(10, "casino_bet"), new_id()
        if not free_spin:
            await ann.deduct(stake)
        event = casino.CasinoPayoutComplete(
            round_id=new_id(),
            session_id=new_id(),
            user_id=ann.user_id,
            game_id="dice",
            stake=0 if free_spin else 10,
            payout=payout,
            currency="EUR",
            transfer_id=transfer_id,
            stake_transfer_id=stake.transfer_id,
            free_spin=free_spin,
        )
        await operator.publish(casino.CASINO_PAYOUT_COMPLETE, event, subject=event.round_id)
        assert await decided(platform, transfer_id) == ("applied", None)
    assert await ann.money() == (95, 8, 0)


async def test_a_prize_is_credited_as_cash(ann: Player, operator: Operator) -> None:
    prize = gaming.PrizeAwarded(
        award_id=new_id(),
        user_id=ann.user_id,
        kind="jackpot",
        source_id="mega",
        amount=1_000,
        currency="EUR",
        transfer_id=new_id(),
    )
    await operator.publish(gaming.PRIZE_AWARDED, prize, subject=ann.user_id)
    assert (await changed(ann, prize.transfer_id)).cash == 1_100


async def test_the_hourly_job_audits_and_keeps_what_it_found(
    ann: Player, operator: Operator, platform: Platform
) -> None:
    due_at = datetime.now(UTC)
    due = scheduler.JobDue(service="wallet", name="audit", key="", due_at=due_at, payload={})
    asked = await operator.heard(scheduler.JOB_REQUESTED, lambda job: job.service == "wallet")
    assert (asked.data.name, asked.data.cron) == ("audit", "0 0 * * * *")
    await operator.publish(scheduler.JOB_DUE, due, subject="wallet.audit")
    async with platform.database("wallet") as connection:
        while True:
            run = await connection.fetchrow(
                "SELECT healthy, entries FROM audit_run WHERE ran_at = $1", due_at
            )
            if run is not None:
                break
    assert run["healthy"]
    assert run["entries"] >= len(await ann.entries())


async def test_who_left_stakes_and_withdraws_no_more_and_what_is_open_comes_to_its_end(
    ann: Player, platform: Platform
) -> None:
    stake, held = await ann.take(30), new_id()
    await ann.hold(20, held)
    closing = new_id()
    for _ in range(2):
        await ann.operator.publish(
            identity.USER_ERASED,
            identity.UserErased(user_id=ann.user_id),
            subject=ann.user_id,
            event_id=closing,
        )
    assert await decided(platform, closing) == ("applied", None)
    for refused in (ann.take(1), ann.take(1, "withdrawal"), ann.hold(1, new_id())):
        with pytest.raises(wallet.AccountClosed) as answer:
            await refused
        assert (answer.value.name, answer.value.status) == ("account-closed", 403)
    with pytest.raises(wallet.AlreadySettled):
        await ann.rollback(closing)
    won = await ann.give(60, "bet_payout", stake=stake.transfer_id)
    assert (won.cash, won.held) == (130, 20)
    taken = await ann.capture(held)
    assert (taken.cash, taken.held) == (110, 0)
    async with platform.database("wallet") as connection:
        assert await connection.fetchval(
            "SELECT closed FROM wallet WHERE user_id = $1", ann.user_id
        )
