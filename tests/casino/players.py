"""Players with money, and waiting for what happens a moment later."""

from svc.identity import contract as identity
from svc.mesh.clock import new_id
from svc.mesh.errors import NotFound
from svc.payment import contract as payment
from svc.wallet import contract as wallet
from tests.support.mesh import Operator
from tests.support.waiting import until


async def pay_in(operator: Operator, user_id: str, amount: int, currency: str = "EUR") -> str:
    """Let a deposit succeed, as payment would say it; return the payment's id."""
    payment_id = new_id()
    paid = payment.PaymentSuccess(
        payment_id=payment_id,
        user_id=user_id,
        amount=amount,
        currency=currency,
        method="card",
        transfer_id=new_id(),
        first=True,
    )
    await operator.publish(payment.PAYMENT_SUCCESS, paid, subject=payment_id)
    return payment_id


async def new_player(operator: Operator, amount: int, currency: str = "EUR") -> str:
    """Return a new player whose wallet holds an amount in minor units."""
    user_id = new_id()
    registered = identity.UserRegistered(
        user_id=user_id, currency=currency, locale="en", marketing_opt_in=False
    )
    await operator.publish(identity.USER_REGISTERED, registered, subject=user_id)
    if amount:
        await pay_in(operator, user_id, amount, currency)
    await balance_becomes(operator, user_id, amount)
    return user_id


async def balance_becomes(
    operator: Operator, user_id: str, cash: int, *, bonus: int | None = None
) -> None:
    """Wait until a wallet's cash is an amount, and its bonus money too where one is given."""
    seen: list[wallet.Balance] = []

    async def holds() -> bool:
        try:
            balance = await operator.call(wallet.BALANCE, wallet.BalanceOf(user_id=user_id))
        except NotFound:
            return False
        seen.append(balance)
        return balance.cash == cash and bonus in {None, balance.bonus}

    try:
        await until(holds, f"cash is {cash}, bonus {bonus}")
    except AssertionError as late:
        raise AssertionError(f"{late}, it was {seen[-1:]}") from None
