"""Watches the services' `/readyz` and remembers how long each took from the start."""

import json
import threading
import time
from collections.abc import Callable, Iterable
from http import HTTPStatus
from pathlib import Path

import httpx

from svc.mesh import tls
from svc.platform.installation import Installation
from svc.platform.ports import HOST, SERVICES

POLL_S = 0.1
ANSWER_S = 2
FILE = "ready.json"


def is_ready(client: httpx.Client, installation: Installation, service: str) -> bool:
    """Whether the service says that it and all it depends on can work."""
    try:
        url = f"{installation.scheme}://{HOST}:{installation.port(service)}/readyz"
        return client.get(url).status_code == HTTPStatus.OK
    except httpx.HTTPError:
        return False


def client_of(installation: Installation) -> httpx.Client:
    """A client for the services' own HTTP, encrypted or not, as the installation has it."""
    # trust_env off: a proxy of the shell must not come between us and loopback.
    trust = tls.http_context(installation.values)
    return httpx.Client(timeout=ANSWER_S, verify=trust, trust_env=False)


def wait_ready(
    installation: Installation,
    services: Iterable[str] = SERVICES,
    *,
    since: float | None = None,
    seconds_max: float = 60,
    stopped: threading.Event | None = None,
    seen: Callable[[str, float], None] = lambda _name, _seconds: None,
) -> dict[str, float]:
    """Seconds from `since` (a `time.monotonic`, default now) until each service was ready.

    Those missing in the answer never were, within seconds_max.
    """
    started = time.monotonic() if since is None else since
    waiting = list(services)
    ready: dict[str, float] = {}
    stop = stopped or threading.Event()
    with client_of(installation) as client:
        while waiting and time.monotonic() - started < seconds_max and not stop.is_set():
            for name in [name for name in waiting if is_ready(client, installation, name)]:
                waiting.remove(name)
                ready[name] = round(time.monotonic() - started, 1)
                seen(name, ready[name])
            if waiting:
                stop.wait(POLL_S)
    return ready


def remember(run_dir: Path, seconds: dict[str, float]) -> None:
    """Keep the times for `just doctor`."""
    (run_dir / FILE).write_text(json.dumps(seconds))


def remembered(run_dir: Path) -> dict[str, float]:
    """The times of the last start; empty when there was none."""
    try:
        return json.loads((run_dir / FILE).read_text())
    except (OSError, ValueError):
        return {}
