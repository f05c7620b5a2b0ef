"""The peers' ledger: each transfer in a transaction of its own, as services usually do it."""

from pathlib import Path
from typing import Any, Literal

import asyncpg

from svc.wallet.contract import InsufficientFunds, Receipt, Transfer

SCHEMA = Path(__file__).with_name("schema.sql")
HOUSE = 0
CONNECTIONS = 16
"""Of 2 to 32 none was clearly better on two cores."""

Form = Literal["transaction", "statement"]
"""Statement by statement, or all in one, which leaves the house's row locked for a shorter time."""

ONE_STATEMENT = """
    WITH player AS (
        UPDATE account SET balance = balance + $3, seq = seq + 1
        WHERE user_id = $2 AND balance + $3 >= floor
        RETURNING number, balance, seq
    ), transferred AS (
        INSERT INTO transfer (id, account, amount, kind, reference, balance_after)
        SELECT $1, number, $3, $4, $5, balance FROM player
    ), entered AS (
        INSERT INTO entry (transfer_id, account, contra, amount, seq, balance_after)
        SELECT $1, number, 0, $3, seq, balance FROM player
    ), house AS (
        UPDATE account SET balance = account.balance - $3, seq = account.seq + 1
        FROM player WHERE account.number = 0
    )
    SELECT balance FROM player
"""


class Ledger:
    """A pool, and the transfers made through it."""

    def __init__(self, pool: Any, form: Form) -> None:
        """Use this pool."""
        self.pool = pool
        self.transfer = self._transaction if form == "transaction" else self._statement

    @classmethod
    async def open(cls, url: str, form: Form) -> "Ledger":
        """Connect to the peers' database, all connections at once."""
        pool = await asyncpg.create_pool(url, min_size=CONNECTIONS, max_size=CONNECTIONS)
        return cls(pool, form)

    async def deduct(self, wanted: Transfer) -> Receipt:
        """Take money from a player. Raises InsufficientFunds."""
        return await self._once(wanted, -wanted.amount)

    async def credit(self, wanted: Transfer) -> Receipt:
        """Give money to a player."""
        return await self._once(wanted, wanted.amount)

    async def _once(self, wanted: Transfer, amount: int) -> Receipt:
        try:
            balance = await self.transfer(wanted, amount)
        except asyncpg.UniqueViolationError:
            balance = await self.pool.fetchval(
                "SELECT balance_after FROM transfer WHERE id = $1", wanted.transfer_id
            )
        return Receipt(
            transfer_id=wanted.transfer_id, cash=balance, bonus=0, held=0, available=balance
        )

    async def _transaction(self, wanted: Transfer, amount: int) -> int:
        async with self.pool.acquire() as connection, connection.transaction():
            player = await connection.fetchrow(
                "UPDATE account SET balance = balance + $2, seq = seq + 1"
                " WHERE user_id = $1 AND balance + $2 >= floor RETURNING number, balance, seq",
                wanted.user_id,
                amount,
            )
            if player is None:
                raise InsufficientFunds
            await connection.execute(
                "INSERT INTO transfer (id, account, amount, kind, reference, balance_after)"
                " VALUES ($1, $2, $3, $4, $5, $6)",
                wanted.transfer_id,
                player["number"],
                amount,
                wanted.kind,
                wanted.reference,
                player["balance"],
            )
            await connection.execute(
                "INSERT INTO entry (transfer_id, account, contra, amount, seq, balance_after)"
                " VALUES ($1, $2, $3, $4, $5, $6)",
                wanted.transfer_id,
                player["number"],
                HOUSE,
                amount,
                player["seq"],
                player["balance"],
            )
            # Everybody's row is locked last, for the shortest time.
            await connection.execute(
                "UPDATE account SET balance = balance - $2, seq = seq + 1 WHERE number = $1",
                HOUSE,
                amount,
            )
            return player["balance"]

    async def _statement(self, wanted: Transfer, amount: int) -> int:
        balance = await self.pool.fetchval(
            ONE_STATEMENT,
            wanted.transfer_id,
            wanted.user_id,
            amount,
            wanted.kind,
            wanted.reference,
        )
        if balance is None:
            raise InsufficientFunds
        return balance


async def prepare(connection: Any, players: int, opening: int) -> None:
    """Make the tables in an empty database, with the house and so many players."""
    await connection.execute(SCHEMA.read_text())
    await connection.execute(
        "INSERT INTO account (number, user_id, balance, floor)"
        " SELECT n + 1, ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, $2, 0"
        " FROM generate_series(0, $1::bigint - 1) AS n",
        players,
        opening,
    )
    await connection.execute(
        "INSERT INTO account (number, balance) VALUES ($1, -$2::bigint * $3::bigint)",
        HOUSE,
        players,
        opening,
    )


async def empty(connection: Any) -> None:
    """Forget all transfers, so that each measurement finds tables of the same size."""
    await connection.execute("TRUNCATE transfer, entry")
    await connection.execute("UPDATE account SET seq = 0 WHERE seq <> 0")
    await connection.execute("VACUUM (ANALYZE) account")
