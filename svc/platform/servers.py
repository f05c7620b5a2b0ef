"""NATS, Postgres and Valkey of one installation: start, adopt, stop; not those given elsewhere."""

import shutil
from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from svc.platform import ports, postgres_server
from svc.platform.daemon import Daemon
from svc.platform.installation import Installation, lock, prepare
from svc.platform.nats_server import PERMISSIONS, NatsServer
from svc.platform.postgres_server import PostgresServer
from svc.platform.valkey_server import ValkeyServer


class Server(Protocol):
    """What the three have in common."""

    variable: str
    daemon: Daemon

    def launch(self) -> None: ...
    def is_ready(self) -> bool: ...
    def ask_to_stop(self) -> None: ...


class Servers:
    """The servers that we run ourselves; those named in the environment are left alone."""

    def __init__(self, installation: Installation, permissions: Path = PERMISSIONS) -> None:
        self.installation = installation
        self.nats = NatsServer(installation, permissions)
        self.postgres = PostgresServer(installation)
        self.valkey = ValkeyServer(installation)
        every: dict[str, Server] = {
            "nats": self.nats,
            "postgres": self.postgres,
            "valkey": self.valkey,
        }
        self.own = {name: server for name, server in every.items() if name in installation.own}

    def start(self) -> list[str]:
        """Start what does not run yet, together, and wait until all answer; names of the started.

        Raises PlatformError when a port is taken or a server does not come up; what this call
        started is then stopped again.
        """
        with lock(self.installation.run_dir / ".servers.lock"):
            if "nats" not in self.own:
                self.nats.configure()  # for the person whose server it is, to take the users from
            missing = {n: s for n, s in self.own.items() if s.daemon.process() is None}
            ports.require_free({s.variable: self.installation.port(n) for n, s in missing.items()})
            try:
                for server in missing.values():
                    server.launch()
                for server in self.own.values():
                    server.daemon.wait_ready(server.is_ready)
            except BaseException:
                self._stop(missing)
                raise
            if "nats" in self.own and "nats" not in missing:
                # It may run with the permissions of an older checkout.
                self.nats.reload()
            return list(missing)

    def stop(self, names: Collection[str] | None = None) -> list[str]:
        """Stop what runs (all, or those named), losing nothing; names of the stopped."""
        with lock(self.installation.run_dir / ".servers.lock"):
            chosen = {n: s for n, s in self.own.items() if names is None or n in names}
            up = {n: s for n, s in chosen.items() if s.daemon.process() is not None}
            self._stop(up)
            return list(up)

    def _stop(self, servers: Mapping[str, Server]) -> None:
        for server in servers.values():
            server.ask_to_stop()
        for server in servers.values():
            server.daemon.wait_stopped()


@contextmanager
def running(installation: Installation, *, permissions: Path = PERMISSIONS) -> Generator[Servers]:
    """The servers of an installation for as long as the block lasts; those already up stay up."""
    servers = Servers(installation, permissions)
    started = servers.start()
    try:
        yield servers
    finally:
        servers.stop(started)


@contextmanager
def running_servers(
    run_dir: Path,
    port_table: Mapping[str, str] | None = None,
    *,
    permissions: Path = PERMISSIONS,
) -> Generator[Installation]:
    """The servers of a run directory, for as long as the block lasts (those already up stay up).

    `port_table` is environment variable -> port, as `ports.free_ports()` makes it; the process's
    own environment plays no part, so that a developer's shell can't lead a test to real data.
    """
    installation = prepare(run_dir, port_table or {})
    with running(installation, permissions=permissions):
        yield installation


def forget(run_dir: Path) -> None:
    """Remove the run directory and what lies outside for it; its servers must be stopped."""
    postgres_server.forget(run_dir)
    if run_dir.exists():
        shutil.rmtree(run_dir)
