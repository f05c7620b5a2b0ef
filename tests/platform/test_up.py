"""`just up`: brings everything up, says who died, and goes down cleanly."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from svc.platform import installation, ready, runner
from svc.platform.installation import ROOT
from svc.platform.ports import free_ports
from svc.platform.servers import Servers, forget
from tests.support.commands import alive, lines_until, rest, up

OVERMIND = shutil.which("overmind") or ""
SLEEPER = 'exec python -c "import signal; print(1234567 * 9, flush=True); signal.pause()"'

TELLER = SLEEPER.replace("signal; print(1234567 * 9", "os, signal; print('I am', os.getpid()")


@pytest.fixture
def checkout(jetstream: Path) -> Generator[Path]:
    """A checkout with a Procfile of our own, in a directory with a space in its name."""
    with tempfile.TemporaryDirectory(prefix="bet mesh ") as directory:
        home = Path(directory)
        home.chmod(0o755)
        shutil.copytree(ROOT / "svc", home / "svc")
        shutil.copytree(jetstream, home / "jetstream")
        (home / "Procfile").write_text(f"one: {SLEEPER}\n\ntwo: {SLEEPER}\n")
        yield home
        prepared = installation.prepare(home / ".run", {})
        servers = Servers(prepared)
        left = [server.daemon.process() for server in servers.own.values()]
        runner.stop_left_behind(prepared)  # a failed test must leave nothing either
        servers.stop()
        forget(home / ".run")
        assert left == [None, None, None]


def test_it_says_where_everything_is_and_ctrl_c_stops_all_with_exit_code_0(checkout: Path) -> None:
    ports = free_ports()
    with up(checkout, ports=ports) as command:
        shown = "\n".join(lines_until(command, "one | 11111103", "two | 11111103"))
        assert f"gateway http://127.0.0.1:{ports['GATEWAY_PORT']}" in shown
        assert f"127.0.0.1:{ports['POSTGRES_PORT']}/postgres" in shown
        assert "databases: 9 up to date" in shown
        os.killpg(command.pid, signal.SIGINT)  # as the terminal does: to the whole group
        assert "servers; data is kept" in rest(command)
        assert command.wait(20) == 0
    assert "11111103" in (checkout / ".run" / "logs" / "one.log").read_text()


def test_a_second_start_continues_on_the_same_data_and_sigterm_stops_it_too(checkout: Path) -> None:
    with up(checkout, ports=free_ports()) as command:
        lines_until(command, "one | 11111103")
        command.terminate()
        rest(command)
        assert command.wait(20) == 0
    with up(checkout) as command:
        shown = "\n".join(lines_until(command, "one | 11111103"))
        assert "applied" not in shown
        command.terminate()
        rest(command)
        assert command.wait(20) == 0


def test_a_process_that_dies_is_named_with_its_exit_code_and_what_to_do(checkout: Path) -> None:
    (checkout / "Procfile").write_text(
        f'one: {SLEEPER}\nbad: exec python -c "print(5); raise SystemExit(7)"\n'
    )
    with up(checkout, ports=free_ports()) as command:
        shown = rest(command)
        assert command.wait(20) == 1
    assert "bad ended with exit code 7, so the others were stopped" in shown
    assert "./just logs bad" in shown


def test_ctrl_c_in_the_moment_of_starting_stops_all_as_well(checkout: Path) -> None:
    with up(checkout, ports=free_ports()) as command:
        lines_until(command, "health ./just doctor")
        os.killpg(command.pid, signal.SIGINT)
        assert "servers; data is kept" in rest(command)
        assert command.wait(20) == 0


def test_a_process_that_does_not_stop_is_killed_in_the_end(checkout: Path) -> None:
    stubborn = SLEEPER.replace("print", "signal.signal(15, signal.SIG_IGN); print")
    (checkout / "Procfile").write_text(
        f"one: {stubborn.replace('signal.pause()', '[signal.pause() for _ in iter(int, 1)]')}\n"
    )
    up_py = checkout / "svc" / "platform" / "up.py"
    patient = up_py.read_text()
    assert "DRAIN_S_MAX = 15" in patient
    up_py.write_text(patient.replace("DRAIN_S_MAX = 15", "DRAIN_S_MAX = 1"))
    with up(checkout, ports=free_ports()) as command:
        lines_until(command, "one | 11111103")
        command.terminate()
        assert "sending SIGKILL to one" in rest(command)
        assert command.wait(20) == 0


def test_a_second_up_in_the_same_directory_is_refused_and_disturbs_nothing(checkout: Path) -> None:
    with up(checkout, ports=free_ports()) as command:
        lines_until(command, "one | 11111103")
        with up(checkout) as second:
            assert f"already up from this directory (process {command.pid})" in rest(second)
            assert second.wait(20) == 1
        with up(checkout, "reset", "--yes") as reset:
            assert "stop it with Ctrl-C first" in rest(reset)
            assert reset.wait(20) == 1
        assert command.poll() is None
        command.terminate()
        rest(command)
        assert command.wait(20) == 0


def told_pids(lines: list[str]) -> set[int]:
    return {int(line.split()[-1]) for line in lines if "I am" in line}


def test_what_a_killed_runner_left_is_stopped_by_the_next_and_by_reset(checkout: Path) -> None:
    (checkout / "Procfile").write_text(f"one: {TELLER}\n\ntwo: {TELLER}\n")
    with up(checkout, ports=free_ports()) as command:
        left = told_pids(lines_until(command, "one | I am", "two | I am"))
        command.kill()
        command.wait()
    assert alive(left) == left
    with up(checkout, "servers", "stop") as stop:
        assert "stopped: nats, postgres, valkey" in rest(stop)
        assert stop.wait(20) == 0
    with up(checkout) as command:
        lines = lines_until(command, "one | I am", "two | I am")
        assert "stopping 2 processes that were left running" in lines
        assert alive(left) == set()
        left = told_pids(lines)
        command.kill()
        command.wait()
    assert alive(left) == left
    with up(checkout, "reset", "--yes") as reset:
        assert "stopping 2 processes that were left running\nforgotten" in rest(reset)
        assert reset.wait(20) == 0
    assert alive(left) == set()


def test_a_server_that_died_is_started_again_while_all_else_goes_on(checkout: Path) -> None:
    with up(checkout, ports=free_ports()) as command:
        lines_until(command, "one | 11111103", "two | 11111103")
        valkey = Servers(installation.prepare(checkout / ".run", {})).valkey.daemon
        process = valkey.process()
        assert process is not None
        process.kill()
        while valkey.process() is not None:  # its parent lives, and does not ask for its end
            time.sleep(0.01)
        with up(checkout, "doctor") as doctor:
            assert "Next: ./just servers start" in rest(doctor)
            assert doctor.wait(20) == 1
        with up(checkout, "servers", "start") as start:
            assert "started: valkey" in rest(start)
            assert start.wait(20) == 0
        with up(checkout, "doctor") as doctor:
            assert "Next: ./just logs NAME" in rest(doctor)
            assert doctor.wait(20) == 1
        command.terminate()
        rest(command)
        assert command.wait(20) == 0


def test_overmind_is_used_where_it_is_on_path_and_told_to_stop(checkout: Path) -> None:
    # A stand-in: overmind is in no package index. It shows how it was called, and stops on TERM.
    tools = checkout / "tools"
    tools.mkdir()
    shown = 'echo "overmind $* from $BETMESH_RUN"; trap "echo drained; exit 0" TERM'
    (tools / "overmind").write_text(f"#!/bin/sh\n{shown}\nwhile :; do sleep 0.1; done\n")
    (tools / "tmux").write_text("#!/bin/sh\n")
    for path in tools.iterdir():
        path.chmod(0o755)
    ports = free_ports() | {"PATH": f"{tools}:{os.environ['PATH']}"}
    with up(checkout, "up", "two", ports=ports) as command:
        called = lines_until(command, "overmind start")[-1]
        assert called.startswith(f"overmind start -f {checkout}/Procfile -s {checkout}/.run/")
        assert called.endswith(f"-l two from {checkout}/.run")
        command.terminate()
        assert "drained" in rest(command)
        assert command.wait(20) == 0


@pytest.mark.skipif(
    not (OVERMIND and shutil.which("tmux")),
    reason="overmind, or tmux that it needs, is not on PATH (it is optional)",
)
def test_the_real_overmind_runs_the_procfile_and_stops_it(checkout: Path) -> None:
    with up(checkout, "up", ports=free_ports()) as command:
        lines_until(command, "one | 11111103", "two | 11111103")
        shown = subprocess.run(
            [OVERMIND, "ps", "-s", str(checkout / ".run" / "overmind.sock")],
            capture_output=True, text=True, timeout=20, check=True,
        ).stdout  # fmt: skip
        running = [line.split() for line in shown.splitlines() if "running" in line]
        assert sorted(line[0] for line in running) == ["one", "two"]
        command.terminate()
        rest(command)
        assert command.wait(20) == 0


def test_reset_forgets_data_keys_and_secrets(checkout: Path) -> None:
    with up(checkout, "servers", "start", ports=free_ports()) as start:
        assert "started: nats, postgres, valkey" in rest(start)
        start.wait(20)
    before = installation.read(checkout / ".run")
    with up(checkout, "reset", "--yes") as reset:
        assert "forgotten" in rest(reset)
        assert reset.wait(20) == 0
    assert not (checkout / ".run").exists()
    assert installation.prepare(checkout / ".run", {})["GRPC_API_KEY"] != before["GRPC_API_KEY"]


def test_reset_takes_nothing_away_from_a_test_run_that_is_alive(checkout: Path) -> None:
    alive = checkout / ".run" / f"test-{os.getpid()}-some"
    alive.mkdir(parents=True)
    installation.prepare(checkout / ".run", free_ports())
    with up(checkout, "reset", "--yes") as reset:
        assert f"a test run is using {alive}" in rest(reset)
        assert reset.wait(20) == 1
    assert alive.exists()


def test_doctor_says_what_is_missing_and_what_to_do_next(checkout: Path) -> None:
    with up(checkout, "servers", "start", ports=free_ports()) as start:
        rest(start)
        start.wait(20)
    ready.remember(checkout / ".run", {"wallet": 1.5})
    with up(checkout, "doctor") as doctor:
        shown = rest(doctor)
        assert doctor.wait(20) == 1
    with up(checkout, "servers", "stop") as stop:
        assert "stopped: nats, postgres, valkey" in rest(stop)
        assert stop.wait(20) == 0
    ready_names = [line.split()[0] for line in shown.splitlines() if " ready   " in line]
    assert ready_names == ["nats", "postgres", "valkey"]
    assert "not ready: gateway, identity," in shown
    assert "Next: ./just up" in shown
    memory = next(line for line in shown.splitlines() if line.startswith("memory: "))
    assert int(memory.split()[1]) > 10
