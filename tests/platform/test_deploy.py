"""Databases, roles, streams: what `just migrate` leaves behind, and how it fails."""

import asyncio
import json
import tempfile
from collections.abc import Generator
from pathlib import Path

import asyncpg
import pytest
from nats.js.api import ConsumerConfig

from svc.platform import installation, migrate, streams
from svc.platform.errors import PlatformError
from svc.platform.installation import Installation
from svc.platform.ports import DATABASES, free_ports
from svc.platform.servers import running_servers


@pytest.fixture(scope="module")
def deployed() -> Generator[Installation]:
    """Servers with the databases made and one small migration for wallet alone."""
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        home.chmod(0o755)
        conf = home / "nats.conf"
        conf.write_text(
            "authorization { users = [\n {nkey: $DEPLOY_NKEY, permissions: {\n"
            'publish: ["$JS.API.>"], subscribe: ["_INBOX.deploy.>"] } }\n ] }\n'
        )
        with running_servers(home / "run", free_ports(), permissions=conf) as prepared:
            write_migration(home, "mesh", "0001_outbox.sql", "CREATE TABLE outbox (id int)")
            write_migration(home, "wallet", "0001_accounts.sql", "CREATE TABLE accounts (id int)")
            asyncio.run(migrate.migrate(prepared, migrations=home / "svc"))
            yield prepared


def write_migration(home: Path, service: str, name: str, sql: str) -> Path:
    path = home / "svc" / service / "migrations" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"-- migrate:up\n{sql};\n-- migrate:down\n")
    return path


def url(installed: Installation, role: str, database: str) -> str:
    return installed[f"{role.upper()}_DATABASE_URL"].rpartition("/")[0] + f"/{database}"


@pytest.mark.parametrize("role", DATABASES)
async def test_a_services_role_enters_its_own_database_and_no_other(
    deployed: Installation, role: str
) -> None:
    connection = await asyncpg.connect(url(deployed, role, role))
    assert await connection.fetchval("SELECT current_user") == role
    await connection.close()
    for other in {*DATABASES, "postgres", "template1"} - {role}:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied for data"):
            await asyncpg.connect(url(deployed, role, other))


async def test_a_role_enters_with_its_own_password_only(deployed: Installation) -> None:
    wrong = url(deployed, "wallet", "casino").replace("//wallet:", "//casino:")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(wrong)


async def test_the_reader_reads_every_database_and_writes_none(deployed: Installation) -> None:
    for name in DATABASES:
        reader = await asyncpg.connect(deployed["DATABASE_URL"].rpartition("/")[0] + f"/{name}")
        assert await reader.fetchval("SELECT count(*) FROM outbox") == 0
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await reader.execute("INSERT INTO outbox VALUES (1)")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await reader.execute("CREATE TABLE mine (id int)")
        await reader.close()


async def test_migrations_are_applied_once_the_meshs_first_and_each_by_its_own_role(
    deployed: Installation, tmp_path: Path
) -> None:
    write_migration(tmp_path, "mesh", "0001_outbox.sql", "CREATE TABLE outbox (id int)")
    write_migration(tmp_path, "wallet", "0001_accounts.sql", "CREATE TABLE accounts (id int)")
    write_migration(tmp_path, "wallet", "0002_more.sql", "CREATE TABLE more AS TABLE outbox")
    said: list[str] = []
    await migrate.migrate(deployed, said.append, tmp_path / "svc")
    assert said[:-1] == ["  wallet: 1 migration applied"]
    said.clear()
    await migrate.migrate(deployed, said.append, tmp_path / "svc")
    assert said[:-1] == []
    wallet = await asyncpg.connect(deployed["WALLET_DATABASE_URL"])
    rows = await wallet.fetch(
        "SELECT tablename, tableowner FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
    )
    await wallet.close()
    assert [tuple(row) for row in rows] == [
        ("accounts", "wallet"),
        ("mesh_migrations", "wallet"),
        ("more", "wallet"),
        ("outbox", "wallet"),
        ("schema_migrations", "wallet"),
    ]


async def test_a_failing_migration_names_its_file_and_reason_and_leaves_nothing_of_itself(
    deployed: Installation, tmp_path: Path
) -> None:
    write_migration(
        tmp_path, "casino", "0001_bad.sql", "CREATE TABLE half (id int); SELECT nonsense"
    )
    with pytest.raises(PlatformError, match=r"(?s)migrations of casino .*0001_bad\.sql.*nonsense"):
        await migrate.migrate(deployed, lambda _: None, tmp_path / "svc")
    casino = await asyncpg.connect(deployed["CASINO_DATABASE_URL"])
    assert await casino.fetchval("SELECT to_regclass('half')") is None
    await casino.close()


async def test_another_installation_may_use_a_postgres_it_is_given(
    deployed: Installation, tmp_path: Path
) -> None:
    connection = await asyncpg.connect(deployed["ADMIN_DATABASE_URL"])
    await connection.execute("CREATE ROLE boss LOGIN CREATEROLE CREATEDB PASSWORD 'pw'")
    await connection.execute("CREATE DATABASE boss OWNER boss")
    given = deployed["ADMIN_DATABASE_URL"].rpartition("@")[2].replace("/postgres", "/boss")
    guest = installation.prepare(tmp_path, {"DATABASE_URL": f"postgresql://boss:pw@{given}"})
    assert guest.own == {"nats", "valkey"}

    # What it may not do is said in Postgres' words, without a traceback.
    with pytest.raises(PlatformError, match="must name a role that may create roles"):
        await migrate.migrate(guest, lambda _: None, tmp_path / "svc")
    await connection.execute("DROP OWNED BY boss")
    await connection.close()


async def test_streams_are_created_then_updated_and_what_is_undeclared_is_only_named(
    deployed: Installation, jetstream: Path
) -> None:
    said: list[str] = []
    await streams.apply(deployed, said.append, jetstream)
    await streams.apply(deployed, said.append, jetstream)
    assert [line.partition(" (")[0] for line in said] == [
        "broker: 2 streams and buckets, 1 consumers up to date"
    ] * 2

    stream = jetstream / "streams" / "USER.json"
    stream.write_text(json.dumps(json.loads(stream.read_text()) | {"max_msgs": 77}))
    (jetstream / "consumers" / "USER.wallet_user.json").unlink()
    said.clear()
    await streams.apply(deployed, said.append, jetstream)
    assert "consumer USER > wallet_user is declared nowhere" in said[0]
    client = await streams.connect(deployed, "deploy")
    info = await client.jetstream().stream_info("USER")
    consumers = await client.jetstream().consumers_info("USER")
    await client.close()
    assert info.config.max_msgs == 77
    assert [consumer.name for consumer in consumers] == ["wallet_user"]


async def test_a_consumer_that_goes_with_whoever_made_it_is_no_stray(
    deployed: Installation, jetstream: Path
) -> None:
    said: list[str] = []
    await streams.apply(deployed, said.append, jetstream)
    client = await streams.connect(deployed, "deploy")
    passing = ConsumerConfig(name="since_then", inactive_threshold=60)
    await client.jetstream().add_consumer("USER", passing)
    said.clear()
    await streams.apply(deployed, said.append, jetstream)
    await client.jetstream().delete_consumer("USER", "since_then")
    await client.close()
    assert [line for line in said if "declared nowhere" in line] == []


async def test_what_the_broker_refuses_is_reported_with_the_file_it_stands_in(
    deployed: Installation, jetstream: Path
) -> None:
    bad = jetstream / "streams" / "BAD.json"
    bad.write_text(json.dumps({"name": "BAD", "subjects": ["with space"]}))
    with pytest.raises(PlatformError, match=r"BAD\.json: .*subject"):
        await streams.apply(deployed, lambda _: None, jetstream)
