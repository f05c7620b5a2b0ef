"""The operators' commands, when what they ask is not there: a sentence, and soon."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from svc.platform import dead, installation, policy, replay, streams, top
from svc.platform.errors import PlatformError
from svc.platform.installation import Installation
from svc.platform.ports import free_ports
from svc.platform.servers import running

ASKED: dict[str, Callable[[Installation], int]] = {
    "top": lambda there: top.top(["--once"], there),
    "dead": lambda there: dead.dead(["list"], there),
    "policy": lambda there: policy.policy(["show"], there),
    "replay": lambda there: replay.replay(["reporting", "--since", "2026-11-01"], there),
}


@pytest.fixture
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """An installation of which no server runs."""
    monkeypatch.setattr(streams, "CONNECT_S", 1)
    return installation.prepare(tmp_path, free_ports())


@pytest.mark.parametrize("command", ASKED)
def test_without_nats_a_command_says_so_and_how_to_start_it(
    stopped: Installation, command: str
) -> None:
    with pytest.raises(PlatformError) as refused:
        ASKED[command](stopped)
    said = str(refused.value)
    assert said.startswith(f"no connection to NATS at {stopped['NATS_URL']} as operator: ")
    assert "Connect call failed" in said
    assert said.endswith("; start it with: ./just up")


def test_of_a_server_of_ones_own_it_is_said_which_users_it_needs(
    stopped: Installation, tmp_path: Path
) -> None:
    elsewhere = {"NATS_URL": f"nats://127.0.0.1:{stopped['VALKEY_PORT']}"}
    with pytest.raises(PlatformError, match=r"needs the users that stand in .*server\.conf"):
        top.top(["--once"], installation.prepare(tmp_path, elsewhere))


@pytest.mark.parametrize("verb", ["drop", "replay"])
def test_letters_that_are_not_named_are_asked_of_nobody(stopped: Installation, verb: str) -> None:
    with pytest.raises(PlatformError, match="nothing to do: name letters"):
        dead.dead([verb], stopped)


def test_on_a_fresh_installation_no_policy_was_ever_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    only_nats = {"DATABASE_URL": "postgresql://elsewhere/", "REDIS_URL": "redis://elsewhere:1"}
    fresh = installation.prepare(tmp_path, free_ports() | only_nats)
    with running(fresh):
        asyncio.run(streams.apply(fresh))
        capsys.readouterr()
        assert policy.policy(["log"], fresh) == 0
        assert capsys.readouterr().out == "no policy was ever changed\n"
