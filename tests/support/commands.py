"""The platform's commands as processes of their own, in whatever checkout."""

import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

Running = subprocess.Popen[str]


@contextmanager
def up(home: Path, *words: str, ports: dict[str, str] | None = None) -> Generator[Running]:
    """Run a command, `up` without words; it must have ended when the block does."""
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"} | (ports or {})
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "svc", *(words or ("up", "--honcho"))],
        cwd=home,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as command:
        try:
            yield command
            assert command.poll() is not None
        finally:
            if command.poll() is None:  # a failed test must not wait for it
                command.terminate()
                command.communicate()


def lines_until(command: Running, *wanted: str) -> list[str]:
    """What it prints until all wanted parts were there; a failure when it ends before."""
    assert command.stdout is not None
    missing = set(wanted)
    lines: list[str] = []
    for line in command.stdout:
        lines.append(" ".join(line.split()))
        missing -= {part for part in missing if part in lines[-1]}
        if not missing:
            return lines
    pytest.fail(f"never printed {missing}:\n" + "\n".join(lines))


def rest(command: Running) -> str:
    """What it prints from now on until it ends."""
    assert command.stdout is not None
    return command.stdout.read()


def alive(pids: set[int]) -> set[int]:
    """Those of them that run; one whose parent does not ask for its end ran."""
    found = [process for process in psutil.process_iter() if process.pid in pids]
    return {process.pid for process in found if process.status() != psutil.STATUS_ZOMBIE}
