"""Every service as a process of its own, started, killed and started again one by one."""

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO

from svc.platform import ready, up
from svc.platform.errors import PlatformError
from svc.platform.installation import ROOT, Installation
from svc.platform.ports import OUTSIDE, SERVICES

STOP_S_MAX = 15
LOG_TAIL_LINES = 15


class Fleet:
    """The processes of one installation; its servers must run already."""

    def __init__(self, installation: Installation, extra: Mapping[str, str] | None = None) -> None:
        """Nothing runs yet; `extra` is added to every process's environment."""
        self.installation = installation
        self.environment = {**up.environment(installation), **(extra or {})}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.logs: dict[str, BinaryIO] = {}

    def start(self, names: Iterable[str] = (*SERVICES, *OUTSIDE)) -> None:
        """Start these services and outside programs; returns at once."""
        for name in names:
            log = self.log_file(name).open("ab")
            command = "outside" if name in OUTSIDE else "run"
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "svc", command, name],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
            self.logs[name] = log

    def wait_ready(
        self,
        names: Iterable[str] = SERVICES,
        seconds_max: float = 60,
        stopped: threading.Event | None = None,
    ) -> dict[str, float]:
        """Wait until these services are ready, or `stopped`; returns the seconds that each took.

        Raises PlatformError with the end of the log of what did not come up.
        """
        wanted = [name for name in names if name in SERVICES]
        began = time.monotonic()
        deadline = began + seconds_max
        times: dict[str, float] = {}
        stop = stopped or threading.Event()
        while time.monotonic() < deadline and len(times) < len(wanted) and not stop.is_set():
            waiting = [name for name in wanted if name not in times]
            elapsed = time.monotonic() - began
            found = ready.wait_ready(self.installation, waiting, seconds_max=1, stopped=stop)
            times |= {name: round(elapsed + seconds, 1) for name, seconds in found.items()}
            for name in waiting:
                if self.processes[name].poll() is not None:
                    raise PlatformError(f"{name} ended while starting:\n{self.tail(name)}")
        missing = [name for name in wanted if name not in times]
        if missing:
            tails = "\n".join(self.tail(name) for name in missing)
            raise PlatformError(f"not ready after {seconds_max} s: {', '.join(missing)}\n{tails}")
        return times

    def kill(self, name: str) -> None:
        """Kill a process with SIGKILL, as a crash would."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()
        self.logs.pop(name).close()

    def stop(self, names: Iterable[str] | None = None) -> None:
        """Ask processes to end (SIGTERM), wait for their drain, kill what does not end."""
        chosen = list(self.processes) if names is None else list(names)
        for name in chosen:
            self.processes[name].send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_S_MAX
        for name in chosen:
            process = self.processes.pop(name)
            try:
                process.wait(max(deadline - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            self.logs.pop(name).close()

    def log_file(self, name: str) -> Path:
        """Return where a process writes its log."""
        return self.installation.run_dir / "logs" / f"{name}.log"

    def tail(self, name: str) -> str:
        """Return the last lines of a process's log."""
        with contextlib.suppress(OSError):
            lines = self.log_file(name).read_text(errors="replace").splitlines()
            return f"{name}: " + "\n".join(lines[-LOG_TAIL_LINES:])
        return f"{name}: no log"
