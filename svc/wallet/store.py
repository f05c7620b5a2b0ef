"""All SQL that moves money: one function, one statement; sets of rows go in by unnest."""

from collections.abc import Collection, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from typing import Any

from svc.mesh.database import Tx
from svc.wallet.book import Money, Record


@dataclass(slots=True)
class Account:
    """One of a player's accounts, locked.

    `seq` counts its entries; it cannot fall below `floor` (what is held of cash, else 0).
    """

    account_id: int
    user_id: str
    currency: str
    balance: int
    seq: int
    floor: int


@dataclass(frozen=True, slots=True)
class Line:
    """One entry: `amount` in minor units comes to the account from the contra account.

    Between two accounts of the house it has no user, no seq and no balance.
    """

    transfer_id: str
    account_id: int
    contra_id: int
    currency: str
    amount: int
    user_id: str | None = None
    seq: int | None = None
    balance_after: int | None = None


async def open_wallets(tx: Tx, currency_of: dict[str, str], at: datetime) -> None:
    """Write the wallets of users (id to currency) that have none yet."""
    users = sorted(currency_of)
    await tx.execute(
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


async def open_player_accounts(tx: Tx, users: Collection[str]) -> None:
    """Write the three accounts of each of these users' wallets."""
    await tx.execute(
        """
        INSERT INTO account (user_id, currency, name)
        SELECT user_id, currency, name
        FROM wallet CROSS JOIN unnest(ARRAY['cash', 'bonus', 'held']) AS n (name)
        WHERE user_id = ANY($1::uuid[])
        ORDER BY user_id, name
        ON CONFLICT DO NOTHING
        """,
        list(users),
    )


async def open_house_accounts(tx: Tx, currencies: Collection[str], names: Collection[str]) -> None:
    """Write the house's accounts of these currencies."""
    await tx.execute(
        """
        INSERT INTO account (currency, name, floor)
        SELECT currency, name, NULL
        FROM unnest($1::text[]) AS c (currency) CROSS JOIN unnest($2::text[]) AS n (name)
        ORDER BY currency, name
        ON CONFLICT DO NOTHING
        """,
        sorted(set(currencies)),
        list(names),
    )


async def lock_player_accounts(tx: Tx, users: Collection[str]) -> dict[tuple[str, str], Account]:
    """Lock the accounts of these users and return them by user id and name.

    The order by id is the one in which everybody locks.
    """
    rows = await tx.fetch(
        """
        SELECT id, user_id, currency, name, balance, seq, floor
        FROM account WHERE user_id = ANY($1::uuid[])
        ORDER BY id
        FOR NO KEY UPDATE
        """,
        list(users),
    )
    return {
        (str(user), name): Account(number, str(user), currency, balance, seq, floor)
        for number, user, currency, name, balance, seq, floor in rows
    }


async def house_accounts(tx: Tx, currencies: Collection[str]) -> dict[tuple[str, str], int]:
    """Return the ids of the house's accounts by currency and name."""
    rows = await tx.fetch(
        "SELECT id, currency, name FROM account "
        "WHERE user_id IS NULL AND currency = ANY($1::text[])",
        list(currencies),
    )
    return {(row["currency"], row["name"]): row["id"] for row in rows}


async def transfers(tx: Tx, ids: Collection[str], holds: Collection[str]) -> list[Record]:
    """Return the transfers with these ids and what was applied on top of them.

    That is: what undoes them, credits them as stakes, or belongs to these holds. Some come twice.
    """
    columns = """id, verb, outcome, fingerprint, user_id, currency, kind, reference, cash_change,
        bonus_change, held_change, cash_after, bonus_after, held_after, refusal, detail, hold_id,
        stake_id, original_id"""
    rows = await tx.fetch(
        f"""
        SELECT {columns} FROM transfer WHERE id = ANY($1::uuid[])
        UNION ALL
        SELECT {columns} FROM transfer WHERE outcome = 'applied'
            AND original_id IS NOT NULL AND original_id = ANY($1::uuid[])
        UNION ALL
        SELECT {columns} FROM transfer WHERE outcome = 'applied'
            AND stake_id IS NOT NULL AND stake_id = ANY($1::uuid[])
        UNION ALL
        SELECT {columns} FROM transfer WHERE outcome = 'applied' AND verb = 'hold'
            AND hold_id IS NOT NULL AND hold_id = ANY($2::uuid[])
        UNION ALL
        SELECT {columns} FROM transfer WHERE outcome = 'applied' AND verb <> 'hold'
            AND hold_id IS NOT NULL AND hold_id = ANY($2::uuid[])
        """,  # noqa: S608 -- the columns are written above
        list(ids),
        list(holds),
    )
    return [_record(row) for row in rows]


async def insert_transfers(tx: Tx, records: Sequence[Record], at: datetime) -> None:
    """Write what was decided. Raises UniqueViolationError when an id was decided meanwhile."""
    await tx.execute(
        """
        INSERT INTO transfer (id, verb, outcome, fingerprint, user_id, currency, kind, reference,
            cash_change, bonus_change, held_change, cash_after, bonus_after, held_after, refusal,
            detail, hold_id, stake_id, original_id, decided_at)
        SELECT t.*, $20 FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[], $5::uuid[],
            $6::text[], $7::text[], $8::text[], $9::bigint[], $10::bigint[], $11::bigint[],
            $12::bigint[], $13::bigint[], $14::bigint[], $15::text[], $16::text[], $17::uuid[],
            $18::uuid[], $19::uuid[]) AS t (id)
        ORDER BY t.id
        """,
        *_columns([_values(record) for record in records], 19),
        at,
    )


async def insert_lines(tx: Tx, lines: Sequence[Line]) -> None:
    """Write entries."""
    await tx.execute(
        """
        INSERT INTO entry (transfer_id, account_id, contra_id, currency, amount, user_id, seq,
            balance_after)
        SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::text[], $5::bigint[],
            $6::uuid[], $7::bigint[], $8::bigint[])
        """,
        *_columns([astuple(line) for line in lines], 8),
    )


async def update_player_accounts(tx: Tx, accounts: Sequence[Account]) -> None:
    """Write the balances of locked accounts."""
    await tx.execute(
        """
        UPDATE account SET balance = n.balance, seq = n.seq, floor = n.floor
        FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[])
            AS n (id, balance, seq, floor)
        WHERE account.id = n.id
        """,
        [account.account_id for account in accounts],
        [account.balance for account in accounts],
        [account.seq for account in accounts],
        [account.floor for account in accounts],
    )


async def lock_house_accounts(tx: Tx, ids: Collection[int]) -> None:
    """Lock these accounts of the house, in id order too and after all players'."""
    await tx.execute(
        "SELECT 1 FROM account WHERE id = ANY($1::bigint[]) ORDER BY id FOR NO KEY UPDATE",
        list(ids),
    )


async def update_house_accounts(tx: Tx, change_of: dict[int, int]) -> None:
    """Add a change, in minor units, to each of these accounts of the house."""
    await tx.execute(
        """
        UPDATE account SET balance = account.balance + n.change, seq = account.seq + 1
        FROM unnest($1::bigint[], $2::bigint[]) AS n (id, change)
        WHERE account.id = n.id
        """,
        list(change_of),
        list(change_of.values()),
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
        refusal=row["refusal"],
        detail=row["detail"],
        hold_id=_text(row["hold_id"]),
        stake_id=_text(row["stake_id"]),
        original_id=_text(row["original_id"]),
    )


def _values(record: Record) -> tuple[object, ...]:
    return (
        record.transfer_id, record.verb, record.outcome, record.fingerprint, record.user_id,
        record.currency, record.kind, record.reference, record.change.cash, record.change.bonus,
        record.change.held, record.after.cash, record.after.bonus, record.after.held,
        record.refusal, record.detail, record.hold_id, record.stake_id, record.original_id,
    )  # fmt: skip


def _columns(rows: Sequence[tuple[object, ...]], width: int) -> list[list[object]]:
    return [[row[index] for row in rows] for index in range(width)]


def _text(value: object) -> str | None:
    return None if value is None else str(value)
