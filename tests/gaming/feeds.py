"""What other services say to gaming, and how its lists look then."""

from datetime import timedelta
from typing import Any

import msgspec

from svc.casino import contract as casino
from svc.gaming.contract import (
    LEADERBOARD,
    LIST_JACKPOTS,
    LIST_RAFFLES,
    LIST_TOURNAMENTS,
    Jackpot,
    LeaderboardOf,
    ListJackpots,
    ListRaffles,
    ListTournaments,
    Raffle,
    Tournament,
)
from svc.identity import contract as identity
from svc.mesh.clock import SystemClock, new_id
from svc.payment import contract as payment
from svc.scheduler import contract as scheduler
from svc.sportsbook import contract as sportsbook
from tests.support.mesh import Operator
from tests.support.platform import Platform
from tests.support.waiting import until


async def stake(operator: Operator, user_id: str, amount: int, currency: str) -> None:
    """Let a player stake in the casino, as casino would say it."""
    placed = casino.CasinoBetPlaced(
        round_id=new_id(), session_id=new_id(), user_id=user_id, game_id="dice", stake=amount,
        currency=currency, stake_transfer_id=new_id(),
    )  # fmt: skip
    await operator.publish(casino.CASINO_BET_PLACED, placed, subject=placed.round_id)


async def bet(operator: Operator, user_id: str, amount: int, currency: str) -> None:
    """Let a player bet on sports, as sportsbook would say it."""
    fields: dict[str, Any] = {
        "bet_id": new_id(), "user_id": user_id, "kind": "single", "stake": amount,
        "currency": currency, "odds": "2.00", "potential_payout": 2 * amount, "legs": 1,
        "event_ids": ["sr:match:1"], "stake_transfer_id": new_id(),
    }  # fmt: skip
    placed = msgspec.convert(fields, sportsbook.BetPlaced)
    await operator.publish(sportsbook.BET_PLACED, placed, subject=placed.bet_id)


async def deposit(
    operator: Operator, user_id: str, amount: int, currency: str, *, times: int = 1
) -> str:
    """Let a deposit succeed and be delivered some times; return the payment's id."""
    paid = payment.PaymentSuccess(
        payment_id=new_id(), user_id=user_id, amount=amount, currency=currency, method="card",
        transfer_id=new_id(), first=False,
    )  # fmt: skip
    event_id = new_id()
    for _ in range(times):
        await operator.publish(
            payment.PAYMENT_SUCCESS, paid, subject=paid.payment_id, event_id=event_id
        )
    return paid.payment_id


async def refund(
    operator: Operator, payment_id: str, user_id: str, amount: int, currency: str
) -> None:
    given_back = payment.PaymentRefunded(
        payment_id=payment_id, user_id=user_id, amount=amount, currency=currency
    )
    await operator.publish(payment.PAYMENT_REFUNDED, given_back, subject=payment_id)


async def exclude(operator: Operator, platform: Platform, user_id: str) -> None:
    end = SystemClock().now() + timedelta(days=180)
    excluded = identity.SelfExcludedData(user_id=user_id, until=end, time_out=False)
    await operator.publish(identity.SELF_EXCLUDED, excluded, subject=user_id)

    async def known() -> bool:
        async with platform.database("gaming") as connection:
            return bool(
                await connection.fetchval("SELECT true FROM players WHERE user_id = $1", user_id)
            )

    await until(known, "the exclusion is known")


async def jackpot(operator: Operator, currency: str) -> Jackpot | None:
    pots = await operator.call(LIST_JACKPOTS, ListJackpots())
    return next((pot for pot in pots.items if pot.currency == currency), None)


async def raffle(operator: Operator, currency: str) -> Raffle | None:
    raffles = await operator.call(LIST_RAFFLES, ListRaffles())
    return next((one for one in raffles.items if one.currency == currency), None)


async def raffle_with(operator: Operator, currency: str, tickets: int) -> Raffle:
    """Wait until a currency's raffle has some tickets and return it."""

    async def holds() -> bool:
        found = await raffle(operator, currency)
        return found is not None and found.tickets == tickets

    await until(holds, f"the {currency} raffle has {tickets} tickets")
    found = await raffle(operator, currency)
    assert found is not None
    return found


async def tournament(operator: Operator, currency: str) -> Tournament | None:
    listed = await operator.call(LIST_TOURNAMENTS, ListTournaments())
    return next((one for one in listed.items if one.currency == currency), None)


async def scores(operator: Operator, currency: str) -> list[tuple[str, int]]:
    found = await tournament(operator, currency)
    if found is None:
        return []
    board = await operator.call(LEADERBOARD, LeaderboardOf(tournament_id=found.tournament_id))
    assert [line.place for line in board.items] == list(range(1, len(board.items) + 1))
    return [(line.user_id, line.score) for line in board.items]


async def scores_become(operator: Operator, currency: str, wanted: list[tuple[str, int]]) -> str:
    """Wait until a currency's leaderboard is as wanted; return the tournament's id."""

    async def holds() -> bool:
        return await scores(operator, currency) == wanted

    await until(holds, f"the leaderboard is {wanted}")
    found = await tournament(operator, currency)
    assert found is not None
    return found.tournament_id


async def turn_over(operator: Operator) -> None:
    due = scheduler.JobDue(
        service="gaming", name="turn-over", key="", due_at=SystemClock().now(), payload={}
    )
    await operator.publish(scheduler.JOB_DUE, due, subject="gaming.turn-over")
