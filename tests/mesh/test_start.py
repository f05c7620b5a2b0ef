"""What a service says when it cannot start: a sentence that names the cause, and nothing else."""

import asyncio
import signal
import sys

from svc.platform.installation import ROOT
from svc.platform.ports import free_ports
from tests.support.platform import Platform


async def said_by(platform: Platform, name: str, **changed: str) -> str:
    """Run a service that cannot start; return what it printed before it ended with code 1."""
    moved = {f"{name.upper()}_PORT": str(free_ports()[f"{name.upper()}_PORT"])}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "svc", "run", name),
        cwd=ROOT,
        env={**platform.environment(), **moved, **changed},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(20):
            _, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 1, said.decode()
    return said.decode()


async def test_a_database_that_is_away_is_told_in_one_sentence(platform: Platform) -> None:
    nobody = free_ports()["POSTGRES_PORT"]

    told = await said_by(
        platform, "casino", CASINO_DATABASE_URL=f"postgresql://casino@127.0.0.1:{nobody}/casino"
    )

    assert "cannot start: the database of casino does not answer" in told
    assert "Traceback" not in told


async def test_a_setting_that_cannot_be_used_is_told_in_one_sentence(platform: Platform) -> None:
    told = await said_by(platform, "identity", ADMIN_EMAIL="nobody")

    assert "identity cannot start: " in told
    assert "Traceback" not in told


async def test_a_service_that_waits_for_its_broker_ends_when_told(platform: Platform) -> None:
    ports = free_ports()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "svc", "run", "casino"),
        cwd=ROOT,
        env={
            **platform.environment(),
            "CASINO_PORT": str(ports["CASINO_PORT"]),
            "NATS_URL": f"nats://127.0.0.1:{ports['NATS_PORT']}",
        },
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        async with asyncio.timeout(20):
            said = await process.stderr.readline()
            assert b"nats" in said, said.decode()
            process.send_signal(signal.SIGTERM)
            more = await process.stderr.read()
            assert await process.wait() == 0, (said + more).decode()
        assert b"Traceback" not in more, more.decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
