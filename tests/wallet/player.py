"""A player of the tests: speaks to the wallet as the operator does, under a fresh user id."""

from svc.mesh.clock import new_id
from svc.wallet import contract as wallet
from svc.wallet.contract import (
    Balance,
    BalanceOf,
    BatchResult,
    Kind,
    Receipt,
    Transfer,
)
from svc.wallet.contract_statements import Entry
from tests.support.mesh import Operator


class Player:
    """A fresh user id and the calls about it; amounts in minor units of one currency."""

    def __init__(self, operator: Operator, currency: str = "EUR") -> None:
        """Nothing is known of this player yet."""
        self.operator = operator
        self.user_id = new_id()
        self.currency = currency

    def transfer(
        self,
        amount: int,
        kind: Kind,
        transfer_id: str | None = None,
        stake: str | None = None,
        currency: str | None = None,
        *,
        forced: bool = False,
    ) -> Transfer:
        """Return a transfer's body, under a new id if none is given."""
        return Transfer(
            transfer_id=transfer_id or new_id(),
            user_id=self.user_id,
            amount=amount,
            currency=currency or self.currency,
            kind=kind,
            reference="test",
            stake_transfer_id=stake,
            forced=forced,
        )

    async def take(
        self, amount: int, kind: Kind = "bet", transfer_id: str | None = None
    ) -> Receipt:
        """Deduct."""
        return await self.deduct(self.transfer(amount, kind, transfer_id))

    async def give(
        self,
        amount: int,
        kind: Kind = "deposit",
        transfer_id: str | None = None,
        stake: str | None = None,
    ) -> Receipt:
        """Credit."""
        return await self.credit(self.transfer(amount, kind, transfer_id, stake))

    async def deduct(self, transfer: Transfer) -> Receipt:
        """Deduct with this body."""
        return await self.operator.call(wallet.DEDUCT_BALANCE, transfer)

    async def credit(self, transfer: Transfer) -> Receipt:
        """Credit with this body."""
        return await self.operator.call(wallet.CREDIT_BALANCE, transfer)

    async def hold(self, amount: int, hold_id: str, transfer_id: str | None = None) -> Receipt:
        """Hold cash for a withdrawal."""
        request = wallet.Hold(
            transfer_id=transfer_id or new_id(),
            hold_id=hold_id,
            user_id=self.user_id,
            amount=amount,
            currency=self.currency,
            kind="withdrawal",
            reference="test",
        )
        return await self.operator.call(wallet.HOLD, request)

    async def capture(
        self, hold_id: str, amount: int | None = None, transfer_id: str | None = None
    ) -> Receipt:
        """Capture a hold, all of it without an amount."""
        request = wallet.Capture(
            transfer_id=transfer_id or new_id(), hold_id=hold_id, amount=amount
        )
        return await self.operator.call(wallet.CAPTURE, request)

    async def release(self, hold_id: str, transfer_id: str | None = None) -> Receipt:
        """Release a hold."""
        request = wallet.Release(transfer_id=transfer_id or new_id(), hold_id=hold_id)
        return await self.operator.call(wallet.RELEASE, request)

    async def rollback(
        self, original: str, transfer_id: str | None = None, *, forced: bool = False
    ) -> Receipt:
        """Roll a transfer back."""
        request = wallet.Rollback(
            transfer_id=transfer_id or new_id(), original_transfer_id=original, forced=forced
        )
        return await self.operator.call(wallet.ROLLBACK, request)

    async def batch(self, *items: wallet.BatchItem) -> list[BatchResult]:
        """Apply a batch."""
        receipt = await self.operator.call(wallet.APPLY_BATCH, wallet.Batch(transfers=list(items)))
        return receipt.results

    async def balance(self) -> Balance:
        """Return the whole balance."""
        return await self.operator.call(wallet.BALANCE, BalanceOf(user_id=self.user_id))

    async def money(self) -> tuple[int, int, int]:
        """Return cash, bonus and held."""
        found = await self.balance()
        return found.cash, found.bonus, found.held

    async def entries(self) -> list[Entry]:
        """Return all entries, oldest first."""
        items: list[Entry] = []
        cursor = None
        while True:
            request = wallet.EntriesOf(user_id=self.user_id, cursor=cursor, limit=3)
            page = await self.operator.call(wallet.ENTRIES, request)
            items += page.items
            cursor = page.next_cursor
            if cursor is None:
                return items[::-1]


def item_of(op: str, transfer: Transfer) -> wallet.BatchItem:
    """Return a deduction or credit as a batch item."""
    return wallet.BatchItem(
        op="deduct_balance" if op == "deduct_balance" else "credit_balance",
        transfer_id=transfer.transfer_id,
        user_id=transfer.user_id,
        amount=transfer.amount,
        currency=transfer.currency,
        kind=transfer.kind,
        reference=transfer.reference,
        stake_transfer_id=transfer.stake_transfer_id,
    )
