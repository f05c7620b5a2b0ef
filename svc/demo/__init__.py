"""`./just demo`: everything up, the diagram's four flows driven and observed, everything down."""

import asyncio
import os
import signal
import sys
import threading
import time
from pathlib import Path

from rich.console import Console

from svc.demo.client import DemoFailed
from svc.demo.report import print_arrows, print_flow
from svc.demo.session import Outcome, drive, listening
from svc.generate.readme import record_transcript
from svc.platform import runner, up
from svc.platform.errors import PlatformError
from svc.platform.fleet import Fleet
from svc.platform.installation import Installation, default_run_dir
from svc.platform.ports import free_ports
from svc.platform.servers import forget, running_servers

WIDTH = 110
"""Columns where the output goes to a file."""


def main(arguments: list[str]) -> int:
    """Run the demo; exit code 0 when every arrow of the diagram was seen, 1 when not."""
    if arguments not in ([], ["--record"]):
        print(
            f"demo takes no arguments but --record (write the transcript into README.md), "
            f"not: {' '.join(arguments)}",
            file=sys.stderr,
        )
        return 2
    recording = bool(arguments)
    terminal = sys.stdout.isatty() and not recording
    console = Console(highlight=False, width=None if terminal else WIDTH, record=recording)
    run_dir = default_run_dir() / "demo"
    run_dir.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    # The terminal was closed, or we are asked to end: as Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda _number, _frame: os.kill(os.getpid(), signal.SIGINT))
    with runner.alone(run_dir.parent / runner.DEMO, runner.DEMO_RUNS):
        return _shown(console, run_dir, recording=recording)


def _shown(console: Console, run_dir: Path, *, recording: bool) -> int:
    try:
        code = _run(console, run_dir)
        if recording and code == 0:
            record_transcript(console.export_text())
        return code
    except (PlatformError, DemoFailed) as failure:
        console.print(f"demo failed: {failure}", style="bold red", markup=False)
        console.print(f"logs: {run_dir / 'logs'}; what runs and what is missing: ./just doctor")
        return 1
    except KeyboardInterrupt:
        console.print("stopped")
        return 130


def _run(console: Console, run_dir: Path) -> int:
    started = time.monotonic()
    runner.clear(run_dir, {})  # an earlier demo may have been killed
    with running_servers(run_dir, free_ports()) as installation:
        fleet = Fleet(installation)
        try:
            up.deploy(installation)
            console.print(f"servers are up after {time.monotonic() - started:.1f} s")
            outcome = asyncio.run(_observe(console, installation, fleet))
        finally:
            # A second signal must not interrupt the stop; it takes a moment.
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            fleet.stop()
    for result in outcome.flows:
        print_flow(console, result)
    console.print(f"everything is stopped again; {time.monotonic() - started:.0f} s in all")
    print_arrows(console, outcome)
    if not outcome.missing:
        forget(run_dir)
    return 1 if outcome.missing else 0


async def _observe(console: Console, installation: Installation, fleet: Fleet) -> Outcome:
    async with listening(installation) as wiretap:
        fleet.start()
        with console.status("twelve services start"):
            stopped = threading.Event()
            try:
                times = await asyncio.to_thread(fleet.wait_ready, stopped=stopped)
            finally:
                stopped.set()
        console.print(f"twelve services are ready after {max(times.values()):.1f} s")
        return await drive(installation, wiretap, console.print)
