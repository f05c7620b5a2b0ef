"""One database and one role per service, each brought by dbmate to the state of this checkout."""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg

from svc.platform.errors import PlatformError
from svc.platform.installation import ROOT, Installation
from svc.platform.nats_server import tool
from svc.platform.ports import DATABASES, HOST

MIGRATIONS = ROOT / "svc"
AT_ONCE = 4
READER = "reader"

Say = Callable[[str], None]


async def migrate(
    installation: Installation, say: Say = print, migrations: Path = MIGRATIONS
) -> None:
    """Create what roles and databases are missing, then apply what migrations are pending.

    Raises PlatformError with dbmate's own words when a migration fails; what it had done is then
    rolled back, and the other databases are as complete as they can be.
    """
    started = time.monotonic()
    await _roles_and_databases(installation)
    limit = asyncio.Semaphore(AT_ONCE)

    async def one(name: str) -> int:
        async with limit:
            url = installation[f"{name.upper()}_DATABASE_URL"]
            # Two tables of what is applied: both directories number theirs from 0001.
            applied = await _dbmate(name, url, migrations / "mesh", "mesh_migrations")
            return applied + await _dbmate(name, url, migrations / name, "schema_migrations")

    outcomes = await asyncio.gather(*map(one, DATABASES), return_exceptions=True)
    failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    if failures:
        raise PlatformError("\n".join(map(str, failures))) from failures[0]
    changed = {n: c for n, c in zip(DATABASES, outcomes, strict=True) if isinstance(c, int) and c}
    for name, count in changed.items():
        say(f"  {name}: {count} migration{'s' if count > 1 else ''} applied")
    say(f"databases: {len(DATABASES)} up to date ({time.monotonic() - started:.1f} s)")


async def _roles_and_databases(installation: Installation) -> None:
    try:
        admin = await asyncpg.connect(installation["ADMIN_DATABASE_URL"], timeout=10)
    except (OSError, asyncpg.PostgresError, TimeoutError) as error:
        raise PlatformError(
            f"no connection to Postgres as its administrator ({error}); "
            "start it with: ./just up, or name another: DATABASE_URL=postgresql://... ./just up"
        ) from error
    try:
        # Two that migrate at once (any number of hosts) wait for each other.
        await admin.execute("SELECT pg_advisory_lock(hashtext('betmesh roles'))")
        await _role(admin, READER, installation["DATABASE_URL"])
        await admin.execute(f"GRANT pg_read_all_data TO {READER}")
        own = urlsplit(installation["ADMIN_DATABASE_URL"])
        # Nobody gets in without a grant; Postgres' default is everybody, everywhere.
        for shared in {"postgres", "template1", own.path.strip("/")}:
            await admin.execute(f'REVOKE ALL ON DATABASE "{shared}" FROM PUBLIC')
        await admin.execute(f'GRANT CONNECT ON DATABASE "{own.path.strip("/")}" TO {READER}')
        for name in DATABASES:
            url = urlsplit(installation[f"{name.upper()}_DATABASE_URL"])
            if (url.hostname, url.port) != (own.hostname, own.port):
                continue  # it has moved elsewhere; its administrator made role and database there
            await _role(admin, name, url.geturl())
            if not await admin.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
                # Membership lets an administrator who is no superuser give the database away.
                await admin.execute(f"GRANT {name} TO CURRENT_USER")
                await admin.execute(f"CREATE DATABASE {name} OWNER {name}")
            await admin.execute(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")
            await admin.execute(f"GRANT CONNECT ON DATABASE {name} TO {READER}")
    except asyncpg.PostgresError as error:
        raise PlatformError(
            f"Postgres refused its administrator: {error}. DATABASE_URL must name a role that may "
            "create roles and databases, and grant pg_read_all_data"
        ) from error
    finally:
        await admin.close()


async def _role(admin: "asyncpg.Connection[asyncpg.Record]", name: str, url: str) -> None:
    password = urlsplit(url).password or ""
    exists = await admin.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", name)
    verb = "ALTER" if exists else "CREATE"
    # DDL takes no parameters; the server does the quoting.
    await admin.execute(
        await admin.fetchval(
            f"SELECT format('{verb} ROLE {name} LOGIN PASSWORD %L', $1::text)",  # ours
            password,
        )
    )


async def _dbmate(name: str, url: str, directory: Path, table: str) -> int:
    """Apply the pending migrations of one directory; how many they were."""
    migrations = directory / "migrations"
    if not any(migrations.glob("*.sql")):
        return 0
    process = await asyncio.create_subprocess_exec(
        tool("dbmate"),
        "--env=BETMESH_MIGRATE_URL",
        "--env-file=/dev/null",
        "--no-dump-schema",
        "--migration-lock",
        f"--migrations-dir={migrations}",
        f"--migrations-table={table}",
        "migrate",
        env={"PATH": os.environ.get("PATH", ""), "BETMESH_MIGRATE_URL": _for_dbmate(url)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    text = output.decode(errors="replace")
    if process.returncode != 0:
        raise PlatformError(f"migrations of {name} ({migrations}) failed:\n{text.strip()}")
    return text.count("Applied: ")


def _for_dbmate(url: str) -> str:
    """The same URL; on loopback without TLS, which dbmate's driver insists on unless told."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    if parts.hostname in (HOST, "localhost"):
        query.setdefault("sslmode", "disable")
    return urlunsplit(parts._replace(scheme="postgres", query=urlencode(query)))
