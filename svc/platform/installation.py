"""One installation: its run directory and `settings.env`, every address and secret, made once."""

import fcntl
import os
import secrets
import shlex
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, quote, urlsplit

from svc.mesh import tls
from svc.platform import keys, ports
from svc.platform.errors import PlatformError
from svc.platform.ports import DATABASES, HOST, OUTSIDE

ROOT = Path(__file__).resolve().parents[2]
FILE = "settings.env"

# Random per installation; the prefixes are those that the real providers use.
SECRETS: dict[str, Callable[[], str]] = {
    "GRPC_API_KEY": lambda: secrets.token_urlsafe(24),
    "BETRADAR_TOKEN": lambda: secrets.token_urlsafe(24),
    "PAYMENT_WEBHOOK_SECRET": lambda: "whsec_" + secrets.token_hex(24),
    "PAYMENT_PROVIDER_KEY": lambda: "sk_test_" + secrets.token_hex(24),
    "SMS_ACCOUNT": lambda: "AC" + secrets.token_hex(16),
    "SMS_WEBHOOK_TOKEN": lambda: secrets.token_hex(16),
    "ADMIN_EMAIL": lambda: "admin@betmesh.example",
    "ADMIN_PASSWORD": lambda: secrets.token_urlsafe(18),
}
# What `just env` prints: all that a client of a running `just up` needs.
FOR_CLIENTS = (
    "GATEWAY_URL",
    "GATEWAY_GRPC",
    "GRPC_API_KEY",
    "NATS_URL",
    "OPERATOR_NKEY_FILE",
    "BETRADAR_TOKEN",
    "PAYMENT_WEBHOOK_SECRET",
    "SMS_WEBHOOK_TOKEN",
    "ADMIN_EMAIL",
    "ADMIN_PASSWORD",
    "DATABASE_URL",
    "REDIS_URL",
)
FOR_TLS_CLIENTS = ("TLS_CA", "TLS_CERT", "TLS_KEY")


@dataclass(frozen=True)
class Installation:
    """What holds for every process started from this run directory."""

    run_dir: Path
    values: Mapping[str, str]
    # Which of nats, postgres, valkey we start ourselves; the others were named in the environment.
    own: frozenset[str]

    def __getitem__(self, key: str) -> str:
        return self.values[key]

    @property
    def scheme(self) -> str:
        """What the services' own HTTP speaks."""
        return (
            "https" if self.values.get("TLS_CERT") or self.values.get("HTTP_TLS_CERT") else "http"
        )

    def port(self, name: str) -> int:
        """Port of a service, server or outside program."""
        return int(self.values[f"{name.upper()}_PORT"])

    def environment(self) -> dict[str, str]:
        """Environment for processes: ours, over what a shell kept from an older `just env`."""
        return {**os.environ, **self.values, "BETMESH_RUN": str(self.run_dir)}


def default_run_dir() -> Path:
    """`BETMESH_RUN`, or `.run` in the checkout."""
    return Path(os.environ.get("BETMESH_RUN") or ROOT / ".run").resolve()


def read(run_dir: Path) -> dict[str, str]:
    """The KEY=value lines of settings.env; empty when there is none yet."""
    try:
        text = (run_dir / FILE).read_text()
    except FileNotFoundError:
        return {}
    except PermissionError as error:
        raise PlatformError(f"{run_dir / FILE} belongs to another user: {error}") from error
    pairs = (line.partition("=") for line in text.splitlines() if not line.startswith("#"))
    return {key: value for key, separator, value in pairs if separator}


def prepare(run_dir: Path, environment: Mapping[str, str]) -> Installation:
    """Make or complete run directory, settings.env and NATS keys; a second time changes nothing.

    Secrets stay as the file has them. Ports come from the environment, else the file, else the
    table; addresses follow from the ports, so that moving one moves all that mention it.
    """
    run_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
    (run_dir / "logs").mkdir(mode=0o700, exist_ok=True)
    with lock(run_dir / ".lock"):
        keys.ensure(run_dir)
        old = read(run_dir)
        kept: dict[str, str] = {}
        for key, make in SECRETS.items():
            kept[key] = old.get(key) or environment.get(key) or make()
        values, own = _addresses(run_dir, environment, old)
        values.update(kept)
        _write(run_dir / FILE, values)
    for key in SECRETS:
        values[key] = environment.get(key) or values[key]
    return Installation(run_dir, values, own)


def prepare_default() -> Installation:
    """The installation of this checkout and environment."""
    return prepare(default_run_dir(), os.environ)


@contextmanager
def lock(path: Path) -> Generator[None]:
    """Hold the file's lock, waiting for whoever holds it; given back even when we are killed."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def exports(values: Mapping[str, str]) -> str:
    """What a client needs, as lines for `eval` in a shell."""
    names = [*FOR_CLIENTS, *(name for name in FOR_TLS_CLIENTS if values.get(name))]
    return "\n".join(f"export {key}={shlex.quote(values[key])}" for key in names)


def _addresses(
    run_dir: Path, environment: Mapping[str, str], old: Mapping[str, str]
) -> tuple[dict[str, str], frozenset[str]]:
    table = ports.resolve(environment, old)
    values = {variable: str(port) for variable, port in table.items()}
    host = environment.get("GATEWAY_HOST") or old.get("GATEWAY_HOST") or HOST
    values["GATEWAY_HOST"] = host
    reached = HOST if host in ("", "0.0.0.0", "::") else host  # noqa: S104  # compared, not bound
    values |= _certificates(environment, old)
    scheme = "https" if values.get("TLS_CERT") or values.get("HTTP_TLS_CERT") else "http"
    values["GATEWAY_URL"] = f"{scheme}://{reached}:{table['GATEWAY_PORT']}"
    values["GATEWAY_GRPC"] = f"{reached}:{table['GATEWAY_GRPC_PORT']}"
    values["OPERATOR_NKEY_FILE"] = str(keys.seed_file(run_dir, "operator"))
    for program, variable in zip(
        OUTSIDE, ("PAYMENT_PROVIDER_URL", "SMS_PROVIDER_URL", "BETRADAR_URL"), strict=True
    ):
        own_url = f"http://{HOST}:{table[f'{program.upper()}_PORT']}"
        values[variable] = environment.get(variable) or own_url

    for key in ("OWN_POSTGRES_PASSWORD", "OWN_VALKEY_PASSWORD"):
        values[key] = old.get(key) or secrets.token_hex(16)
    # Ours before and still the same: a shell that evaluated `just env` before a port was moved.
    before = set(old.get("OWN_SERVERS", "").split(","))
    own: set[str] = set()
    nats = environment.get("NATS_URL", "")
    if _is_ours(nats, table["NATS_PORT"]) or ("nats" in before and nats == old.get("NATS_URL")):
        own.add("nats")
        nats = f"{'tls' if values.get('TLS_CERT') else 'nats'}://{HOST}:{table['NATS_PORT']}"
    values["NATS_URL"] = nats

    redis = environment.get("REDIS_URL", "")
    if _is_ours(redis, table["VALKEY_PORT"]) or (
        "valkey" in before and redis == old.get("REDIS_URL")
    ):
        own.add("valkey")
        password = values["OWN_VALKEY_PASSWORD"]
        redis = f"redis://:{password}@{HOST}:{table['VALKEY_PORT']}/0"
    values["REDIS_URL"] = redis

    if _database_addresses(values, environment, old, was_own="postgres" in before):
        own.add("postgres")
    values["OWN_SERVERS"] = ",".join(sorted(own))
    return values, frozenset(own)


def _certificates(environment: Mapping[str, str], old: Mapping[str, str]) -> dict[str, str]:
    """Paths of certificates, as given now or before; one that is given as nothing is forgotten."""
    found: dict[str, str] = {}
    for what in ("", "NATS_", "HTTP_", "GRPC_"):
        for kind in tls.KINDS:
            name = f"{what}TLS_{kind}"
            path = environment.get(name, old.get(name, ""))
            if path:
                found[name] = str(Path(path).resolve())
    every = [name for name in ("TLS_CA", "TLS_CERT", "TLS_KEY") if name in found]
    if every and len(every) < len(tls.KINDS):
        raise PlatformError(f"of TLS_CA, TLS_CERT and TLS_KEY only {', '.join(every)} is given")
    return found


def _database_addresses(
    values: dict[str, str],
    environment: Mapping[str, str],
    old: Mapping[str, str],
    *,
    was_own: bool,
) -> bool:
    """Fill in the URL of every role; True when the server is our own."""
    port = int(values["POSTGRES_PORT"])
    admin = environment.get("DATABASE_URL", "")
    # A shell that evaluated `just env` names the reader's role; the administrator's is in the file.
    from_env_recipe = bool(admin) and admin == old.get("DATABASE_URL")
    if from_env_recipe:
        admin = old["ADMIN_DATABASE_URL"]
    own = _is_ours(admin, port) or (from_env_recipe and was_own)
    if own:
        password = values["OWN_POSTGRES_PASSWORD"]
        admin = f"postgresql://postgres:{password}@{HOST}:{port}/postgres"
    values["ADMIN_DATABASE_URL"] = admin
    server = urlsplit(admin)
    values["DATABASE_URL"] = role_url(
        server, "reader", _password(old.get("DATABASE_URL")), server.path.strip("/") or "postgres"
    )
    for name in DATABASES:
        variable = f"{name.upper()}_DATABASE_URL"
        given = urlsplit(environment.get(variable, ""))
        if given.hostname and (given.hostname, given.port) != (server.hostname, server.port):
            values[variable] = given.geturl()  # this service's database has moved elsewhere
        else:
            values[variable] = role_url(server, name, _password(old.get(variable)), name)
    return own


def role_url(server: SplitResult, role: str, password: str, database: str) -> str:
    """URL of the same server for another role and database."""
    address = server.netloc.rpartition("@")[2]
    netloc = f"{quote(role, safe='')}:{quote(password, safe='')}@{address}"
    return server._replace(scheme="postgresql", netloc=netloc, path=f"/{database}").geturl()


def _is_ours(given: str, own_port: int) -> bool:
    """Whether nothing was given, or the address of the server that we start ourselves."""
    if not given:
        return True
    try:
        parts = urlsplit(given)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise PlatformError(f"not a server's address: {error}") from error
    if host is None:
        raise PlatformError("a server's address must have scheme and host, as nats://host:4222 has")
    return host in (HOST, "localhost", "::1") and port == own_port


def _password(url: str | None) -> str:
    return (urlsplit(url).password if url else None) or secrets.token_hex(16)


def _write(path: Path, values: Mapping[str, str]) -> None:
    lines = [
        "# Addresses and secrets of this installation, made at its first start; `just reset`",
        "# forgets them. A process reads its environment first, then this file. To move a port,",
        "# start once with its variable set; to return to the default, delete its line here.",
        *(f"{key}={value}" for key, value in values.items()),
    ]
    text = "\n".join(lines) + "\n"
    if path.exists() and path.read_text() == text:
        return
    partial = path.with_suffix(".new")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
