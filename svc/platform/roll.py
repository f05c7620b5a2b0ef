"""`just roll`: every service begins anew, one after the other, while all of them are in use.

A second instance of a service takes over its calls and events; the first drains and begins anew as
the same process (SIGUSR2), so that whatever runs the processes notices nothing; then the second
goes. What does not start is not rolled: the second instance fails first, and nothing was touched.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import psutil

from svc.platform import ready, up
from svc.platform.doctor import processes
from svc.platform.errors import PlatformError
from svc.platform.installation import ROOT, Installation, prepare_default
from svc.platform.ports import HOST, SERVICES, free_ports

READY_S_MAX = 60
DRAINED_S_MAX = 30
POLL_S = 0.05


@dataclass(frozen=True)
class Unit:
    """A process and the services in it, which are rolled together."""

    process: psutil.Process
    names: tuple[str, ...]


def roll(names: Sequence[str] = (), installation: Installation | None = None) -> int:
    """Roll all services that run, or those named; PlatformError names the one that fails."""
    unknown = [name for name in names if name not in SERVICES]
    if unknown:
        raise PlatformError(f"no such service: {', '.join(unknown)}; there are: {SERVICES}")
    found = installation or prepare_default()
    units = [unit for unit in running(found) if not names or set(names) & set(unit.names)]
    missing = set(names) - {name for unit in units for name in unit.names}
    if missing or not units:
        raise PlatformError(f"{', '.join(sorted(missing)) or 'nothing'} runs; start: ./just up")
    for unit in units:
        began = time.monotonic()
        roll_one(found, unit)
        took = time.monotonic() - began
        print(f"{' '.join(unit.names)}: began anew ({took:.1f} s)", flush=True)
    return 0


def running(installation: Installation) -> list[Unit]:
    """The processes of this installation that run services, in the order of the services."""
    units: list[Unit] = []
    for process in processes(installation):
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            # A shell that starts one has the same words in its own.
            if "run" in words and words[-1] and "svc" in words and words[1] == "-m":
                chosen = words[words.index("run") + 1 :]
                names = SERVICES if "all" in chosen else tuple(n for n in SERVICES if n in chosen)
                # Another release stands beside the one that all use, and is no second of it.
                others = process.environ()
                names = tuple(n for n in names if not others.get(f"{n.upper()}_RELEASE"))
                if names:
                    units.append(Unit(process, names))
    return sorted(units, key=lambda unit: SERVICES.index(unit.names[0]))


def roll_one(installation: Installation, unit: Unit) -> None:
    """Begin one process anew, with a second one in its place meanwhile."""
    with ready.client_of(installation) as client, second(installation, unit, client):
        before = {name: instance(client, installation, name) for name in unit.names}
        unit.process.send_signal(signal.SIGUSR2)

        def new_and_ready() -> bool:
            if not unit.process.is_running():
                raise PlatformError(f"{unit.names[0]} ended instead; see ./just logs")
            now = {name: instance(client, installation, name) for name in unit.names}
            return all(now[name] and now[name] != before[name] for name in unit.names)

        _wait(new_and_ready, f"{' '.join(unit.names)} did not become ready again")


@contextmanager
def second(installation: Installation, unit: Unit, client: httpx.Client) -> Generator[None]:
    """Run the same services once more, at ports of their own, for as long as the block lasts."""
    free = free_ports()
    own = {f"{name.upper()}_PORT": free[f"{name.upper()}_PORT"] for name in unit.names}
    own["GATEWAY_GRPC_PORT"] = free["GATEWAY_GRPC_PORT"]
    environment = {**os.environ, **up.environment(installation), **own}
    log = installation.run_dir / "logs" / "roll.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "svc", "run", *unit.names],
            cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
    try:

        def is_ready() -> bool:
            if process.poll() is not None:
                raise PlatformError(f"{' '.join(unit.names)} does not start, so it was left: {log}")
            ports = [own[f"{name.upper()}_PORT"] for name in unit.names]
            urls = [f"{installation.scheme}://{HOST}:{port}/readyz" for port in ports]
            return all(_answer(client, url).get("status") == "ready" for url in urls)

        _wait(is_ready, f"a second {' '.join(unit.names)} did not become ready, see {log}")
        yield
    finally:
        process.terminate()
        try:
            process.wait(DRAINED_S_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def instance(client: httpx.Client, installation: Installation, name: str) -> str:
    """Which instance answers at a service's own port, or "" while none is ready."""
    url = f"{installation.scheme}://{HOST}:{installation.port(name)}/readyz"
    answer = _answer(client, url)
    return str(answer.get("instance", "")) if answer.get("status") == "ready" else ""


def _answer(client: httpx.Client, url: str) -> dict[str, object]:
    try:
        return client.get(url, headers={"connection": "close"}).json()
    except (httpx.HTTPError, ValueError):
        return {}


def _wait(done: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + READY_S_MAX
    while not done():
        if time.monotonic() > deadline:
            raise PlatformError(otherwise)
        time.sleep(POLL_S)
