"""A shop window for the tests: players, the real provider over HTTP, and the sweep on demand."""

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
import msgspec

from svc.identity import contract as identity
from svc.mesh.clock import new_id
from svc.mesh.contract import RawMessage
from svc.mesh.errors import NotFound
from svc.outside.payments import signature
from svc.payment.contract import (
    GET_DEPOSIT,
    GET_WITHDRAWAL,
    RECEIVE_WEBHOOK,
    REQUEST_DEPOSIT,
    REQUEST_WITHDRAWAL,
    Deposit,
    DepositOf,
    RequestDeposit,
    RequestWithdrawal,
    Withdrawal,
    WithdrawalOf,
)
from svc.scheduler import contract as scheduler
from svc.wallet import contract as wallet
from tests.support.mesh import Operator, Services
from tests.support.platform import Platform
from tests.support.waiting import until

PATIENCE_S = 15


@dataclass
class Shop:
    """Everything that a payment needs."""

    operator: Operator
    platform: Platform
    services: Services
    provider: httpx.AsyncClient

    async def faults(self, **switches: object) -> None:
        """Set the provider's faults; what is not named is off."""
        answer = await self.provider.post("/simulate/faults", json=switches)
        answer.raise_for_status()

    async def player(self, currency: str = "EUR", locale: str = "en") -> str:
        """Register a player whom payment and wallet know."""
        user_id = new_id()
        await self.operator.publish(
            identity.USER_REGISTERED,
            identity.UserRegistered(
                user_id=user_id, currency=currency, locale=locale, marketing_opt_in=False
            ),
            subject=user_id,
        )

        await until(lambda: self.is_known(user_id))
        return user_id

    async def is_known(self, user_id: str) -> bool:
        """Say whether payment and wallet have heard of a player."""
        try:
            await self.balance(user_id)
        except NotFound:
            return False
        async with self.platform.database("payment") as database:
            known = "SELECT currency FROM players WHERE user_id = $1"
            return bool(await database.fetchval(known, user_id))

    async def rich_player(self, amount: int = 10_000) -> str:
        """Register a player and pay in for them."""
        user_id = await self.player()
        await self.deposit(user_id, amount)
        await self.has(user_id, cash=amount)
        return user_id

    async def deposit(
        self, user_id: str, amount: int, method: str = "card_ok", key: str = "", **more: str
    ) -> Deposit:
        """Ask for a deposit."""
        return await self.operator.call(
            REQUEST_DEPOSIT,
            RequestDeposit(
                user_id=user_id,
                idempotency_key=key or new_id(),
                amount=amount,
                currency=more.get("currency", "EUR"),
                method=method,
            ),
        )

    async def withdraw(
        self, user_id: str, amount: int, method: str = "bank_ok", key: str = "", **more: str
    ) -> Withdrawal:
        """Ask for a withdrawal."""
        return await self.operator.call(
            REQUEST_WITHDRAWAL,
            RequestWithdrawal(
                user_id=user_id,
                idempotency_key=key or new_id(),
                amount=amount,
                currency=more.get("currency", "EUR"),
                method=method,
            ),
        )

    async def balance(self, user_id: str) -> wallet.Balance:
        """Ask the wallet."""
        return await self.operator.call(wallet.BALANCE, wallet.BalanceOf(user_id=user_id))

    async def has(self, user_id: str, *, cash: int, held: int = 0) -> None:
        """Wait until the wallet says so."""

        async def so() -> bool:
            found = await self.balance(user_id)
            return (found.cash, found.held) == (cash, held)

        await until(so)

    async def deposit_is(self, user_id: str, deposit_id: str, status: str) -> Deposit:
        """Wait until a deposit has a status, and return it."""
        request = DepositOf(user_id=user_id, deposit_id=deposit_id)

        async def so() -> bool:
            return (await self.operator.call(GET_DEPOSIT, request)).status == status

        await until(so)
        return await self.operator.call(GET_DEPOSIT, request)

    async def withdrawal_is(self, user_id: str, withdrawal_id: str, status: str) -> Withdrawal:
        """Wait until a withdrawal has a status, and return it."""
        request = WithdrawalOf(user_id=user_id, withdrawal_id=withdrawal_id)

        async def so() -> bool:
            return (await self.operator.call(GET_WITHDRAWAL, request)).status == status

        await until(so)
        return await self.operator.call(GET_WITHDRAWAL, request)

    async def row(self, table: str, key: str, value: str) -> dict[str, Any]:
        """Look into the database of payment."""
        async with self.platform.database("payment") as database:
            row = await database.fetchrow(f"SELECT * FROM {table} WHERE {key} = $1", value)  # noqa: S608 -- literals of tests
        assert row is not None
        return dict(row)

    async def sweep(self, job: str = "sweep-payments") -> None:
        """Let a job come due, with everything that waits looked at now."""
        async with self.platform.database("payment") as database:
            for table in ("deposits", "withdrawals", "refunds", "disputes"):
                await database.execute(f"UPDATE {table} SET next_try_at = '2000-01-01'")  # noqa: S608 -- literals
        await self.operator.publish(
            scheduler.JOB_DUE,
            scheduler.JobDue(
                service="payment",
                name=job,
                key="",
                due_at=datetime.fromisoformat("2026-01-01T00:00:00+00:00"),
                payload={},
            ),
            subject=f"payment.{job}",
        )

    async def provider_id(self, deposit_id: str) -> str:
        """Return a deposit's payment at the provider."""
        return str((await self.row("deposits", "deposit_id", deposit_id))["provider_id"])

    async def charge_back(self, deposit_id: str, **more: object) -> str:
        """Let the player's bank take a deposit back; return the provider's dispute."""
        payment = await self.provider_id(deposit_id)
        answer = await self.provider.post(
            "/simulate/dispute", json={"payment_intent": payment, **more}
        )
        answer.raise_for_status()
        return str(answer.json()["id"])

    async def decide(self, dispute: str, status: str) -> None:
        """Let the bank decide a dispute."""
        answer = await self.provider.post(
            f"/simulate/dispute/{dispute}/close", json={"status": status}
        )
        answer.raise_for_status()

    async def webhook(
        self, kind: str, thing: dict[str, Any], *, secret: str = "", age_s: int = 0, event: str = ""
    ) -> None:
        """Send a webhook as the provider would."""
        body = msgspec.json.encode(
            {"id": event or f"evt_{new_id()}", "type": kind, "data": {"object": thing}}
        )
        at = int(time.time()) - age_s
        mark = signature(body, secret or self.platform.settings["PAYMENT_WEBHOOK_SECRET"], at)
        await self.operator.call(
            RECEIVE_WEBHOOK,
            RawMessage(
                body=body,
                headers={"stripe-signature": f"t={at},v1={mark}"},
                url="http://127.0.0.1/webhooks/payment",
            ),
        )
