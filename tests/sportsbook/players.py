"""Players of the tests: with money in the real wallet, striking bets."""

from svc.mesh.clock import SystemClock, new_id
from svc.mesh.errors import NotFound
from svc.scheduler import contract as scheduler
from svc.sportsbook.contract import (
    GET_BET,
    PLACE_BET,
    Bet,
    BetAccepted,
    BetKind,
    BetOf,
    OddsPolicy,
    PlaceBet,
    Selection,
)
from svc.wallet import contract as wallet
from tests.support.mesh import Operator
from tests.support.platform import Platform
from tests.support.waiting import until

ALONE_S = 6.0
"""Then the sweep is asked for: longer than bets and messages are left alone by it."""


async def sweep(operator: Operator) -> None:
    """Let the sportsbook's job come due, as the scheduler would."""
    due = scheduler.JobDue(
        service="sportsbook", name="sweep", key="", due_at=SystemClock().now(), payload={}
    )
    await operator.publish(scheduler.JOB_DUE, due, subject="sportsbook.sweep")


async def taken(operator: Operator, platform: Platform, bet_id: str) -> None:
    """Deduct a pending bet's stake as the sportsbook did whose answer got lost."""
    async with platform.database("sportsbook") as database:
        row = await database.fetchrow(
            "SELECT user_id, stake, currency, stake_transfer_id FROM bet WHERE bet_id = $1", bet_id
        )
    assert row is not None
    await operator.call(
        wallet.DEDUCT_BALANCE,
        wallet.Transfer(
            transfer_id=str(row["stake_transfer_id"]),
            user_id=str(row["user_id"]),
            amount=row["stake"],
            currency=row["currency"],
            kind="bet",
            reference=bet_id,
        ),
    )


class Player:
    """One player; money in minor units of EUR."""

    def __init__(self, operator: Operator) -> None:
        self.operator = operator
        self.user_id = new_id()

    async def with_money(self, amount: int = 10_000) -> "Player":
        await self.operator.call(
            wallet.CREDIT_BALANCE,
            wallet.Transfer(
                transfer_id=new_id(),
                user_id=self.user_id,
                amount=amount,
                currency="EUR",
                kind="deposit",
                reference="test",
            ),
        )
        return self

    async def cash(self) -> int:
        try:
            found = await self.operator.call(wallet.BALANCE, wallet.BalanceOf(user_id=self.user_id))
        except NotFound:
            return 0
        return found.cash

    async def gets_to(self, cash: int) -> None:
        """Wait until the wallet has credited what events told it to."""

        async def there() -> bool:
            return await self.cash() == cash

        await until(there, f"{cash} in the wallet, it holds {await self.cash()}")

    def slip(
        self,
        *selections: Selection,
        stake: int = 1000,
        key: str | None = None,
        policy: OddsPolicy = "none",
        kind: BetKind | None = None,
        currency: str = "EUR",
    ) -> PlaceBet:
        return PlaceBet(
            user_id=self.user_id,
            idempotency_key=key or new_id(),
            kind=kind or ("single" if len(selections) == 1 else "accumulator"),
            selections=list(selections),
            stake=stake,
            currency=currency,
            odds_policy=policy,
        )

    async def bets(
        self, *selections: Selection, stake: int = 1000, policy: OddsPolicy = "none"
    ) -> BetAccepted:
        slip = self.slip(*selections, stake=stake, policy=policy)
        return await self.operator.call(PLACE_BET, slip)

    async def bet(self, bet_id: str) -> Bet:
        return await self.operator.call(GET_BET, BetOf(user_id=self.user_id, bet_id=bet_id))

    async def comes_to(self, bet_id: str, status: str) -> Bet:
        """Wait until a bet has a status.

        No scheduler runs here: what failed or timed out the first time is left to the sweep, which
        is asked for when the bet does not come there by itself.
        """

        async def there() -> bool:
            return (await self.bet(bet_id)).status == status

        try:
            await until(there, within_s=ALONE_S)
        except AssertionError:
            await sweep(self.operator)
        await until(there, f"bet {bet_id} is {status}")
        return await self.bet(bet_id)
