"""`just audit`: the whole ledger from the command line, with what is wrong and where."""

import asyncio
import sys
from datetime import UTC, datetime

import pytest

from svc.platform.installation import ROOT
from svc.wallet.contract import BALANCE_CHANGED
from svc.wallet.invariants import CLAIMS, ENTRY_WITHOUT_EVENT, EVENT_WITHOUT_ENTRY
from svc.wallet.told import Listener
from tests.support.mesh import Services
from tests.support.platform import Platform
from tests.wallet.player import Player


async def audited(platform: Platform, **settings: str) -> tuple[int | None, str]:
    """Run the audit as `just audit` does; return its exit code and what it says."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "svc.wallet.audit",
        cwd=ROOT, env={**platform.environment(), **settings},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    return process.returncode, said.decode()


@pytest.fixture(scope="module", autouse=True)
async def only_our_events(services: Services, platform: Platform) -> None:
    """Other tests play the wallet, and tell of balances that no ledger knows."""
    await services("wallet")
    async with platform.nats("deploy") as deploy:
        await deploy.jetstream().purge_stream("WALLET")


async def told(ann: Player, transfer_id: str) -> None:
    """Wait until a transfer's event is in the stream."""
    await ann.operator.heard(BALANCE_CHANGED, lambda data: data.transfer_id == transfer_id)


async def test_the_audit_says_that_a_sound_ledger_is_sound(ann: Player, platform: Platform) -> None:
    await ann.take(30)
    code, said = await audited(platform)
    assert (code, "BAD" in said) == (0, False), said
    assert "the ledger is sound" in said
    assert [line[:5] for line in said.splitlines()[:-1]] == ["ok   "] * len(CLAIMS)


async def test_the_audit_says_that_it_could_not_ask_nats(ann: Player, platform: Platform) -> None:
    del ann
    code, said = await audited(platform, NATS_URL="nats://127.0.0.1:1")
    assert code == 2
    assert said.count("not checked, NATS does not answer; start it with ./just up") == 2


@pytest.mark.parametrize(
    ("wrong", "said_of_it"),
    [(":1/wallet", "Connect call failed"), (":{port}/wallet", "authentication failed")],
)
async def test_the_audit_says_that_it_could_not_ask_postgres(
    platform: Platform, wrong: str, said_of_it: str
) -> None:
    place = "127.0.0.1" + wrong.format(port=platform.installation.port("postgres"))
    url = f"postgresql://wallet:no-such-password@{place}"
    code, said = await audited(platform, WALLET_DATABASE_URL=url)
    assert code == 2
    assert said.startswith(f"no connection to Postgres at {place}: ")
    assert said.endswith("; start it with: ./just up\n")
    assert said_of_it in said
    assert "no-such-password" not in said


async def test_the_audit_leaves_no_consumer_behind(ann: Player, platform: Platform) -> None:
    await ann.take(30)
    async with platform.nats() as nats:
        before = await nats.jetstream().consumers_info("WALLET")
        code, said = await audited(platform)
        assert code == 0, said
        after = await nats.jetstream().consumers_info("WALLET")
    assert {one.name for one in after} == {one.name for one in before}


FORGED = """
    INSERT INTO transfer (id, verb, outcome, fingerprint, user_id, currency, kind, reference,
        cash_change, cash_after, seq, decided_at, shard, batch)
    SELECT uuidv7(), verb, outcome, fingerprint, user_id, currency, kind, reference, cash_change,
        cash_after, seq + 9, decided_at, shard, batch FROM transfer WHERE id = $1
"""
DAMAGE = {
    "an entry that nobody was told of": (ENTRY_WITHOUT_EVENT, FORGED),
    "an event of an entry that is gone": (
        EVENT_WITHOUT_ENTRY, "DELETE FROM transfer WHERE id = $1"),
    "an event of another amount": (
        EVENT_WITHOUT_ENTRY, "UPDATE transfer SET cash_change = -31 WHERE id = $1"),
    "an event that waits for an entry that is gone": (
        EVENT_WITHOUT_ENTRY,
        ("WITH gone AS (DELETE FROM transfer WHERE id = $1)"
        " INSERT INTO mesh_outbox (event_id, subject, body)"
        " VALUES (uuidv7(), 'wallet.events.balance_changed', '{}')")),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
async def test_the_audit_compares_entries_with_what_was_told_of_them(
    ann: Player, platform: Platform, damage: str
) -> None:
    stake = ann.transfer(30, "bet")
    began = datetime.now(UTC)
    await ann.deduct(stake)
    await told(ann, stake.transfer_id)
    name, statement = DAMAGE[damage]
    async with platform.database("wallet") as connection, platform.nats() as nats:
        transaction = connection.transaction()
        await transaction.start()
        listener = Listener(connection, nats.jetstream())
        await listener.listen()
        listener.since = began
        await connection.execute("ALTER TABLE transfer DISABLE TRIGGER USER")
        await connection.execute(statement, stake.transfer_id)
        found = await listener.compare(began)
        await transaction.rollback()
    assert found[name] > 0


async def test_the_audit_names_the_batch_of_a_changed_transfer(
    ann: Player, platform: Platform
) -> None:
    stake = ann.transfer(30, "bet")
    await ann.deduct(stake)
    change = "UPDATE transfer SET reference = $2 WHERE id = $1 RETURNING shard, batch"
    async with platform.database("wallet") as connection:
        await connection.execute("ALTER TABLE transfer DISABLE TRIGGER USER")
        try:
            row = await connection.fetchrow(change, stake.transfer_id, "forged")
            code, said = await audited(platform)
            await connection.execute(change, stake.transfer_id, stake.reference)
        finally:
            await connection.execute("ALTER TABLE transfer ENABLE TRIGGER USER")
    assert row is not None
    assert code == 1
    assert f"batch {row['batch']} of shard {row['shard']} is not what was committed" in said
    assert "the ledger is BROKEN" in said
