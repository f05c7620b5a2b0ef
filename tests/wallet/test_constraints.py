"""What the database itself refuses, and that the audit sees what got past it."""
# What stands in the statements besides SQL are this file's own texts, in lists of cases.
# ruff: noqa: S608, ISC004

import re
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any, cast

import asyncpg
import msgspec
import pytest

from svc.mesh.clock import SystemClock, new_id
from svc.mesh.context import Context
from svc.mesh.database import Tx
from svc.wallet import audit, rules, store
from svc.wallet.contract import InsufficientFunds
from svc.wallet.invariants import CLAIMS, ENTRY_WITHOUT_EVENT, EVENT_WITHOUT_ENTRY, INVARIANTS
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


def copied(where: str, **changed: str) -> str:
    """Return the insertion of a player's transfer once more, under another id, changed."""
    columns = {
        "id": "uuidv7()", "verb": "verb", "outcome": "outcome", "fingerprint": "''",
        "user_id": "user_id", "currency": "currency", "kind": "kind", "hold_id": "hold_id",
        "original_id": "original_id", "seq": "seq + 9", "decided_at": "now()", "shard": "shard",
        "batch": "batch", **changed,
    }  # fmt: skip
    return f"""
        INSERT INTO transfer ({", ".join(columns)})
        SELECT {", ".join(columns.values())} FROM transfer WHERE user_id = $1 AND {where}
    """


REFUSED_BY_DATABASE = [
    ("a transfer changed", "append-only", "UPDATE transfer SET kind = 'bet' WHERE user_id = $1"),
    ("a transfer deleted", "append-only", "DELETE FROM transfer WHERE user_id = $1"),
    ("a transfer deleted past its table", "append-only",
     "DELETE FROM transfer_other WHERE user_id = $1"),
    ("a batch changed", "append-only",
     "UPDATE batch SET transfers = 9 WHERE $1::uuid IS NOT NULL"),
    ("a link deleted", "append-only", "DELETE FROM link WHERE id = $1"),
    ("cash below what is held", "do not follow from its last transfer",
     "UPDATE wallet SET cash = 19 WHERE user_id = $1"),
    ("a bonus below zero", "nothing_below_zero",
     "UPDATE wallet SET bonus = -1 WHERE user_id = $1"),
    ("money without a transfer", "do not follow from its last transfer",
     "UPDATE wallet SET cash = cash + 1 WHERE user_id = $1"),
    ("a balance before its last transfer", "do not follow from its last transfer",
     "UPDATE wallet SET seq = seq + 1 WHERE user_id = $1"),
    ("a wallet opened with money", "opened_empty",
     "INSERT INTO wallet (user_id, currency, cash, opened_at)"
     " SELECT uuidv7(), 'EUR', 5, now() WHERE $1::uuid IS NOT NULL"),
    ("a second wallet", "wallet_pkey",
     "INSERT INTO wallet (user_id, currency, opened_at) VALUES ($1, 'USD', now())"),
    ("an id used again", "_pkey",
     "INSERT INTO transfer SELECT * FROM transfer WHERE user_id = $1 AND verb = 'hold'"),
    ("a place taken twice", "_order", copied("verb = 'hold'", seq="seq")),
    ("a transfer without a place", "applied_in_order", copied("verb = 'hold'", seq="NULL")),
    ("a debt by a stake", "only_what_is_forced_makes_debt",
     copied("cash_change = -30", cash_change="-30", cash_after="-1")),
    ("a debt by a withdrawal", "only_what_is_forced_makes_debt",
     copied("cash_change = -30", kind="'withdrawal'", cash_change="-30", cash_after="-1")),
    ("a debt by holding", "only_what_is_forced_makes_debt",
     copied("verb = 'hold'", held_change="1", held_after="1")),
    ("a bonus below zero after it", "only_what_is_forced_makes_debt",
     copied("verb = 'rollback'", bonus_after="-1")),
    ("a second rollback", "linked_once",
     "INSERT INTO link SELECT id, what, uuidv7() FROM link WHERE what = 'rollback' AND id IN"
     " (SELECT id FROM transfer WHERE user_id = $1)"),
    ("a hold placed twice", "linked_once",
     "INSERT INTO link SELECT id, what, uuidv7() FROM link WHERE what = 'hold' AND id IN"
     " (SELECT hold_id FROM transfer WHERE user_id = $1)"),
    ("a refusal that moves money", "only_applied_moves_money",
     copied("verb = 'hold'", outcome="'refused'", refusal="'not-found'", detail="''", seq="NULL",
            cash_change="5")),
    ("an unknown account of the house", "house_name_check",
     "INSERT INTO house SELECT 1, 'EUR', 'mine' WHERE $1::uuid IS NOT NULL"),
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
        await database.execute("TRUNCATE transfer")


def test_the_database_and_the_rules_name_the_same_other_side() -> None:
    migrations = Path(store.__file__).parent / "migrations"
    newest = (migrations / "0006_bonus_conversion.sql").read_text()
    named = dict(re.findall(r"WHEN '(\w+)' THEN '(\w+)'", newest))
    assert named == rules.HOUSE_OF
    forcible = re.findall(r"kind IN \(([^)]+)\)", (migrations / "0002_debt.sql").read_text())
    assert [set(re.findall(r"\w+", kinds)) for kinds in forcible] == [rules.FORCIBLE]


MINE = "user_id = $1 AND cash_change = -30"
SEEN_BY_AUDIT = [
    ("currency_does_not_sum_to_zero",
     "UPDATE house SET balance = balance + 1 WHERE currency = 'EUR' AND name = 'holds'"),
    ("balance_is_not_the_sum_of_entries",
     "UPDATE wallet SET cash = cash + 1 WHERE user_id = $1"),
    ("account_chain_is_broken", f"UPDATE transfer SET seq = seq + 9 WHERE {MINE}"),
    ("balance_below_floor", f"UPDATE transfer SET cash_after = -1 WHERE {MINE}"),
    ("request_with_several_transfers",
     "INSERT INTO transfer SELECT * FROM transfer WHERE user_id = $1 AND cash_change = -30"),
    ("refused_request_moved_money",
     f"UPDATE transfer SET outcome = 'refused', refusal = 'x', detail = 'x' WHERE {MINE}"),
    ("closed_without_its_transfer", "UPDATE wallet SET closed = true WHERE user_id = $1"),
    ("excluded_without_its_transfer",
     "UPDATE wallet SET excluded_until = now() WHERE user_id = $1"),
    ("transfer_of_another_wallet", f"UPDATE transfer SET currency = 'USD' WHERE {MINE}"),
    ("entry_without_other_side", f"UPDATE transfer SET kind = 'gift' WHERE {MINE}"),
    ("rollback_differs_from_its_original",
     "UPDATE transfer SET cash_change = 29 WHERE user_id = $1 AND verb = 'rollback'"),
    ("link_differs_from_its_transfer",
     "DELETE FROM link WHERE id IN (SELECT hold_id FROM transfer WHERE user_id = $1)"),
    ("in_play_is_not_the_sum_of_open_bets",
     "UPDATE house SET balance = 7 WHERE currency = 'EUR' AND name = 'bets_in_play'"),
    ("held_is_not_the_sum_of_open_holds", "UPDATE wallet SET held = 19 WHERE user_id = $1"),
    ("batch_chain_is_broken", f"DELETE FROM transfer WHERE {MINE}"),
    ("earlier_audit_saw_another_chain",
     "INSERT INTO audit_run SELECT '2000-01-01', true, '{}', 1, 1, '{\"1\": [1, \"00\"]}'"
     " WHERE $1::uuid IS NOT NULL"),
    ("batch_hash_differs", f"UPDATE transfer SET reference = 'changed' WHERE {MINE}"),
]  # fmt: skip


@pytest.mark.parametrize(("invariant", "damage"), SEEN_BY_AUDIT, ids=[d[0] for d in SEEN_BY_AUDIT])
async def test_the_audit_sees_damage_that_the_constraints_were_switched_off_for(
    database: Any, ann: Player, invariant: str, damage: str
) -> None:
    for table in ("transfer", "wallet", "link", "batch"):
        await database.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    for table, check in (
        ("transfer", "only_what_is_forced_makes_debt"), ("wallet", "nothing_below_zero"),
    ):  # fmt: skip
        await database.execute(f"ALTER TABLE {table} DROP CONSTRAINT {check}")
    for check in ("transfer_pkey", "only_applied_moves_money", "applied_in_order"):
        await database.execute(f"ALTER TABLE transfer DROP CONSTRAINT {check}")
    indexes = "SELECT indexname FROM pg_indexes WHERE indexname LIKE 'transfer%_order'"
    for [name] in await database.fetch(indexes):
        await database.execute(f"DROP INDEX {name}")
    query = damage if "$1" in damage else damage + " AND $1::text IS NOT NULL"
    assert (await database.execute(query, ann.user_id)).endswith(" 1")
    report = await audit.audit(Tx(database, cast("Context", None)))
    assert not report.healthy
    assert report.violations[invariant] > 0


def test_every_invariant_has_its_damage() -> None:
    seen = {invariant for invariant, _ in SEEN_BY_AUDIT}
    assert seen | {EVENT_WITHOUT_ENTRY, ENTRY_WITHOUT_EVENT} == set(CLAIMS)


async def test_no_query_of_the_audit_compares_each_transfer_with_each(
    database: Any, ann: Player
) -> None:
    """Whatever the planner believes of tables that it was never told the size of."""
    del ann
    await database.execute(audit.PLANS)
    for name, invariant in INVARIANTS.items():
        [[plan]] = await database.fetch("EXPLAIN (FORMAT JSON) " + invariant.query)
        nested = [one for one in nodes(msgspec.json.decode(plan)[0]["Plan"]) if tables(one) > 1]
        assert not nested, name


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the nested loops of a plan."""
    if plan["Node Type"] == "Nested Loop":
        yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes(inner)


def tables(plan: dict[str, Any]) -> int:
    """Return how many sides of a nested loop read tables."""
    return sum("Relation Name" in msgspec.json.encode(side).decode() for side in plan["Plans"])


LAST = "(SELECT shard, no FROM shard ORDER BY no DESC LIMIT 1)"
GONE = f"""
    WITH gone AS (DELETE FROM transfer WHERE (shard, batch) = {LAST})
    DELETE FROM batch WHERE (shard, no) = {LAST}
"""
SHORTER = f"""
    WITH gone AS (DELETE FROM transfer WHERE (shard, batch) = {LAST}), shorter AS (
        UPDATE shard SET no = batch.no - 1, hash = batch.prev
        FROM batch WHERE batch.shard = shard.shard AND (batch.shard, batch.no) = {LAST})
    DELETE FROM batch WHERE (shard, no) = {LAST}
"""
SEEN_IN_CHAIN = [
    ("its instant", "batch_hash_differs",
     f"UPDATE batch SET at = at + interval '1 s' WHERE (shard, no) = {LAST}"),
    ("a transfer", "batch_hash_differs",
     f"UPDATE transfer SET user_id = uuidv7() WHERE (shard, batch) = {LAST}"),
    ("its row", "batch_chain_is_broken", f"DELETE FROM batch WHERE (shard, no) = {LAST}"),
    ("its transfers", "batch_chain_is_broken",
     f"DELETE FROM transfer WHERE (shard, batch) = {LAST}"),
    ("all of it", "batch_chain_is_broken", GONE),
    ("all of it and the end of the chain", "earlier_audit_saw_another_chain", SHORTER),
]  # fmt: skip


@pytest.mark.parametrize(
    ("invariant", "damage"), [case[1:] for case in SEEN_IN_CHAIN], ids=[c[0] for c in SEEN_IN_CHAIN]
)
async def test_a_changed_or_removed_last_batch_is_found(
    database: Any, ann: Player, invariant: str, damage: str
) -> None:
    del ann
    tx = Tx(database, cast("Context", None))
    report = await audit.audit(tx)
    await audit.record(tx, report, await audit.heads(tx), SystemClock().now())
    for table in ("transfer", "batch"):
        await database.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    await database.execute(damage)
    report = await audit.audit(tx)
    assert report.violations[invariant] > 0
