"""Installs Moleculer by npm into `.run` once, and runs both of its sides."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from svc.platform.installation import ROOT
from tests.bench.stage import READY_S_MAX, Child, Loader, Stage

HERE = Path(__file__).parent
INSTALLED = ROOT / ".run" / "moleculer"
INSTALL_S_MAX = 120


class AbsentError(Exception):
    """Moleculer cannot run here; the text says why."""


def versions() -> dict[str, str]:
    """Return the pinned versions, and that of node where it is there."""
    pinned: dict[str, str] = json.loads((HERE / "package.json").read_text())["dependencies"]
    found = {f"npm:{name}": version for name, version in pinned.items()}
    if node := shutil.which("node"):
        asked = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
        found["node"] = asked.stdout.strip()
    return found


async def install() -> str:
    """Install the pinned versions; return where node is. Raises AbsentError."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise AbsentError("node and npm are not on PATH")
    wanted = (HERE / "package.json").read_text()
    package = INSTALLED / "package.json"
    if not (INSTALLED / "complete").exists() or package.read_text() != wanted:
        INSTALLED.mkdir(parents=True, exist_ok=True)
        package.write_text(wanted)
        command = [npm, "install", "--no-audit", "--no-fund", "--loglevel=error"]
        try:
            done = await asyncio.to_thread(
                subprocess.run,
                command,
                cwd=INSTALLED,
                capture_output=True,
                text=True,
                timeout=INSTALL_S_MAX,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            raise AbsentError(f"npm install took more than {INSTALL_S_MAX} s") from late
        if done.returncode:
            raise AbsentError("npm install failed: " + " ".join(done.stderr.split())[:200])
        (INSTALLED / "complete").touch()
    return node


@asynccontextmanager
async def both_sides(stage: Stage, *options: str) -> AsyncGenerator[tuple[Child, Loader]]:
    """Run the service and the load generator; raises AbsentError.

    `options` is "metrics" for Moleculer's own metrics, which are off as it comes.
    """
    node = await install()
    peer = str(HERE / "peer.js")
    async with (
        stage.process(
            "moleculer", (peer, "server", *options), program=node, directory=INSTALLED
        ) as server,
        stage.process(
            "moleculer-client", (peer, "client", *options), program=node, directory=INSTALLED
        ) as client,
    ):  # fmt: skip
        await server.line(READY_S_MAX)
        await client.line(READY_S_MAX)
        yield server, Loader(client)
