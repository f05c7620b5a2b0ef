"""The one table of ports, and what is said when one of them is taken."""

import contextlib
import random
import socket
from collections.abc import Mapping

import psutil

from svc.platform.errors import PlatformError

HOST = "127.0.0.1"

# The order of the diagram; the gateway and the eleven behind it.
SERVICES = (
    "gateway",
    "identity",
    "sportsbook",
    "payment",
    "wallet",
    "marketing",
    "casino",
    "gaming",
    "notification",
    "reporting",
    "localization",
    "scheduler",
)
# Those with a database of their own.
DATABASES = (
    "identity",
    "sportsbook",
    "payment",
    "wallet",
    "marketing",
    "casino",
    "gaming",
    "notification",
    "reporting",
)
OUTSIDE = ("payment_provider", "sms_provider", "betradar")
SERVERS = {"nats": "NATS_PORT", "postgres": "POSTGRES_PORT", "valkey": "VALKEY_PORT"}

# Environment variable -> default. Every port is loopback except where GATEWAY_HOST says otherwise.
PORTS: dict[str, int] = {
    **{f"{name.upper()}_PORT": 8080 + number for number, name in enumerate(SERVICES)},
    "GATEWAY_GRPC_PORT": 50051,
    "NATS_PORT": 4222,
    "POSTGRES_PORT": 54329,
    "VALKEY_PORT": 63790,
    **{f"{name.upper()}_PORT": 9101 + number for number, name in enumerate(OUTSIDE)},
}
PORT_MAX = 65535

BLOCK = 32
# Of ports for installations beside others; the first of each says that the block is given away.
# Below the range from which systems give ports to outgoing connections, so that none of those
# takes one of ours between our look and the server's start.
BLOCKS = range(15000, 30000, BLOCK)


def resolve(*sources: Mapping[str, str]) -> dict[str, int]:
    """Port of every variable in `PORTS`: from the first source that names it, else its default."""
    found: dict[str, int] = {}
    for variable, default in PORTS.items():
        text = next((s[variable] for s in sources if s.get(variable)), str(default))
        if not text.isascii() or not text.isdigit() or not 0 < int(text) <= PORT_MAX:
            raise PlatformError(f"{variable} must be a port from 1 to {PORT_MAX}, not {text!r}")
        found[variable] = int(text)
    by_port: dict[int, str] = {}
    for variable, port in found.items():
        if port in by_port:
            raise PlatformError(f"{variable} and {by_port[port]} both ask for port {port}")
        by_port[port] = variable
    return found


def is_free(port: int, host: str = HOST) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket() as probe:
        # As servers do: a port whose last connections still wait for their end is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def require_free(ports: Mapping[str, int]) -> None:
    """Raise PlatformError naming each taken port, its holder and the variable that moves it."""
    taken = [(variable, port) for variable, port in ports.items() if not is_free(port)]
    if not taken:
        return
    lines = [
        f"port {port} ({variable}) is taken by {holder(port)}; "
        f"stop that, or move ours: {variable}=<another port> ./just up"
        for variable, port in taken
    ]
    raise PlatformError("\n".join(lines))


def holder(port: int) -> str:
    """Who listens on the port, as far as the system tells us."""
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if connection.status != psutil.CONN_LISTEN or connection.laddr[1:2] != (port,):
                continue
            if connection.pid is None:
                break
            process = psutil.Process(connection.pid)
            words = " ".join(process.cmdline())[:80] or process.name()
            return f"process {connection.pid} ({words})"
    return "another process"


def free_ports() -> dict[str, str]:
    """A free port for every variable of the table, for an installation beside others (tests).

    No other call gives them, in whatever process, as long as this process lives.
    """
    for start in random.sample(BLOCKS, len(BLOCKS)):
        guard = socket.socket()
        try:
            guard.bind((HOST, start))
        except OSError:
            guard.close()
            continue
        ports = range(start + 1, start + BLOCK)
        if all(is_free(port) for port in ports):
            guard.detach()  # stays bound until the process ends
            return {variable: str(port) for variable, port in zip(PORTS, ports, strict=False)}
        guard.close()
    raise PlatformError(f"no {BLOCK} ports in a row are free from {BLOCKS.start} on")
