"""`just demo` beside others, and how it ends when it is told to, or killed."""

import os
import signal
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from svc.platform import runner
from svc.platform.daemon import Daemon
from svc.platform.installation import ROOT
from svc.platform.ports import SERVERS, SERVICES
from tests.support.commands import Running, alive, lines_until, rest, up


@pytest.fixture
def run_dir() -> Generator[Path]:
    """Where the demo's directory will be, and nothing of it runs on afterwards."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        yield Path(directory) / "run"
        left = alive(set(processes(Path(directory) / "run" / "demo")))
        runner.clear(Path(directory) / "run" / "demo", {})  # a failed test leaves nothing either
        assert left == set()


@contextmanager
def command(run_dir: Path, *words: str) -> Generator[Running]:
    with up(ROOT, *words, ports={"BETMESH_RUN": str(run_dir)}) as running:
        yield running


def processes(demo: Path) -> list[int]:
    """Servers and services of the demo."""
    servers = [Daemon(name, demo).process() for name in SERVERS]
    found = [process.pid for process in servers if process]
    return found + [process.pid for process, _ in runner.commands(demo.resolve())]


def started(running: Running, run_dir: Path) -> set[int]:
    """Wait until everything runs, ready or not; returns its numbers."""
    lines_until(running, "servers are up after")
    while len(found := processes(run_dir / "demo")) < len(SERVERS) + len(SERVICES):
        assert running.poll() is None
        time.sleep(0.01)
    return set(found)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_demo_that_is_told_to_end_leaves_nothing(run_dir: Path, number: signal.Signals) -> None:
    with command(run_dir, "demo") as demo:
        running = started(demo, run_dir)
        demo.send_signal(number)
        assert rest(demo).rstrip().endswith("stopped")
        assert demo.wait(20) == 130
    assert alive(running) == set()


def test_while_a_demo_runs_another_and_reset_are_refused(run_dir: Path) -> None:
    with command(run_dir, "demo") as demo:
        lines_until(demo, "servers are up after")
        refusal = f"a demo is running (process {demo.pid}); wait for its end, or stop it"
        for words in (["demo"], ["reset", "--yes"]):
            with command(run_dir, *words) as second:
                assert refusal in rest(second)
                assert second.wait(20) == 1
        assert (run_dir / "demo" / "settings.env").exists()
        os.killpg(demo.pid, signal.SIGINT)
        rest(demo)
        assert demo.wait(20) == 130


@pytest.mark.parametrize("next_one", ["demo", "reset"])
def test_what_a_killed_demo_left_is_stopped_by_the_next_and_by_reset(
    run_dir: Path, next_one: str
) -> None:
    with command(run_dir, "demo") as demo:
        left = started(demo, run_dir)
        demo.kill()
        demo.wait()
    assert alive(left)
    if next_one == "reset":
        with command(run_dir, "reset", "--yes") as reset:
            assert "forgotten" in rest(reset)
            assert reset.wait(20) == 0
        assert not run_dir.exists()
    else:
        with command(run_dir, "demo") as demo:
            lines_until(demo, "servers are up after")
            demo.terminate()
            rest(demo)
            assert demo.wait(20) == 130
    assert alive(left) == set()
