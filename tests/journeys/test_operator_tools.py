"""Operators' own tools work on the running platform: the `nats` CLI, where it is on PATH."""

import asyncio
import shutil
import sys

import pytest

from svc import catalogue
from svc.platform.installation import ROOT
from tests.journeys.world import Platform

pytestmark = pytest.mark.skipif(
    shutil.which("nats") is None, reason="the `nats` CLI is not on PATH (it is optional)"
)


async def nats(whole: Platform, *words: str) -> str:
    """Run `just nats …` as the operator and return what it prints."""
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "svc", "nats", *words),
        cwd=ROOT,
        env=whole.fleet.environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await running.communicate()
    assert running.returncode == 0, said.decode()
    return said.decode()


async def test_micro_ls_lists_all_twelve(whole: Platform) -> None:
    said = await nats(whole, "micro", "ls")

    assert [name for name in catalogue.NAMES if name not in said] == []


async def test_micro_info_and_stats_show_endpoints(whole: Platform) -> None:
    assert "rpc.wallet.v1.deduct_balance" in await nats(whole, "micro", "info", "wallet")
    assert "deduct_balance" in await nats(whole, "micro", "stats", "wallet")


async def test_a_call_is_answered_in_json(whole: Platform) -> None:
    said = await nats(whole, "req", "rpc.wallet.v1.audit", "{}", "--raw")

    assert '"healthy":true' in said


async def test_streams_and_buckets_are_seen(whole: Platform) -> None:
    assert "BETTING" in await nats(whole, "stream", "ls", "--all")
    assert "jwks" in await nats(whole, "kv", "ls", "identity")
