"""What the benchmark must know of the wallet's tables: bulk loading, and what was decided.

The one module here that depends on the schema of svc/wallet/migrations; all else goes through the
wallet's contract.
"""
# What stands in the statements besides our own words are our own numbers.
# ruff: noqa: S608

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

from tests.bench.players import CURRENCY, OPENING

if TYPE_CHECKING:
    import asyncpg
    from asyncpg.pool import PoolConnectionProxy

    Connection = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
else:
    Connection = object

PLAYER = "('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid"
"""The id of player n, as players.player_id makes it."""
STEP = 500_000
"""Rows of one bulk statement."""


class Decided(msgspec.Struct, frozen=True, gc=False):
    """What the ledger keeps under a transfer id.

    `change` is what the player's money changed by according to the transfer, `moved` according to
    its entries; `cash`, `bonus` and `held` are the balances after it. All in minor units.
    """

    transfer_id: str
    outcome: Literal["applied", "refused", "other"]
    change: int
    moved: int
    cash: int
    bonus: int
    held: int
    refusal: str


async def decided(connection: Connection, ids: Sequence[str]) -> AsyncIterator[Decided]:
    """Yield what the ledger keeps under these transfer ids."""
    rows = await connection.fetch(
        """
        SELECT id::text AS transfer_id, outcome, cash_change + bonus_change AS change,
            coalesce((SELECT sum(amount) FROM entry
                WHERE transfer_id = transfer.id AND account IN ('cash', 'bonus')), 0)::bigint
                AS moved,
            cash_after, bonus_after, held_after, coalesce(refusal, '') AS refusal
        FROM transfer WHERE id = ANY($1::uuid[])
        """,
        list(ids),
    )
    for row in rows:
        outcome = row["outcome"]
        yield Decided(
            transfer_id=row["transfer_id"],
            outcome=outcome if outcome in ("applied", "refused") else "other",
            change=row["change"],
            moved=row["moved"],
            cash=row["cash_after"],
            bonus=row["bonus_after"],
            held=row["held_after"],
            refusal=row["refusal"],
        )


async def open_players(connection: Connection, first: int, count: int) -> None:
    """Open the wallets of players `first` up to, not including, `count` by bulk statements.

    Each has its opening deposit, as if it had come through the wallet's doors; at least one player
    must have come that way before. The connection must be a superuser's.
    """
    # The rows are consistent as a whole; checking each of millions again would take an hour.
    await connection.execute("SET session_replication_role = replica")
    for start in range(first, count, STEP):
        players = f"generate_series({start}, {min(start + STEP, count) - 1}) AS n"
        await _deposit(connection, players)
    await _house_follows(connection)
    await connection.execute("RESET session_replication_role")


async def _deposit(connection: Connection, players: str) -> None:
    """Open wallets, each with the transfer that its balance follows from."""
    await connection.execute(
        f"""
        WITH player AS MATERIALIZED (
            SELECT {PLAYER} AS user_id, uuidv7() AS transfer_id FROM {players}
        ), opened AS (
            INSERT INTO wallet (user_id, currency, cash, seq, last_id, opened_at)
            SELECT user_id, '{CURRENCY}', {OPENING}, 1, transfer_id, now() FROM player
        )
        INSERT INTO transfer (id, verb, outcome, fingerprint, user_id, currency, kind, reference,
            cash_change, cash_after, seq, decided_at, shard, batch)
        SELECT transfer_id, 'credit_balance', 'applied', '\\x00', user_id, '{CURRENCY}',
            'deposit', 'opening', {OPENING}, {OPENING}, 1, now(), 1, 0 FROM player
        """
    )


async def add_entries(connection: Connection, players: int, count: int) -> None:
    """Give the first `players` players a past of `count` entries together, by bulk statements.

    Credits of 1 minor unit, one after the other, so that each balance follows from its entries.
    The connection must be a superuser's.
    """
    await connection.execute("SET session_replication_role = replica")
    await connection.execute(
        f"CREATE TEMP TABLE past AS"
        f" SELECT (row_number() OVER (ORDER BY user_id) - 1)::int AS number, user_id, cash, seq"
        f" FROM wallet WHERE user_id IN (SELECT {PLAYER} FROM generate_series(0, {players - 1})"
        f" AS n)"
    )
    await connection.execute("CREATE UNIQUE INDEX ON past (number)")
    done = 0
    while done < count:
        step = min(STEP, count - done)
        await _past(connection, players, done, step)
        done += step
    await connection.execute(
        f"""
        UPDATE wallet SET cash = wallet.cash + n, seq = wallet.seq + n,
            last_id = (SELECT id FROM transfer WHERE transfer.user_id = wallet.user_id
                AND transfer.seq = wallet.seq + n)
        FROM past, LATERAL (
            SELECT {count} / {players} + (number < {count} % {players})::int AS n) AS written
        WHERE wallet.user_id = past.user_id
        """
    )
    await _house_follows(connection)
    await connection.execute("DROP TABLE past")
    await connection.execute("RESET session_replication_role")


async def _past(connection: Connection, players: int, done: int, step: int) -> None:
    await connection.execute(
        f"""
        INSERT INTO transfer (id, verb, outcome, fingerprint, user_id, currency, kind, reference,
            cash_change, cash_after, seq, decided_at, shard, batch)
        SELECT uuidv7(), 'credit_balance', 'applied', '\\x00', user_id, '{CURRENCY}',
            'bet_payout', 'past', 1, cash + i / {players} + 1, seq + i / {players} + 1, now(), 1, 0
        FROM generate_series({done}, {done + step - 1}) AS i
        JOIN past ON number = i % {players}
        """
    )


async def _house_follows(connection: Connection) -> None:
    """Let the house's balances follow from the transfers that were written past the rules."""
    await connection.execute("DELETE FROM house")
    await connection.execute(
        """
        INSERT INTO house (shard, currency, name, balance)
        SELECT shard, currency, name, sum(amount) FROM (
            SELECT shard, currency, contra AS name, -amount AS amount FROM entry
            UNION ALL
            SELECT shard, currency, account, amount FROM entry WHERE account = 'revenue'
        ) AS leg GROUP BY shard, currency, name
        """
    )
