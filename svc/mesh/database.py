"""A service's own Postgres database: its pool, and transactions that carry the outbox.

The tables of the mesh (outbox, inbox) come from `svc/mesh/migrations` and stand in every service's
database, so an event is published in the same transaction as the state that it tells of.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg
import msgspec

from svc.mesh.errors import Unavailable, Undeclared

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from svc.mesh.context import Context
    from svc.mesh.contract import Event

DataT = TypeVar("DataT", bound=msgspec.Struct)

PLANS = {
    # A statement keeps its plan: one made while a table is empty must not scan it when it has
    # grown. Measured with bets: each cost twice as much after 30,000 others.
    "enable_seqscan": "off",
    "jit": "off",
}
CONNECTIONS_MAX = 10
"""Connections per process and database; nine services stay far below the server's limit."""


LOST = (
    ConnectionError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
)
"""Failures after which the same transaction may be tried again."""


class Tx:
    """One database transaction: SQL, and events that leave after its commit or never."""

    def __init__(self, connection: Any, context: Context) -> None:
        """Wrap a connection on which a transaction is open."""
        self.connection = connection
        self.context = context
        self.pending_events = 0
        self.after: list[Callable[[], Awaitable[None]]] = []

    async def execute(self, query: str, *arguments: object) -> str:
        """Run a statement; return its command tag, such as `UPDATE 1`."""
        return await self.connection.execute(query, *arguments)

    async def executemany(self, query: str, arguments: Sequence[Sequence[object]]) -> None:
        """Run a statement once per row of arguments, in one round trip."""
        await self.connection.executemany(query, arguments)

    async def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """Return all rows."""
        return await self.connection.fetch(query, *arguments)

    async def fetchrow(self, query: str, *arguments: object) -> asyncpg.Record | None:
        """Return the first row, or None."""
        return await self.connection.fetchrow(query, *arguments)

    async def fetchval(self, query: str, *arguments: object) -> Any:
        """Return the first column of the first row, or None."""
        return await self.connection.fetchval(query, *arguments)

    async def publish(
        self, event: Event[DataT], data: DataT, *, subject: str, event_id: str | None = None
    ) -> str:
        """Write an event to the outbox and return its id: it is published after the commit.

        `subject` is the id of the aggregate that the event is about. Raises Undeclared when the
        service does not declare the event.
        """
        envelope = self.context.envelope(event, data, subject=subject, event_id=event_id)
        await self.connection.execute(
            "INSERT INTO mesh_outbox (event_id, subject, body) VALUES ($1, $2, $3)",
            envelope.id,
            event.subject,
            msgspec.json.encode(envelope),
        )
        self.pending_events += 1
        return envelope.id

    def after_commit(self, action: Callable[[], Awaitable[None]]) -> None:
        """Run an action after the commit, for pushes and other things that may be lost."""
        self.after.append(action)


class Database:
    """The connection pool of one service."""

    def __init__(
        self, pool: Any, on_commit: Callable[[], None], url: str = "", name: str = ""
    ) -> None:
        """Keep the pool; `on_commit` wakes the outbox relay."""
        self.pool = pool
        self.url = url
        self.name = name
        self.on_commit = on_commit

    @classmethod
    async def connect(cls, url: str, name: str, on_commit: Callable[[], None]) -> Database:
        """Open the pool; raises Unavailable when the server does not answer."""
        try:
            pool = await asyncpg.create_pool(
                url,
                min_size=1,
                max_size=CONNECTIONS_MAX,
                command_timeout=30,
                server_settings={"application_name": name, "timezone": "UTC", **PLANS},
                reset=_leave_as_it_is,
            )
        except (OSError, asyncpg.PostgresError) as failure:
            raise Unavailable(f"the database of {name} does not answer: {failure}") from failure
        return cls(pool, on_commit, url, name)

    async def connection(self, settings: dict[str, str]) -> Any:
        """Open a connection outside the pool, with these settings of the server.

        What is asked on it leaves at once: uvloop would keep it until all that is to be done in
        this turn is done, and the server would wait. The caller closes it. Raises Unavailable when
        the server does not answer.
        """
        try:
            found: Any = await asyncpg.connect(
                self.url,
                timeout=5,
                command_timeout=30,
                server_settings={
                    "application_name": f"{self.name} writer", "timezone": "UTC",
                    **PLANS, **settings,
                },
            )  # fmt: skip
        except (OSError, TimeoutError, asyncpg.PostgresError) as failure:
            raise Unavailable(
                f"the database of {self.name} does not answer: {failure}"
            ) from failure
        # The driver has no public name for it; its version is pinned to one minor release.
        found._transport.set_write_buffer_limits(high=0)  # noqa: SLF001
        return found

    @asynccontextmanager
    async def transaction(self, context: Context) -> AsyncGenerator[Tx]:
        """Open a transaction; commit when the block ends, roll back when it raises.

        Raises Unavailable when the database cannot be reached.
        """
        try:
            async with self.pool.acquire(timeout=5) as connection:
                tx = Tx(connection, context)
                try:
                    async with connection.transaction():
                        yield tx
                except asyncpg.InterfaceError as failure:
                    # So asyncpg ends a transaction whose connection was lost, whatever was raised.
                    if is_lost(connection):
                        raise ConnectionError(str(failure)) from failure
                    raise
        except LOST as failure:
            raise Unavailable(
                f"the database could not finish: {type(failure).__name__}"
            ) from failure
        if tx.pending_events:
            self.on_commit()
        for action in tx.after:
            try:
                await action()
            except Exception:
                # The commit stands: what comes after may be lost, but is no failure.
                context.log.exception("an action after the commit failed")

    async def close(self) -> None:
        """Close the pool, waiting for what is in use."""
        await self.pool.close()


async def _leave_as_it_is(connection: Any) -> None:
    """Reset nothing more than the driver does by itself, which ends an open transaction.

    Whatever we set is set for a transaction: so nothing is left, and a round trip is saved each
    time. What needs a session has a connection of its own.
    """
    _ = connection


def is_lost(connection: Any) -> bool:
    """Say whether a connection of the pool has ended; the pool takes such a one out of hand."""
    try:
        return bool(connection.is_closed())
    except asyncpg.InterfaceError:
        return True


def undeclared(service: str, what: str) -> Undeclared:
    """Return the failure of using something that the declaration does not name."""
    return Undeclared(f"{service} uses {what} without declaring it in its service.py")
