"""Ways to look inside: psql, the nats CLI, logs; and how to forget everything."""

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

import psutil

from svc.mesh import tls
from svc.platform import postgres_server, runner
from svc.platform.errors import PlatformError
from svc.platform.installation import default_run_dir, prepare_default, read
from svc.platform.ports import DATABASES

LINES_SHOWN = "200"


def psql(arguments: Sequence[str]) -> int:
    """Open psql as a service's role, else as the reader of all databases; the rest goes to psql."""
    installation = prepare_default()
    rest = list(arguments)
    variable = "DATABASE_URL"
    if rest and rest[0] in DATABASES:
        variable = f"{rest.pop(0).upper()}_DATABASE_URL"
    elif rest and not rest[0].startswith("-"):
        raise PlatformError(f"{rest[0]!r} has no database; those that have: {', '.join(DATABASES)}")
    url = urlsplit(installation[variable])
    # In the environment, since everybody may read the arguments of a process.
    connection = {
        "PGHOST": url.hostname or "",
        "PGPORT": str(url.port or 5432),
        "PGUSER": unquote(url.username or ""),
        "PGPASSWORD": unquote(url.password or ""),
        "PGDATABASE": url.path.strip("/"),
        **{f"PG{name.upper()}": value for name, value in parse_qsl(url.query)},
    }
    program = shutil.which("psql") or str(postgres_server.software() / "bin" / "psql")
    os.execve(program, [program, *rest], {**os.environ, **connection})  # noqa: S606  # no shell


def nats(arguments: Sequence[str]) -> int:
    """Run the nats CLI as the operator; without it say how to get it, exit code 1."""
    program = shutil.which("nats")
    if program is None:
        raise PlatformError(
            "the nats CLI is not on PATH. It is a Go program:\n"
            "  go install github.com/nats-io/natscli/nats@latest\n"
            "(add the directory that `go env GOPATH` names, with /bin, to PATH). "
            "Without it, ./just doctor tells the most of it."
        )
    installation = prepare_default()
    # A context that the person selected for another server must not mix in.
    command = [program, "--no-context", "--server", installation["NATS_URL"]]
    command += ["--nkey", installation["OPERATOR_NKEY_FILE"], "--inbox-prefix=_INBOX.operator"]
    if authority := tls.path_of(installation.values, "NATS", "CA"):
        command += [f"--tlsca={authority}"]
    for kind in ("cert", "key"):
        if path := tls.path_of(installation.values, "NATS", kind.upper()):
            command += [f"--tls{kind}={path}"]
    os.execv(program, [*command, *arguments])  # noqa: S606  # no shell


def logs(arguments: Sequence[str]) -> int:
    """Print the end of the logs of all servers and services, or of those named; -f follows."""
    directory = default_run_dir() / "logs"
    follow = [word for word in arguments if word in ("-f", "--follow")]
    names = [word for word in arguments if word not in follow]
    known = {path.stem: path for path in sorted(directory.glob("*.log"))}
    unknown = [name for name in names if name not in known]
    if unknown or not known:
        there = ", ".join(known) or "none yet; start with ./just up"
        raise PlatformError(f"no log of {', '.join(unknown) or 'anything'}; there are: {there}")
    files = [str(known[name]) for name in names or known]
    count = LINES_SHOWN if names else "20"
    os.execvp("tail", ["tail", "-n", count, *(["-F"] if follow else []), *files])  # noqa: S606, S607  # POSIX


def reset(*, yes: bool) -> int:
    """Stop the servers and forget data, keys and secrets; asks first at a terminal."""
    run_dir = default_run_dir()
    demo = run_dir / "demo"
    if not read(run_dir) and not read(demo):
        print(f"nothing to forget in {run_dir}")
        return 0
    refuse_while_up()
    runner.require_unheld(run_dir / runner.DEMO, runner.DEMO_RUNS)
    tests = [path for path in run_dir.glob("test-*") if is_test_run_alive(path)]
    if tests:
        raise PlatformError(f"a test run is using {tests[0]}; wait for its end, or stop it")
    if not yes and sys.stdin.isatty():
        answer = input(f"forget all data, keys and secrets in {run_dir}? [y/N] ")
        if answer.strip().lower() not in ("y", "yes"):
            print("nothing was changed")
            return 1
    with (
        runner.alone(run_dir / runner.UP, runner.UP_RUNS),
        runner.alone(run_dir / runner.DEMO, runner.DEMO_RUNS),
    ):
        runner.clear(demo, {})
        runner.clear(run_dir, os.environ)
    print(f"forgotten: {run_dir}. Servers that were named in the environment were left alone.")
    return 0


def is_test_run_alive(path: Path) -> bool:
    """Whether the process that a test run's directory is named for, test-<pid>..., still runs."""
    pid = path.name.split("-")[1]
    return pid.isdigit() and psutil.pid_exists(int(pid))


def refuse_while_up() -> None:
    """Raise PlatformError while `just up` runs from this run directory."""
    runner.require_unheld(default_run_dir() / runner.UP, runner.UP_RUNS)
