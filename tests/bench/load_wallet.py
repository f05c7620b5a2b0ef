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
            coalesce((SELECT sum(amount) FROM entry JOIN account ON account.id = account_id
                WHERE transfer_id = transfer.id AND account.name IN ('cash', 'bonus')), 0)::bigint
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
        async with connection.transaction():
            await connection.execute(
                f"INSERT INTO wallet (user_id, currency, opened_at)"
                f" SELECT {PLAYER}, '{CURRENCY}', now() FROM {players}"
            )
            await connection.execute(
                f"INSERT INTO account (user_id, currency, name, balance, seq)"
                f" SELECT {PLAYER}, '{CURRENCY}', name, CASE name WHEN 'cash' THEN {OPENING}"
                f" ELSE 0 END, CASE name WHEN 'cash' THEN 1 ELSE 0 END FROM {players},"
                f" unnest(ARRAY['cash', 'bonus', 'held']) AS a (name)"
            )
            await _deposit(connection, players)
    await _house_follows(connection)
    await connection.execute("RESET session_replication_role")


async def _deposit(connection: Connection, players: str) -> None:
    """Write the opening deposit of players whose balance already says so."""
    await connection.execute(
        f"""
        WITH player AS (SELECT {PLAYER} AS user_id, uuidv7() AS transfer_id FROM {players}),
        written AS (
            INSERT INTO transfer (id, verb, outcome, fingerprint, user_id, currency, kind,
                reference, cash_change, cash_after, decided_at)
            SELECT transfer_id, 'credit_balance', 'applied', '\\x00', user_id, '{CURRENCY}',
                'deposit', 'opening', {OPENING}, {OPENING}, now() FROM player
        )
        INSERT INTO entry (transfer_id, user_id, account_id, contra_id, currency, amount, seq,
            balance_after)
        SELECT transfer_id, player.user_id, account.id, house.id, '{CURRENCY}', {OPENING}, 1,
            {OPENING}
        FROM player JOIN account ON account.user_id = player.user_id
        JOIN account AS house ON house.user_id IS NULL AND house.name = 'provider_clearing'
            AND house.currency = '{CURRENCY}'
        WHERE account.name = 'cash'
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
        f" SELECT (row_number() OVER (ORDER BY user_id) - 1)::int AS number, id AS account_id,"
        f" user_id, balance, seq FROM account WHERE name = 'cash'"
        f" AND user_id IN (SELECT {PLAYER} FROM generate_series(0, {players - 1}) AS n)"
    )
    await connection.execute("CREATE UNIQUE INDEX ON past (number)")
    done = 0
    while done < count:
        step = min(STEP, count - done)
        await _past(connection, players, done, step)
        done += step
    await connection.execute(
        f"""
        UPDATE account SET balance = account.balance + n, seq = account.seq + n
        FROM past, LATERAL (
            SELECT {count} / {players} + (number < {count} % {players})::int AS n) AS written
        WHERE account.id = past.account_id
        """
    )
    await _house_follows(connection)
    await connection.execute("DROP TABLE past")
    await connection.execute("RESET session_replication_role")


async def _past(connection: Connection, players: int, done: int, step: int) -> None:
    await connection.execute(
        f"""
        WITH one AS MATERIALIZED (
            SELECT uuidv7(interval '-30 days') AS transfer_id, past.*, i / {players} + 1 AS nth
            FROM generate_series({done}, {done + step - 1}) AS i
            JOIN past ON number = i % {players}
        ), written AS (
            INSERT INTO transfer (id, verb, outcome, fingerprint, user_id, currency, kind,
                reference, cash_change, cash_after, decided_at)
            SELECT transfer_id, 'credit_balance', 'applied', '\\x00', user_id, '{CURRENCY}',
                'bet_payout', 'past', 1, balance + nth, now() - interval '30 days' FROM one
        )
        INSERT INTO entry (transfer_id, user_id, account_id, contra_id, currency, amount, seq,
            balance_after)
        SELECT transfer_id, one.user_id, account_id, house.id, '{CURRENCY}', 1, one.seq + nth,
            one.balance + nth
        FROM one JOIN account AS house ON house.user_id IS NULL AND house.name = 'revenue'
            AND house.currency = '{CURRENCY}'
        """
    )


async def _house_follows(connection: Connection) -> None:
    """Let the house's balances follow from the entries that were written past the rules."""
    await connection.execute(
        """
        UPDATE account SET balance = coalesce(side.amount, 0), seq = coalesce(side.entries, 0)
        FROM account AS house LEFT JOIN (
            SELECT id, sum(amount) AS amount, sum(entries) AS entries FROM (
                SELECT contra_id AS id, -sum(amount) AS amount, count(*) AS entries
                    FROM entry GROUP BY contra_id
                UNION ALL
                SELECT account_id, sum(amount), count(*) FROM entry WHERE user_id IS NULL
                    GROUP BY account_id
            ) AS leg GROUP BY id
        ) AS side ON side.id = house.id
        WHERE account.id = house.id AND house.user_id IS NULL
        """
    )
