"""`just audit`: the whole ledger from the command line, with what is wrong and where."""

import asyncio
import sys

from svc.platform.installation import ROOT
from tests.support.platform import Platform
from tests.wallet.player import Player


async def audited(platform: Platform) -> tuple[int | None, str]:
    """Run the audit as `just audit` does; return its exit code and what it says."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "svc.wallet.audit",
        cwd=ROOT, env=platform.environment(), stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, _ = await process.communicate()
    return process.returncode, said.decode()


async def test_the_audit_says_that_a_sound_ledger_is_sound(ann: Player, platform: Platform) -> None:
    await ann.take(30)
    code, said = await audited(platform)
    assert (code, "BAD" in said) == (0, False)
    assert "the ledger is sound" in said


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
