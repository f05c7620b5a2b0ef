"""One server in the background: its pid file, its log, how it starts, stops and is found again."""

import json
import os
import pwd
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypedDict

import psutil

from svc.platform.errors import PlatformError

POLL_S = 0.02
READY_S_MAX = 30
STOP_S_MAX = 15
LOG_LINES_SHOWN = 15


# The servers that this process started, by log: whichever Daemon stops one must reap it.
_children: dict[Path, subprocess.Popen[bytes]] = {}


class Daemon:
    """A server that outlives the command which started it, and is adopted by the next."""

    def __init__(self, name: str, run_dir: Path) -> None:
        self.name = name
        self.pid_file = run_dir / f"{name}.pid"
        self.log = run_dir / "logs" / f"{name}.log"

    def process(self) -> psutil.Process | None:
        """The running process, if any; another that got its number later is not taken for it."""
        try:
            pid, created = json.loads(self.pid_file.read_text())
            process = psutil.Process(pid)
            same = abs(process.create_time() - created) < 1
        except (OSError, ValueError, psutil.NoSuchProcess):
            return None
        if not same or process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process

    def launch(
        self,
        command: Sequence[str | Path],
        *,
        user: str | None = None,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> None:
        """Start the process in a session of its own, so that the terminal's Ctrl-C passes it by."""
        self.log.parent.mkdir(mode=0o700, exist_ok=True)
        if self.log in _children:  # one that died
            _children.pop(self.log).wait()
        with self.log.open("ab") as log:
            child = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=directory or "/",
                env={**os.environ, **(environment or {})},
                **as_user(user),
            )
        _children[self.log] = child
        created = psutil.Process(child.pid).create_time()
        self.pid_file.write_text(json.dumps([child.pid, created]))

    def wait_ready(self, is_ready: Callable[[], bool]) -> None:
        """Return once `is_ready`; PlatformError, with the log's end, when it fails."""
        deadline = time.monotonic() + READY_S_MAX
        while not is_ready():
            child = _children.get(self.log)
            if child is not None and child.poll() is not None:
                raise PlatformError(f"{self.name} did not start:\n{self._log_end()}")
            if time.monotonic() > deadline:
                raise PlatformError(
                    f"{self.name} was not ready after {READY_S_MAX} s:\n{self._log_end()}"
                )
            time.sleep(POLL_S)

    def signal(self, number: signal.Signals) -> None:
        """Ask the process, if any, to stop (or to reload)."""
        process = self.process()
        if process is not None:
            process.send_signal(number)

    def wait_stopped(self) -> None:
        """Return when the process is gone; after STOP_S_MAX seconds it is killed."""
        process = self.process()
        if process is not None:
            try:
                process.wait(STOP_S_MAX)
            except psutil.TimeoutExpired:
                process.kill()
                process.wait(STOP_S_MAX)
        if self.log in _children:
            _children.pop(self.log).wait()
        self.pid_file.unlink(missing_ok=True)

    def _log_end(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        return "\n".join([*(f"  {line}" for line in lines), f"  (whole log: {self.log})"])


class Rights(TypedDict, total=False):
    """Arguments of subprocess that say as whom."""

    user: int
    group: int
    extra_groups: list[int]


def as_user(user: str | None) -> Rights:
    """Drop root's rights to this user's, with none of root's groups; None keeps what we have."""
    if user is None:
        return {}
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
