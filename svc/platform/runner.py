"""Who runs a directory's processes: one at a time; and what one that was killed left behind."""

import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import psutil

from svc.platform.errors import PlatformError
from svc.platform.installation import Installation, prepare, read
from svc.platform.servers import Servers, forget

STOP_S_MAX = 15
POLL_S = 0.05
UP = "up.pid"
UP_RUNS = "./just up is running (process {}); stop it with Ctrl-C first"
DEMO = "demo.pid"  # beside the demo's own directory, which it forgets
DEMO_RUNS = "a demo is running (process {}); wait for its end, or stop it with Ctrl-C"

_held: list[TextIO] = []


@contextmanager
def alone(path: Path, refusal: str) -> Generator[bool]:
    """Hold a file's lock while the block lasts, and tell in it who does.

    PlatformError, the refusal with the holder's number, when another process holds it. Yields
    whether the last who did was killed: what it ran may still run.
    """
    with path.open("a+") as file:
        _lock(file, refusal)
        file.seek(0)
        killed = bool(file.read())
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        _held.append(file)
        try:
            yield killed
        finally:
            _held.remove(file)
            file.truncate(0)


def require_unheld(path: Path, refusal: str) -> None:
    """Raise PlatformError, the refusal with the holder's number, while a process holds the lock."""
    if path.exists():
        with path.open() as file:
            _lock(file, refusal)


def is_held(path: Path) -> bool:
    """Whether a process holds the lock."""
    try:
        require_unheld(path, "")
    except PlatformError:
        return True
    return False


def let_go() -> None:
    """In a fork: leave the locks to our parent. They would be ours for as long as we live, too."""
    for file in _held:
        file.close()


def stop_left_behind(installation: Installation) -> None:
    """Stop what a runner that was killed left: services, outside programs, forks that read them."""
    forks, programs = _left_behind(installation)
    if not programs and not forks:
        return
    print(f"stopping {len(programs)} processes that were left running", flush=True)
    _send(programs, signal.SIGTERM)
    _wait_gone(programs)
    # A fork ends with its program, but not while nobody takes what it read.
    _send([*programs, *forks], signal.SIGKILL)
    _wait_gone([*programs, *forks])


def clear(run_dir: Path, environment: Mapping[str, str]) -> None:
    """Stop whatever still runs of a run directory, and forget it."""
    if read(run_dir):
        installation = prepare(run_dir, environment)
        stop_left_behind(installation)
        Servers(installation).stop()
    forget(run_dir)


def commands(run_dir: Path) -> list[tuple[psutil.Process, list[str]]]:
    """Every `python -m svc …` of a run directory but this one, with the words behind `svc`.

    Forks of `up` (one for each process, to read its output) look like `up` itself.
    """
    found: list[tuple[psutil.Process, list[str]]] = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            if "-m" not in words or "svc" not in words or process.pid == os.getpid():
                continue
            directory = process.environ().get("BETMESH_RUN") or Path(process.cwd()) / ".run"
        except (psutil.Error, OSError):
            continue
        if Path(directory).resolve() == run_dir:
            found.append((process, words[words.index("svc") + 1 :]))
    return found


def _left_behind(
    installation: Installation,
) -> tuple[list[psutil.Process], list[psutil.Process]]:
    """Forks of the runner, and the programs that they or overmind ran."""
    forks: list[psutil.Process] = []
    programs = _overmind(installation.run_dir)
    for process, words in commands(installation.run_dir):
        if words[:1] in (["run"], ["outside"]):
            programs.append(process)
        elif words[:1] == ["up"] and (below := _below(process)):
            forks.append(process)  # one with nothing below it is a second `up`, being refused
            programs += below
    return forks, list(dict.fromkeys(programs))


def _overmind(run_dir: Path) -> list[psutil.Process]:
    socket = str(run_dir / "overmind.sock")
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if socket in words and Path(words[0]).name == "overmind":
                found.append(process)
    return found


def _below(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def _send(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _lock(file: TextIO, refusal: str) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        raise PlatformError(refusal.format(file.read().strip())) from error


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _wait_gone(processes: list[psutil.Process]) -> None:
    deadline = time.monotonic() + STOP_S_MAX
    while time.monotonic() < deadline and any(map(_is_alive, processes)):
        time.sleep(POLL_S)
