"""Bonuses that are wagered, with the real wallet: what counts, and the cash that comes of it."""

import pytest

from svc.casino import contract as casino
from svc.marketing.contract import BONUS_CONVERTED, BONUS_EXPIRED, Bonus
from svc.mesh.clock import new_id
from svc.payment import contract as payment
from svc.sportsbook import contract as sportsbook
from svc.wallet import contract as wallet
from tests.marketing.test_forfeited import holds
from tests.marketing.test_service import bonuses_of, cancelled, deposit, registered
from tests.support.mesh import Operator, Services
from tests.support.waiting import until


@pytest.fixture(autouse=True)
async def _running(services: Services) -> None:
    await services("marketing", "wallet")


class Bettor:
    """A player with 7.00 in cash, a bonus of 7.00 on it and the welcome bonus of 10.00."""

    def __init__(self, operator: Operator, user_id: str) -> None:
        self.operator = operator
        self.user_id = user_id

    def settled(
        self, stake: int, *, bet_id: str = "", odds: str = "2.00",
        result: sportsbook.BetResult = "lost", free: bool = False,
    ) -> sportsbook.BetSettled:  # fmt: skip
        return sportsbook.BetSettled(
            bet_id=bet_id or new_id(), user_id=self.user_id, result=result, stake=stake, payout=0,
            currency="EUR", odds=odds, transfer_id=new_id(), stake_transfer_id=new_id(), free=free,
        )  # fmt: skip

    async def settle(self, bet: sportsbook.BetSettled) -> None:
        await self.operator.publish(sportsbook.BET_SETTLED, bet, subject=bet.bet_id)

    async def reopen(self, bet: sportsbook.BetSettled) -> None:
        told = sportsbook.BetRolledBack(
            bet_id=bet.bet_id, user_id=self.user_id, payout=0, refund=0, currency="EUR",
            transfer_id=new_id(), original_transfer_id=new_id(),
            stake_transfer_id=bet.stake_transfer_id,
        )  # fmt: skip
        await self.operator.publish(sportsbook.BET_ROLLED_BACK, told, subject=bet.bet_id)

    async def buy_back(self, bet: sportsbook.BetSettled) -> None:
        told = sportsbook.BetCashedOut(
            bet_id=bet.bet_id, user_id=self.user_id, amount=0, fraction="0.5", whole=False,
            currency="EUR", transfer_id=new_id(), stake_transfer_id=bet.stake_transfer_id,
        )  # fmt: skip
        await self.operator.publish(sportsbook.BET_CASHED_OUT, told, subject=bet.bet_id)

    async def play(self, stake: int, game_id: str) -> None:
        played = casino.CasinoPayoutComplete(
            round_id=new_id(), session_id=new_id(), user_id=self.user_id, game_id=game_id,
            stake=stake, payout=0, currency="EUR", transfer_id=new_id(),
            stake_transfer_id=new_id(),
        )  # fmt: skip
        for _ in range(2):
            await self.operator.publish(casino.CASINO_PAYOUT_COMPLETE, played, subject=self.user_id)

    async def withdraw(self) -> None:
        asked = payment.WithdrawalRequested(
            withdrawal_id=new_id(), user_id=self.user_id, amount=1, currency="EUR"
        )
        await self.operator.publish(payment.WITHDRAWAL_REQUESTED, asked, subject=self.user_id)

    async def win_bonus_money(self, amount: int) -> None:
        won = wallet.Transfer(
            transfer_id=new_id(), user_id=self.user_id, amount=amount, currency="EUR",
            kind="bonus", reference="winnings",
        )  # fmt: skip
        await self.operator.call(wallet.CREDIT_BALANCE, won)

    async def bonus(self, campaign: str = "first-deposit") -> Bonus:
        return (await bonuses_of(self.operator, self.user_id))[campaign]

    async def wagered(self, amount: int, campaign: str = "first-deposit") -> None:
        async def so() -> bool:
            return (await self.bonus(campaign)).wagered == amount

        await until(so, f"{amount} wagered for {campaign}")


@pytest.fixture
async def ann(_running: None, operator: Operator) -> Bettor:
    user_id = await registered(operator)
    await operator.publish(
        payment.PAYMENT_SUCCESS, deposit(user_id, 700, first=True), subject=user_id
    )
    await holds(operator, user_id, 700, 1_700)
    return Bettor(operator, user_id)


async def test_a_bonus_that_was_wagered_becomes_cash_and_a_withdrawal_leaves_it(
    ann: Bettor, operator: Operator
) -> None:
    bonus = await ann.bonus()
    assert (bonus.product, bonus.wagering_required, bonus.wagered) == ("sportsbook", 5_600, 0)
    bet = ann.settled(5_599)
    for _ in range(2):  # other ids of the event: told twice
        await ann.settle(bet)
    await ann.wagered(5_599)
    await ann.settle(ann.settled(50, result="won"))
    await holds(operator, ann.user_id, 1_400, 1_000)  # what the welcome bonus gave stays
    bonus = await ann.bonus()
    assert (bonus.status, bonus.wagered) == ("completed", 5_600)
    await ann.withdraw()
    await holds(operator, ann.user_id, 1_400, 0)
    gone = await operator.all_heard(BONUS_EXPIRED, lambda e: e.user_id == ann.user_id)
    assert [event.data.award_id for event in gone] == [(await ann.bonus("welcome-bonus")).award_id]
    told = await operator.all_heard(BONUS_CONVERTED, lambda e: e.user_id == ann.user_id)
    assert [(event.data.amount, event.data.kept) for event in told] == [(3_500, 1_000)]
    assert gone[0].data.after == told[0].data.transfer_id


async def test_a_withdrawal_at_once_after_the_last_stake_takes_only_what_is_not_wagered(
    ann: Bettor, operator: Operator
) -> None:
    await ann.settle(ann.settled(5_600))
    await operator.heard(BONUS_CONVERTED, lambda e: e.user_id == ann.user_id)
    await ann.withdraw()
    await holds(operator, ann.user_id, 1_400, 0)


async def test_no_more_than_the_cap_becomes_cash(ann: Bettor, operator: Operator) -> None:
    await ann.win_bonus_money(9_000)
    await ann.settle(ann.settled(6_000))
    await holds(operator, ann.user_id, 700 + 3_500, 1_000)


async def test_rounds_count_for_the_casinos_bonus_by_their_games_weight(
    ann: Bettor, operator: Operator
) -> None:
    await ann.play(101, "dice")
    await ann.play(40, "slots")
    await ann.play(1_000, "another game")
    await ann.wagered(90, "welcome-bonus")
    await ann.play(10_000, "slots")
    await holds(operator, ann.user_id, 700 + 1_000, 700)
    bonus = await ann.bonus("welcome-bonus")
    assert (bonus.status, bonus.wagered, bonus.wagering_required) == ("completed", 10_000, 10_000)
    assert (await ann.bonus()).wagered == 0


async def test_void_low_free_and_bought_back_bets_do_not_count_in_whatever_order_they_are_told(
    ann: Bettor, operator: Operator
) -> None:
    await ann.settle(ann.settled(100, odds="1.49"))
    await ann.settle(ann.settled(100, result="void"))
    await ann.settle(ann.settled(100, free=True))
    sold_first, sold_later, voided = ann.settled(100), ann.settled(100), ann.settled(100)
    await ann.buy_back(sold_first)
    await ann.settle(sold_first)
    await ann.settle(ann.settled(7, odds="1.50"))
    await ann.wagered(7)
    await ann.settle(sold_later)
    await ann.settle(voided)
    await ann.wagered(207)
    await ann.buy_back(sold_later)
    void = cancelled(ann.user_id, voided.bet_id)
    await operator.publish(sportsbook.BET_CANCELLED, void, subject=voided.bet_id)
    await ann.wagered(7)
    await ann.settle(sold_later)
    await ann.settle(ann.settled(1))
    await ann.wagered(8)


async def test_a_settlement_that_is_taken_back_counts_no_more_and_again_when_settled_again(
    ann: Bettor,
) -> None:
    bet = ann.settled(300)
    await ann.settle(bet)
    await ann.wagered(300)
    await ann.reopen(bet)
    await ann.wagered(0)
    await ann.settle(ann.settled(300, bet_id=bet.bet_id, result="won"))
    await ann.wagered(300)
