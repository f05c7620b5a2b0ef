"""Makes .venv from requirements.lock; ./just runs it with any Python, so standard library only."""

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
STAMP = VENV / ".installed"
LOCK = ROOT / "requirements.lock"
LOG = VENV / "install.log"
SHOW_EVERY_LINES = 10


def main(wanted: str) -> int:
    """Bring .venv to the state that `wanted` (lock's checksum, directory) names; 0 when it is."""
    with LOCK.open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another ./just is setting up .venv; waiting for it", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        if _stamp() == wanted and (VENV / "bin" / "just").exists():
            return 0
        return _install(wanted)


def _stamp() -> str:
    try:
        return STAMP.read_text().strip()
    except OSError:
        return ""


def _install(wanted: str) -> int:
    started = time.monotonic()
    # Without a stamp of this directory an install was interrupted (pip takes a half-copied package
    # for a whole one) or the checkout was moved: begin anew. Else only differences are installed.
    kept = _stamp().endswith(f" {ROOT}") and (VENV / "bin" / "python").exists()
    print(
        f"betmesh: {'refreshing' if kept else 'making'} .venv from requirements.lock",
        file=sys.stderr,
    )
    if not kept:
        made = subprocess.run(
            [sys.executable, "-m", "venv", "--clear", str(VENV)],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode != 0:
            print(made.stdout + made.stderr, file=sys.stderr)
            print(
                "Python's venv module is incomplete (Debian, Ubuntu: apt install python3-venv)",
                file=sys.stderr,
            )
            return 1
    STAMP.unlink(missing_ok=True)
    code = _pip()
    if code != 0:
        print(
            f"pip failed; its whole output is in {LOG}. Run ./just again to retry.", file=sys.stderr
        )
        return code
    STAMP.write_text(wanted + "\n")
    print(f"betmesh: .venv is ready after {time.monotonic() - started:.0f} s", file=sys.stderr)
    return 0


def _pip() -> int:
    command = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--require-hashes"]
    command += ["--progress-bar", "off", "--no-input", "-r", str(LOCK)]
    environment = {
        k: v
        for k, v in os.environ.items()
        if k not in ("PIP_USER", "PIP_TARGET", "PYTHONHOME", "PYTHONPATH")
    }
    environment["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    total = sum("==" in line and not line.startswith("#") for line in LOCK.read_text().splitlines())
    seen = 0
    tail: list[str] = []
    with (
        LOG.open("w") as log,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            cwd=ROOT,
        ) as pip,
    ):
        assert pip.stdout is not None
        for line in pip.stdout:
            log.write(line)
            tail = [*tail[-20:], line]
            if line.startswith(("Collecting", "Requirement already")):
                seen += 1
                _show(seen, total, line.split("==")[0].split()[-1])
            elif line.startswith("Installing"):
                print(f"\n  unpacking {seen} packages", file=sys.stderr, flush=True)
    if pip.returncode != 0:
        print("\n" + "".join(tail), file=sys.stderr)
    return pip.returncode


def _show(seen: int, total: int, name: str) -> None:
    if sys.stderr.isatty():
        print(
            f"\r  fetching {seen} of about {total}: {name:<40}", end="", file=sys.stderr, flush=True
        )
    elif seen % SHOW_EVERY_LINES == 1:
        print(f"  fetching {seen} of about {total}: {name}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1]))
    except KeyboardInterrupt:
        print("\ninterrupted; run ./just again to begin anew", file=sys.stderr)
        sys.exit(130)
