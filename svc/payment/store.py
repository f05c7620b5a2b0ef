"""SQL that deposits, withdrawals and refunds share, since their tables have the same shape."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Generic, TypeVar

import msgspec
from asyncpg import Record

from svc.mesh.database import Tx

RowT = TypeVar("RowT")


def as_json(value: object) -> str | None:
    """Return what a jsonb column takes; nothing for None."""
    return None if value is None else msgspec.json.encode(value).decode()


def from_json(text: str | None) -> dict[str, Any] | None:
    """Return what a jsonb column holds."""
    return msgspec.json.decode(text, type=dict[str, Any]) if text else None


class Table(Generic[RowT]):
    """One table whose rows are found by their id, or by who asked under which idempotency key.

    The names are constants of the modules that make a table; values only ever travel as arguments.
    """

    def __init__(
        self, name: str, key: str, asker: str, columns: str, make: Callable[[Record], RowT]
    ) -> None:
        """Name the table, its key, the column of who asked, and how a row is made."""
        self.name, self.key, self.asker = name, key, asker
        self.columns, self.make = columns, make

    async def _one(self, tx: Tx, condition: str, *values: object) -> RowT | None:
        row = await tx.fetchrow(
            f"SELECT {self.columns} FROM {self.name} WHERE {condition}",  # noqa: S608 -- constants
            *values,
        )
        return self.make(row) if row else None

    async def find(self, tx: Tx, row_id: str) -> RowT | None:
        """Return a row."""
        return await self._one(tx, f"{self.key} = $1", row_id)

    async def lock(self, tx: Tx, row_id: str) -> RowT | None:
        """Return a row and keep others from changing it."""
        return await self._one(tx, f"{self.key} = $1 FOR UPDATE", row_id)

    async def by_key(self, tx: Tx, asker: str, idempotency_key: str) -> RowT | None:
        """Return the row of an idempotency key."""
        return await self._one(
            tx, f"{self.asker} = $1 AND idempotency_key = $2", asker, idempotency_key
        )

    async def due(self, tx: Tx, unfinished: str, now: datetime, limit: int) -> list[str]:
        """Return the ids of unfinished rows whose time has come, the longest waiting first."""
        rows = await tx.fetch(
            f"SELECT {self.key} FROM {self.name} WHERE {unfinished} AND next_try_at <= $1 "  # noqa: S608 -- constants
            "ORDER BY next_try_at LIMIT $2",
            now,
            limit,
        )
        return [str(row[self.key]) for row in rows]

    async def tried(self, tx: Tx, row_id: str, next_try_at: datetime) -> None:
        """Count an attempt."""
        await tx.execute(
            f"UPDATE {self.name} SET tries = tries + 1, next_try_at = $2 WHERE {self.key} = $1",  # noqa: S608 -- constants
            row_id,
            next_try_at,
        )

    async def flag(self, tx: Tx, row_id: str, flag: str, now: datetime) -> None:
        """Mark a row for a person to look at; each cause is told once, the first one first."""
        await tx.execute(
            f"UPDATE {self.name} SET updated_at = $3, flag = CASE "  # noqa: S608 -- constants
            "WHEN strpos(flag, $2) > 0 THEN flag ELSE concat_ws('; ', flag, $2) END "
            f"WHERE {self.key} = $1",
            row_id,
            flag,
            now,
        )

    async def answer(
        self, tx: Tx, row_id: str, status: str, refusal: dict[str, object] | None
    ) -> None:
        """Keep the first answer that was given: the idempotency key gets it for ever."""
        await tx.execute(
            f"UPDATE {self.name} SET answered_status = $2, refusal = coalesce(refusal, $3) "  # noqa: S608 -- constants
            f"WHERE {self.key} = $1 AND answered_status IS NULL",
            row_id,
            status,
            as_json(refusal),
        )
