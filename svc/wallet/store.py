"""All SQL that moves money: one function, one statement; sets of rows go in by unnest."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg
import msgspec
from msgspec import Struct
from msgspec.structs import replace

from svc.mesh.errors import Unavailable
from svc.wallet.book import Money, Record, Wallet

SHARDS_MAX = 64
"""How many writers there may be at once in one database."""
STALE = "WL001"
PLACES = "_order"
"""How the indexes are called by which no place in a player's order is taken twice."""
SETTLING_LOCK = 7_201_003
"""The advisory lock that every batch shares, and who must see all that was decided has alone."""
SHARD_LOCKS = 7_201_002
"""The advisory locks of the shards' owners: this and the shard's number."""

TRANSFER = """id, verb, outcome, fingerprint, user_id, currency, kind, reference, cash_change,
    bonus_change, held_change, cash_after, bonus_after, held_after, seq, won_from_play, refusal,
    detail, hold_id, stake_id, original_id"""
"""What a transfer says of itself, in the order that the chain's hash covers it."""
TRANSFER_WIDTH = 21
FINGERPRINT, USER_ID, SEQ = 3, 4, 14
"""Where in it stand the fingerprint, the player, and the place among the player's transfers."""
WALLET = "user_id::text, currency, cash, bonus, held, seq, last_id::text, closed, excluded_until"
"""What is read of a wallet."""


class Told(NamedTuple):
    """A row of the outbox: `body` says where to find so many events (svc/wallet/retelling.py)."""

    row_id: str
    body: bytes
    events: int


class Written(Struct, frozen=True, kw_only=True):
    """One batch as it is written: rows of transfers in the order of their ids, and what follows.

    `unmoved` are the wallets on which refusals rest, with the seq that was believed; `moved` are
    the places of the rows, from 1 on, after which the wallets stand that move, in the order of
    their users, and `before` the seq that each was believed to have; `house` is the change of the
    house's accounts by currency and name; `links` are (id, what, transfer id); `stakes` must not
    have been credited before; `arguments` are what is sent, once it is ready.
    """

    shard: int
    no: int
    prev: bytes
    hash: bytes
    at: datetime
    rows: list[tuple[object, ...]]
    unmoved: list[tuple[str, int]]
    moved: list[int]
    before: list[int]
    house: dict[tuple[str, str], int]
    links: list[tuple[str, str, str]]
    stakes: list[str]
    subject: str
    told: list[Told]
    arguments: tuple[object, ...] = ()


async def open_wallets(connection: Any, currency_of: dict[str, str], at: datetime) -> None:
    """Write the wallets of users (id to currency) that have none yet."""
    users = sorted(currency_of)
    await connection.execute(
        """
        INSERT INTO wallet (user_id, currency, opened_at)
        SELECT user_id, currency, $3 FROM unnest($1::uuid[], $2::text[]) AS w (user_id, currency)
        ORDER BY user_id
        ON CONFLICT DO NOTHING
        """,
        users,
        [currency_of[user] for user in users],
        at,
    )


async def wallets(connection: Any, users: Iterable[str]) -> dict[str, Wallet]:
    """Return the wallets of these users, by user id; users without one are left out."""
    rows = await connection.fetch(
        f"SELECT {WALLET} FROM wallet WHERE user_id = ANY($1::text::uuid[])",  # noqa: S608 -- the columns are written above
        array(list(users)),
    )
    return by_user(rows)


async def some_wallets(connection: Any, count: int) -> dict[str, Wallet]:
    """Return any so many wallets, by user id."""
    rows = await connection.fetch(
        f"SELECT {WALLET} FROM wallet LIMIT $1",  # noqa: S608 -- the columns are written above
        count,
    )
    return by_user(rows)


async def lock_wallets(connection: Any, users: Iterable[str]) -> dict[str, Wallet]:
    """Lock the wallets of these users and return them by user id.

    The order by id is the one in which everybody locks.
    """
    rows = await connection.fetch(
        f"SELECT {WALLET} FROM wallet"  # noqa: S608 -- the columns are written above
        " WHERE user_id = ANY($1::text::uuid[]) ORDER BY wallet.user_id FOR NO KEY UPDATE",
        array(list(users)),
    )
    return by_user(rows)


async def begin_to_decide(connection: Any, *, alone: bool) -> None:
    """Take part in what every batch shares until it is committed, before any other lock.

    With `alone`, wait until nobody is writing, and let nobody write until this transaction ends.
    """
    lock = "pg_advisory_xact_lock" if alone else "pg_advisory_xact_lock_shared"
    await connection.fetchval(f"SELECT {lock}($1)", SETTLING_LOCK)


async def restrict_wallets(connection: Any, wallets: Sequence[Wallet]) -> None:
    """Write what locked wallets are closed to, in the transaction that writes why."""
    await connection.execute(
        """
        UPDATE wallet SET closed = n.closed, excluded_until = n.excluded_until
        FROM unnest($1::uuid[], $2::boolean[], $3::timestamptz[])
            AS n (user_id, closed, excluded_until)
        WHERE wallet.user_id = n.user_id
        """,
        [wallet.user_id for wallet in wallets],
        [wallet.closed for wallet in wallets],
        [wallet.excluded_until for wallet in wallets],
    )


async def transfers(connection: Any, ids: Collection[str], holds: Collection[str]) -> list[Record]:
    """Return the transfers with these ids and what was applied on top of them.

    That is: what undoes them, credits them as stakes, or belongs to these holds. Some come twice.
    """
    rows = await connection.fetch(
        f"""
        SELECT {TRANSFER} FROM transfer WHERE id = ANY($1::uuid[])
        UNION ALL
        SELECT {TRANSFER} FROM transfer WHERE id = ANY(ARRAY(
            SELECT transfer_id FROM link WHERE link.id = ANY($2::uuid[])))
        """,  # noqa: S608 -- the columns are written above
        list(ids),
        [*ids, *holds],
    )
    return [_record(row) for row in rows]


async def decided(connection: Any, ids: Collection[str]) -> dict[str, tuple[Record, datetime]]:
    """Return the transfers with these ids, and when each was decided, by id."""
    rows = await connection.fetch(
        f"SELECT {TRANSFER}, decided_at FROM transfer WHERE id = ANY($1::uuid[])",  # noqa: S608 -- the columns are written above
        list(ids),
    )
    return {str(row["id"]): (_record(row), row["decided_at"]) for row in rows}


async def claim_shard(connection: Any) -> int:
    """Become the owner of a free shard for as long as the connection lives.

    A database that nobody else writes to gives the first one. Raises Unavailable if all are taken.
    """
    for shard in range(1, SHARDS_MAX + 1):
        if await connection.fetchval("SELECT pg_try_advisory_lock($1, $2)", SHARD_LOCKS, shard):
            await connection.execute(
                "INSERT INTO shard (shard) VALUES ($1) ON CONFLICT DO NOTHING", shard
            )
            return shard
    raise Unavailable("all shards of the ledger have a writer")


async def end_of_chain(connection: Any, shard: int) -> tuple[int, bytes]:
    """Return the number and the hash of a shard's last batch; 0 and nothing before the first."""
    row = await connection.fetchrow("SELECT no, hash FROM shard WHERE shard = $1", shard)
    return row["no"], row["hash"]


WRITE = "SELECT write_batch({})".format(", ".join(f"${number}" for number in range(1, 42)))


async def write(connection: Any, batch: Written) -> None:
    """Write a batch, all or nothing; in a transaction of its own when none is open.

    Raises UniqueViolationError when an id was decided meanwhile, and PostgresError with sqlstate
    WL001 when a wallet is not as believed or WL002 when the shard belongs to another writer.
    """
    await connection.fetchval(WRITE, *(batch.arguments or arguments_of(batch)))


def ready(batch: Written) -> Written:
    """Return a batch that only has to be sent."""
    return replace(batch, arguments=arguments_of(batch))


def arguments_of(batch: Written) -> tuple[object, ...]:
    """Return what is sent of a batch."""
    unmoved, links, told = batch.unmoved, batch.links, batch.told
    return (
        batch.shard, batch.no, batch.prev, batch.hash, batch.at,
        array([user for user, _ in unmoved]), array([seq for _, seq in unmoved]),
        array(batch.moved), array(batch.before),
        [currency for currency, _ in batch.house], [name for _, name in batch.house],
        list(batch.house.values()),
        [link[0] for link in links], [link[1] for link in links], [link[2] for link in links],
        array(batch.stakes),
        [one.row_id for one in told], batch.subject,
        [one.body for one in told], [one.events for one in told],
        *map(column_of, range(TRANSFER_WIDTH), zip(*batch.rows, strict=True)),
    )  # fmt: skip


as_json = msgspec.json.Encoder().encode


def column_of(number: int, values: Sequence[object]) -> object:
    """Return a column as it is sent; None when it is null or nought throughout."""
    if number == FINGERPRINT:
        return values
    if any(values) or "" in values:
        return array(values)
    return None


def array(values: Sequence[object]) -> str:
    """Return an array in Postgres's text form: the JSON form in other brackets.

    The driver's binary form looks at every element in Python: many times as expensive.
    """
    text = as_json(values)[1:-1]
    if b"\\" in text:  # what JSON escapes otherwise than Postgres
        return "{" + ",".join(map(quoted, values)) + "}"
    return f"{{{text.decode()}}}"


def quoted(value: object) -> str:
    """Return an element of an array in Postgres's text form, whatever it holds."""
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return "NULL" if value is None else str(value)


def values(record: Record) -> tuple[object, ...]:
    """Return a transfer as a row, in the order of TRANSFER."""
    change, after = record.change, record.after
    return (
        record.transfer_id, record.verb, record.outcome, record.fingerprint, record.user_id,
        record.currency, record.kind, record.reference, change.cash, change.bonus, change.held,
        after.cash, after.bonus, after.held, record.seq, record.won_from_play, record.refusal,
        record.detail, record.hold_id, record.stake_id, record.original_id,
    )  # fmt: skip


def plain(row: Sequence[object]) -> tuple[object, ...]:
    """Return a stored row as `values` made it: ids are text."""
    ids = {0, 4, 18, 19, 20}
    return tuple(
        str(value) if number in ids and value is not None else value
        for number, value in enumerate(row)
    )


def _record(row: Any) -> Record:
    return Record(
        transfer_id=str(row["id"]),
        verb=row["verb"],
        outcome=row["outcome"],
        fingerprint=row["fingerprint"],
        user_id=_text(row["user_id"]),
        currency=row["currency"],
        kind=row["kind"],
        reference=row["reference"],
        change=Money(row["cash_change"], row["bonus_change"], row["held_change"]),
        after=Money(row["cash_after"], row["bonus_after"], row["held_after"]),
        seq=row["seq"],
        won_from_play=row["won_from_play"],
        refusal=row["refusal"],
        detail=row["detail"],
        hold_id=_text(row["hold_id"]),
        stake_id=_text(row["stake_id"]),
        original_id=_text(row["original_id"]),
    )


def by_user(rows: Iterable[Any]) -> dict[str, Wallet]:
    """Return wallets as they were read, by user id."""
    return {
        user: Wallet(user, currency, Money(cash, bonus, held), seq, last, closed, until)
        for user, currency, cash, bonus, held, seq, last, closed, until in rows
    }


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def is_stale(failure: asyncpg.PostgresError) -> bool:
    """Say whether a wallet was not as believed: its place in the order was taken by others."""
    constraint = getattr(failure, "constraint_name", None) or ""
    return failure.sqlstate == STALE or constraint.endswith(PLACES)
