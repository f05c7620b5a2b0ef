"""What the database itself refuses, and that the audit sees what got past it."""

from collections.abc import AsyncGenerator
from typing import Any, cast

import asyncpg
import pytest

from svc.mesh.clock import new_id
from svc.mesh.context import Context
from svc.mesh.database import Tx
from svc.wallet import statements
from svc.wallet.contract import InsufficientFunds
from tests.support.platform import Platform
from tests.wallet.player import Player


@pytest.fixture
async def database(platform: Platform, ann: Player) -> AsyncGenerator[Any]:
    """A connection with the wallet's own rights, in a transaction that is never committed."""
    await ann.hold(20, new_id())
    stake = ann.transfer(30, "bet")
    await ann.deduct(stake)
    await ann.rollback(stake.transfer_id)
    async with platform.database("wallet") as connection:
        transaction = connection.transaction()
        await transaction.start()
        yield connection
        await transaction.rollback()


OWN = "account.user_id = $1 AND name = 'cash'"
HOUSE = "account.user_id IS NULL AND account.currency = 'EUR' AND name = 'revenue'"
DOLLARS = "account.user_id IS NULL AND account.currency = 'USD' AND name = 'revenue'"


def entry(*, contra: str = HOUSE, amount: int = 5, transfer: str = "kind = 'deposit'") -> str:
    """Return the insertion of an entry between the player's cash and an account of the house."""
    return f"""
        INSERT INTO entry (transfer_id, user_id, account_id, contra_id, currency, amount, seq,
            balance_after)
        SELECT (SELECT id FROM transfer WHERE {transfer} AND user_id = $1), $1, id,
            (SELECT id FROM account WHERE {contra}), 'EUR', {amount}, 99, 5
        FROM account WHERE {OWN}
    """  # noqa: S608 -- made of this file's own texts


def copied(where: str) -> str:
    """Return the insertion of a player's transfer once more, under another id."""
    return f"""
        INSERT INTO transfer (id, verb, outcome, fingerprint, user_id, currency, kind, hold_id,
            original_id, decided_at)
        SELECT uuidv7(), verb, outcome, '', user_id, currency, kind, hold_id, original_id, now()
        FROM transfer WHERE user_id = $1 AND {where}
    """  # noqa: S608 -- made of this file's own texts


REFUSED_BY_DATABASE = [
    ("an entry changed", "append-only", "UPDATE entry SET amount = 1 WHERE user_id = $1"),
    ("an entry deleted", "append-only", "DELETE FROM entry WHERE user_id = $1"),
    ("a transfer changed", "append-only", "UPDATE transfer SET kind = 'bet' WHERE user_id = $1"),
    ("a transfer deleted", "append-only", "DELETE FROM transfer WHERE user_id = $1"),
    ("cash below what is held", "no_overdraft",
     "UPDATE account SET balance = 19 WHERE user_id = $1 AND name = 'cash'"),
    ("a bonus below zero", "no_overdraft",
     "UPDATE account SET balance = -1 WHERE user_id = $1 AND name = 'bonus'"),
    ("an entry with one side", "contra_id", entry(contra="false")),
    ("an entry with itself", "two_sides", entry(contra=OWN)),
    ("an entry of nothing", "not_nothing", entry(amount=0)),
    ("an entry into another currency", "one_currency", entry(contra=DOLLARS)),
    ("an entry of a refused transfer", "moved nothing", entry(transfer="outcome = 'refused'")),
    ("a second cash account", "one_of_each",
     "INSERT INTO account (user_id, currency, name) VALUES ($1, 'EUR', 'cash')"),
    ("an account in another currency", "currency_of_wallet",
     "INSERT INTO account (user_id, currency, name) VALUES ($1, 'USD', 'cash')"),
    ("a second wallet", "wallet_pkey", "INSERT INTO wallet VALUES ($1, 'USD', now())"),
    ("an id used again", "transfer_pkey",
     "INSERT INTO transfer SELECT * FROM transfer WHERE user_id = $1"),
    ("a second rollback", "transfer_undone_once", copied("verb = 'rollback'")),
    ("a hold placed twice", "hold_placed_once", copied("verb = 'hold'")),
    ("a refusal that moves money", "only_applied_moves_money",
     """
        INSERT INTO transfer (id, verb, outcome, fingerprint, refusal, detail, user_id, cash_change,
            decided_at)
        VALUES (uuidv7(), 'hold', 'refused', '', 'not-found', '', $1, 5, now())
     """),
]  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "statement"),
    [case[1:] for case in REFUSED_BY_DATABASE],
    ids=[case[0].replace(" ", "_") for case in REFUSED_BY_DATABASE],
)
async def test_the_database_itself_refuses(
    database: Any, ann: Player, reason: str, statement: str
) -> None:
    await Player(ann.operator, "USD").give(1)
    with pytest.raises(InsufficientFunds):
        await ann.take(1_000)
    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match=reason):
        await database.execute(statement, ann.user_id)


async def test_the_tables_of_record_cannot_be_emptied(database: Any) -> None:
    with pytest.raises(asyncpg.RestrictViolationError):
        await database.execute("TRUNCATE entry")


async def test_a_balance_that_its_entries_do_not_give_is_refused_at_commit(
    database: Any, ann: Player
) -> None:
    await database.execute(
        "UPDATE account SET balance = balance + 1 WHERE user_id = $1 AND name = 'cash'", ann.user_id
    )
    with pytest.raises(asyncpg.RestrictViolationError):
        await database.execute("SET CONSTRAINTS ALL IMMEDIATE")


SEEN_BY_AUDIT = [
    ("currency_does_not_sum_to_zero",
     "UPDATE account SET balance = balance + 1 WHERE currency = 'EUR' AND name = 'casino'"),
    ("balance_is_not_the_sum_of_entries",
     "UPDATE account SET balance = balance + 1 WHERE user_id = $1 AND name = 'cash'"),
    ("account_chain_is_broken",
     "UPDATE entry SET seq = seq + 9 WHERE user_id = $1 AND amount = 30"),
    ("balance_below_floor",
     "UPDATE entry SET balance_after = -1 WHERE user_id = $1 AND amount = 30"),
    ("transfer_differs_from_its_entries",
     "UPDATE entry SET amount = amount + 1 WHERE user_id = $1 AND amount = 30"),
    ("entry_between_wrong_accounts",
     "UPDATE entry SET user_id = uuidv7() WHERE user_id = $1 AND amount = 30"),
    ("rollback_differs_from_its_original",
     "UPDATE transfer SET cash_change = 29 WHERE user_id = $1 AND verb = 'rollback'"),
    ("in_play_is_not_the_sum_of_open_bets",
     "UPDATE account SET balance = 7 WHERE currency = 'EUR' AND name = 'bets_in_play'"),
    ("held_is_not_the_sum_of_open_holds",
     "UPDATE account SET floor = 19 WHERE user_id = $1 AND name = 'cash'"),
]  # fmt: skip


@pytest.mark.parametrize(("invariant", "damage"), SEEN_BY_AUDIT, ids=[d[0] for d in SEEN_BY_AUDIT])
async def test_the_audit_sees_damage_that_the_constraints_were_switched_off_for(
    database: Any, ann: Player, invariant: str, damage: str
) -> None:
    for table in ("entry", "transfer", "account"):
        await database.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    query = damage if "$1" in damage else damage + " AND $1::text IS NOT NULL"
    assert await database.execute(query, ann.user_id) == "UPDATE 1"
    report = await statements.audit(Tx(database, cast("Context", None)))
    assert not report.healthy
    assert report.violations[invariant] > 0


def test_every_invariant_has_its_damage() -> None:
    assert {invariant for invariant, _ in SEEN_BY_AUDIT} == set(statements.INVARIANTS)
