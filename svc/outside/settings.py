"""Settings of the outside programs: the environment first, then the installation's file."""

import os
from collections.abc import Mapping
from pathlib import Path


def load(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return all settings; a variable that is set to nothing counts as not set.

    The file is `$BETMESH_RUN/settings.env` (default `.run`), one KEY=value per line; values are
    taken as they are. A file that is absent is no error: all may come from the environment.
    """
    file = Path(environment.get("BETMESH_RUN") or ".run") / "settings.env"
    found: dict[str, str] = {}
    if file.exists():
        for line in file.read_text(encoding="utf-8").splitlines():
            name, equals, value = line.partition("=")
            if equals and not line.startswith("#"):
                found[name.strip()] = value.strip()
    return found | {name: value for name, value in environment.items() if value}


def need(settings: Mapping[str, str], name: str) -> str:
    """Return a setting that has no default; end the program with a clear sentence without it."""
    if name not in settings:
        message = f"{name} is set neither in the environment nor in $BETMESH_RUN/settings.env"
        raise SystemExit(message)
    return settings[name]


def port(settings: Mapping[str, str], name: str, default: int) -> int:
    """Return a TCP port; end the program with a clear sentence when it is not one."""
    text = settings.get(name, str(default))
    if not text.isdecimal() or int(text) > 65535:  # noqa: PLR2004 - the largest port
        message = f"{name} is not a port: {text!r}"
        raise SystemExit(message)
    return int(text)


def gateway_url(settings: Mapping[str, str]) -> str:
    """Return where the platform's only door is, without a slash at the end."""
    host = settings.get("GATEWAY_HOST", "127.0.0.1")
    default = f"http://{host}:{port(settings, 'GATEWAY_PORT', 8080)}"
    return settings.get("GATEWAY_URL", default).rstrip("/")
