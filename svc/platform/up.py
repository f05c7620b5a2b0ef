"""Everything up: servers, databases, streams, then the Procfile; and down again on Ctrl-C."""

import asyncio
import contextlib
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import honcho.manager
import honcho.process
import psutil
from honcho.printer import Printer

from svc.platform import migrate, ports, ready, runner, streams
from svc.platform.errors import PlatformError
from svc.platform.installation import ROOT, Installation, prepare_default
from svc.platform.ports import OUTSIDE, SERVICES
from svc.platform.servers import running

PROCFILE = ROOT / "Procfile"
# A service drains what is in flight before it stops; only then it is killed.
DRAIN_S_MAX = 15
READY_S_MAX = 120
POLL_S = 0.1
ALREADY_UP = "already up from this directory (process {}); see it with: ./just doctor"


def up(names: Sequence[str] = (), *, use_overmind: bool = True) -> int:
    """Run the processes of the Procfile (all, or those named) until Ctrl-C or until one dies.

    Exit code 0 after Ctrl-C or SIGTERM, 1 when a process died. Servers that ran before stay up.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    # The terminal was closed: as SIGTERM, whoever handles that by then.
    signal.signal(signal.SIGHUP, _terminate)
    installation = prepare_default()
    commands = procfile(names)
    with runner.alone(installation.run_dir / runner.UP, ALREADY_UP) as one_was_killed:
        if one_was_killed:
            runner.stop_left_behind(installation)
        ports.require_free(_ports_of(installation, commands))
        print("starting servers", flush=True)
        try:
            with running(installation):
                try:
                    deploy(installation)
                    asked = _listen()
                    print(addresses(installation), flush=True)
                    return _run(installation, commands, asked, use_overmind=use_overmind)
                finally:
                    # A second Ctrl-C must not interrupt the servers' own stop; it takes a moment.
                    signal.signal(signal.SIGINT, signal.SIG_IGN)
                    print("stopping servers; data is kept", flush=True)
        except KeyboardInterrupt:
            return 0


def run_servers() -> int:
    """Run only the servers, in the foreground, until Ctrl-C or SIGTERM."""
    signal.signal(signal.SIGTERM, _interrupt)
    installation = prepare_default()
    try:
        with running(installation):
            print(addresses(installation), flush=True)
            signal.pause()
    except KeyboardInterrupt:
        pass
    return 0


def deploy(installation: Installation) -> None:
    """Bring databases and broker to the state of this checkout."""

    async def both() -> None:
        await migrate.migrate(installation)
        await streams.apply(installation)

    asyncio.run(both())


def procfile(names: Sequence[str] = ()) -> dict[str, str]:
    """Name -> command of the Procfile's lines, all or those named."""
    lines = (line.partition(":") for line in PROCFILE.read_text().splitlines() if line.strip())
    every = {name.strip(): command.strip() for name, _, command in lines}
    unknown = [name for name in names if name not in every]
    if unknown:
        raise PlatformError(f"not in the Procfile: {', '.join(unknown)}; known: {', '.join(every)}")
    return {name: every[name] for name in (names or every)}


def addresses(installation: Installation) -> str:
    """Where everything is, for the person who started it."""
    gateway = installation["GATEWAY_URL"]
    return "\n".join(
        [
            "",
            f"  gateway   {gateway}",
            f"  docs      {gateway}/docs",
            f"  gRPC      {installation['GATEWAY_GRPC']}",
            f"  NATS      {installation['NATS_URL']}   (./just nats micro ls)",
            f"  Postgres  {installation['DATABASE_URL']}   (./just psql)",
            '  secrets   eval "$(./just env)"',
            "  health    ./just doctor      logs: ./just logs      stop: Ctrl-C",
            "",
        ]
    )


def environment(installation: Installation) -> dict[str, str]:
    """Environment of processes: addresses, our interpreter first, small memory, prompt output."""
    path = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ.get('PATH', '')}"
    extra = {"PATH": path, "PYTHONUNBUFFERED": "1", "MALLOC_ARENA_MAX": "2"}
    return {**installation.environment(), **extra}


def _listen() -> list[int]:
    """From now on, note in what is returned who asks us to stop: an exception could get lost.

    It would be raised wherever we are, in a destructor too, where it is printed and forgotten.
    """
    asked: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _frame: asked.append(number))
    return asked


def _run(
    installation: Installation, commands: dict[str, str], asked: list[int], *, use_overmind: bool
) -> int:
    stopped = threading.Event()
    services = [name for name in commands if name in SERVICES]
    watcher = threading.Thread(target=_watch, args=(installation, services, stopped), daemon=True)
    watcher.start()
    try:
        if use_overmind and shutil.which("overmind") and shutil.which("tmux"):
            return _overmind(installation, commands, asked)
        return _honcho(installation, commands, asked)
    finally:
        stopped.set()
        watcher.join()


def _watch(installation: Installation, services: list[str], stopped: threading.Event) -> None:
    if not services:
        return
    # From the command's start, so with servers and migrations: what a person waits.
    since = time.monotonic() - (time.time() - psutil.Process().create_time())
    times = ready.wait_ready(
        installation, services, since=since, seconds_max=READY_S_MAX, stopped=stopped
    )
    ready.remember(installation.run_dir, times)
    missing = [name for name in services if name not in times]
    if not missing:
        print(f"everything is ready after {max(times.values())} s", flush=True)
    elif not stopped.is_set():
        print(
            f"not ready after {READY_S_MAX} s: {', '.join(missing)}; see ./just doctor", flush=True
        )


class _Printer(Printer):
    """Prints lines as honcho does, keeps each process's in a file, and notes who stopped first."""

    def __init__(self, logs: Path) -> None:
        super().__init__(sys.stdout)
        self.first_stopped: tuple[str, int] | None = None
        self._logs = logs

    def write(self, message: Any) -> None:
        """Take one line of a process, or what honcho says itself (name "system")."""
        if message.name == "system":
            stop = re.match(r"(\S+) stopped \(rc=(-?\d+)\)", message.data)
            if stop and self.first_stopped is None:
                self.first_stopped = stop[1], int(stop[2])
        else:
            data = message.data if isinstance(message.data, bytes) else message.data.encode()
            with (self._logs / f"{message.name}.log").open("ab") as log:
                log.write(data)
        # Whoever read us (`just up | head`) may have gone; the processes still need their stop.
        with contextlib.suppress(BrokenPipeError):
            super().write(message)


class _Process(honcho.process.Process):
    """honcho's, that leaves it to its parent to stop, from its first moment on."""

    def run(self, events: Any = None, ignore_signals: bool = False) -> None:
        """Run the command until it ends."""
        runner.let_go()
        # A handler, for what is ignored would be ignored by the command as well.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda _number, _frame: None)
        super().run(events, ignore_signals)


class _Manager(honcho.manager.Manager):
    """honcho's, made to stop in any moment and in bounded time.

    honcho acts in signal handlers, fails when some processes have not started yet, and counts its
    patience from the first that stops; here handlers only note, and the loop acts.
    """

    def __init__(self, printer: Printer, asked: list[int]) -> None:
        super().__init__(printer)
        self._process_ctor = _Process
        self._asked = asked
        self._handlers = [(n, signal.getsignal(n)) for n in (signal.SIGINT, signal.SIGTERM)]
        self._kill_at = math.inf

    def terminate(self) -> None:
        """Ask all to stop; when some have not even started, as soon as they have."""
        if not super()._all_started():
            self._asked.append(signal.SIGTERM)
            return
        if not self._terminating:
            self._kill_at = time.monotonic() + DRAIN_S_MAX
        super().terminate()

    def _start(self) -> None:
        for number, handler in self._handlers:  # honcho has just set its own
            signal.signal(number, handler)
        super()._start()

    def _all_started(self) -> bool:
        # honcho's loop asks this in each round.
        started = super()._all_started()
        if started and self._asked and not self._terminating:
            asked = honcho.manager.SIGNALS[signal.Signals(self._asked[0])]
            self._system_print(f"{asked['name']} received\n")
            self.returncode = asked["rc"]
            self.terminate()
        if time.monotonic() > self._kill_at:
            self._kill_at = math.inf
            self.kill()
        return started


def _honcho(installation: Installation, commands: dict[str, str], asked: list[int]) -> int:
    honcho.manager.KILL_WAIT = DRAIN_S_MAX
    printer = _Printer(installation.run_dir / "logs")
    manager = _Manager(printer, asked)
    for name, command in commands.items():
        manager.add_process(name, command, env=environment(installation), cwd=str(ROOT))
    try:
        manager.loop()
    finally:
        manager.terminate()
    if asked or printer.first_stopped is None:
        return 0
    name, code = printer.first_stopped
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    print(f"\n{name} {how}, so the others were stopped. Its last lines: ./just logs {name}")
    print("Data is kept; ./just up continues from there.", flush=True)
    return 1


def _overmind(installation: Installation, commands: dict[str, str], asked: list[int]) -> int:
    socket = installation.run_dir / "overmind.sock"
    # No port and restart after a crash: .overmind.env.
    command = ["overmind", "start", "-f", str(PROCFILE), "-s", str(socket)]
    command += ["-t", str(DRAIN_S_MAX), "-l", ",".join(commands)]
    with subprocess.Popen(command, cwd=ROOT, env=environment(installation)) as overmind:
        told = False
        while overmind.poll() is None:
            time.sleep(POLL_S)
            # The terminal's Ctrl-C reaches overmind too; only SIGTERM must be handed on.
            if signal.SIGTERM in asked and not told:
                overmind.terminate()
                told = True
    if asked or overmind.returncode == 0:
        return 0
    print("\novermind ended; what it said is above. ./just up continues from there.", flush=True)
    return 1


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _terminate(_number: int, _frame: object) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def _ports_of(installation: Installation, commands: dict[str, str]) -> dict[str, int]:
    names = [name for name in (*SERVICES, *OUTSIDE) if name in commands]
    if "gateway" in commands:
        names.append("gateway_grpc")
    return {f"{name.upper()}_PORT": installation.port(name) for name in names}
