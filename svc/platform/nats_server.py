"""nats-server: its configuration from the generated permissions and this installation's keys."""

import re
import shutil
import signal
import socket
import sysconfig
from pathlib import Path

from svc.platform import keys
from svc.platform.daemon import Daemon
from svc.platform.errors import PlatformError
from svc.platform.installation import ROOT, Installation
from svc.platform.ports import HOST

PERMISSIONS = ROOT / "jetstream" / "nats.conf"
CONNECT_S = 0.5
MAPPINGS = """\
# Generated from the bucket of policies by `just policy`; do not edit.
mappings {{
{}}}
"""
"""Empty, too: without the block a reload would keep the mappings of before."""


class NatsServer:
    """The broker, with JetStream on disk below the run directory."""

    variable = "NATS_PORT"

    def __init__(self, installation: Installation, permissions: Path = PERMISSIONS) -> None:
        self._installation = installation
        self._permissions = permissions
        self.daemon = Daemon("nats", installation.run_dir)

    def launch(self) -> None:
        """Start it; returns before it is ready."""
        # The Go collector otherwise lets the heap double before it looks.
        limit = {"GOMEMLIMIT": "192MiB"}
        self.daemon.launch([tool("nats-server"), "-c", self.configure()], environment=limit)

    def is_ready(self) -> bool:
        """Whether it greets clients; it does so only after JetStream has recovered."""
        port = self._installation.port("nats")
        try:
            with socket.create_connection((HOST, port), CONNECT_S) as connection:
                return connection.recv(5) == b"INFO "
        except OSError:
            return False

    def ask_to_stop(self) -> None:
        """Let it flush and close."""
        self.daemon.signal(signal.SIGINT)

    def reload(self) -> None:
        """Read permissions and mappings again, without a disconnect."""
        self.configure()
        self.daemon.signal(signal.SIGHUP)

    def configure(self) -> Path:
        """Write server.conf: our part, then the generated one, in one file.

        One file because nats-server resolves a variable only in the file that defines it, not in
        what that file includes; and only the variables in use, since it refuses any other.
        """
        if not self._permissions.exists():
            raise PlatformError(f"{self._permissions} is missing; write it with: ./just generate")
        permissions = self._permissions.read_text()
        users = sorted({name.lower() for name in re.findall(r"\$([A-Z_]+)_NKEY\b", permissions)})
        public = keys.ensure(self._installation.run_dir, (*users, "system"))
        directory = self._installation.run_dir / "nats"
        own = [
            *(f'{user.upper()}_NKEY: "{public[user]}"' for user in users),
            "server_name: betmesh",
            f"listen: {HOST}:{self._installation.port('nats')}",
            # A feed's API document of 4 MiB in base64; what the server still calls acceptable.
            "max_payload: 8MB",
            "write_deadline: 5s",
            # Time for clients to finish what is in flight before a stop.
            "lame_duck_duration: 30s",
            "lame_duck_grace_period: 1s",
            *self._tls(),
            "jetstream {",
            f'  store_dir: "{directory}"',
            "  max_memory_store: 64MB",
            "  max_file_store: 10GB",
            "}",
            f'accounts {{ SYS {{ users: [ {{ nkey: "{public["system"]}" }} ] }} }}',
            "system_account: SYS",
            'include "mappings.conf"',
        ]
        mappings = mappings_file(self._installation.run_dir)
        if not mappings.exists():
            mappings.write_text(MAPPINGS.format(""))
        path = directory / "server.conf"
        path.write_text("\n".join(own) + "\n\n" + permissions)
        return path

    def _tls(self) -> list[str]:
        """The server's certificate; whoever connects must show one of the same authority."""
        values = self._installation.values
        if not values.get("TLS_CERT"):
            return []
        return [
            "tls {",
            f'  cert_file: "{values["TLS_CERT"]}"',
            f'  key_file: "{values["TLS_KEY"]}"',
            f'  ca_file: "{values["TLS_CA"]}"',
            "  verify: true",
            "  timeout: 5",
            "}",
        ]


def mappings_file(run_dir: Path) -> Path:
    """Where the mapping of canaries lies (svc/platform/policy_routes.py), beside server.conf."""
    return run_dir / "nats" / "mappings.conf"


def tool(name: str) -> str:
    """Absolute path of a program that came as a wheel, else of the one on PATH."""
    beside = Path(sysconfig.get_path("scripts")) / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise PlatformError(f"{name} is missing in .venv; run: ./just setup")
    return found
