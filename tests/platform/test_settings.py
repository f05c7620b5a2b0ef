"""settings.env: made once, kept, and the same for all who read it."""

import stat
import subprocess
from pathlib import Path

import pytest

from svc.platform import installation, keys
from svc.platform.errors import PlatformError
from svc.platform.ports import PORTS


def test_settings_and_keys_are_made_once_and_kept(tmp_path: Path) -> None:
    first = installation.prepare(tmp_path, {})
    text = (tmp_path / "settings.env").read_bytes()
    seeds = {path: path.read_bytes() for path in (tmp_path / "nats").glob("*.nk")}

    second = installation.prepare(tmp_path, {})

    assert second == first
    assert (tmp_path / "settings.env").read_bytes() == text
    assert {path: path.read_bytes() for path in (tmp_path / "nats").glob("*.nk")} == seeds
    assert {path.stem for path in seeds} >= {"gateway", "wallet", "operator", "observer", "deploy"}


def test_two_installations_share_no_secret(tmp_path: Path) -> None:
    one = installation.prepare(tmp_path / "one", {}).values
    other = installation.prepare(tmp_path / "other", {}).values
    same = {key for key in one if one[key] == other[key]}
    named = {"NATS_URL", "GATEWAY_HOST", "GATEWAY_URL", "GATEWAY_GRPC", "ADMIN_EMAIL"}
    named |= {"PAYMENT_PROVIDER_URL", "SMS_PROVIDER_URL", "BETRADAR_URL", "OWN_SERVERS", *PORTS}
    assert same == named


def test_secrets_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    installation.prepare(tmp_path, {})
    for path in (tmp_path / "settings.env", *(tmp_path / "nats").glob("*.nk")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "nats").stat().st_mode) == 0o700


def test_a_key_is_a_users_nkey_and_its_seed_never_changes(tmp_path: Path) -> None:
    public = keys.ensure(tmp_path, ["wallet"])["wallet"]
    assert public.startswith("U")
    assert keys.ensure(tmp_path, ["wallet"])["wallet"] == public


def test_a_moved_port_stays_moved_and_moves_every_address_that_mentions_it(tmp_path: Path) -> None:
    before = installation.prepare(tmp_path, {})
    installation.prepare(tmp_path, {"POSTGRES_PORT": "6000", "NATS_PORT": "6001"})
    after = installation.prepare(tmp_path, {})
    assert after["NATS_URL"] == "nats://127.0.0.1:6001"
    assert after["WALLET_DATABASE_URL"] == before["WALLET_DATABASE_URL"].replace("54329", "6000")
    assert after["DATABASE_URL"] == before["DATABASE_URL"].replace("54329", "6000")
    assert after.own == before.own


@pytest.mark.parametrize("wrong", ["0", "65536", "-1", "eighty", "8080.0", "٨٠"])
def test_what_is_no_port_is_refused_by_the_name_of_its_variable(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(PlatformError, match=r"^WALLET_PORT must be a port from 1 to 65535"):
        installation.prepare(tmp_path, {"WALLET_PORT": wrong})


def test_one_port_for_two_is_refused_naming_both(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match="IDENTITY_PORT and GATEWAY_PORT both ask for port 80"):
        installation.prepare(tmp_path, {"IDENTITY_PORT": "80", "GATEWAY_PORT": "80"})


def test_a_shell_that_evaluated_env_still_means_our_own_servers(tmp_path: Path) -> None:
    first = installation.prepare(tmp_path, {})
    shell = {key: first[key] for key in installation.FOR_CLIENTS}
    assert installation.prepare(tmp_path, shell) == first
    # ... also when the ports were moved since.
    moved = installation.prepare(tmp_path, {"POSTGRES_PORT": "6000", "NATS_PORT": "6001"})
    assert installation.prepare(tmp_path, shell | {"NATS_PORT": "6001"}) != first
    assert installation.prepare(tmp_path, {key: moved[key] for key in shell}) == moved


def test_servers_named_in_the_environment_are_used_and_ours_not_started(tmp_path: Path) -> None:
    elsewhere = {
        "NATS_URL": "nats://127.0.0.1:4999",
        "DATABASE_URL": "postgresql://boss:secret@db.example:5432/main?sslmode=require",
        "REDIS_URL": "redis://:pw@cache.example:6379/3",
    }
    found = installation.prepare(tmp_path, elsewhere)
    assert found.own == frozenset()
    assert found["NATS_URL"] == elsewhere["NATS_URL"]
    assert found["REDIS_URL"] == elsewhere["REDIS_URL"]
    assert found["ADMIN_DATABASE_URL"] == elsewhere["DATABASE_URL"]
    assert found["WALLET_DATABASE_URL"].startswith("postgresql://wallet:")
    assert found["WALLET_DATABASE_URL"].endswith("@db.example:5432/wallet?sslmode=require")
    assert found["DATABASE_URL"].endswith("@db.example:5432/main?sslmode=require")
    # A shell that then evaluates `just env` holds the reader's address; it still means theirs.
    shell = {key: found[key] for key in installation.FOR_CLIENTS}
    assert installation.prepare(tmp_path, shell) == found
    # Without the variables we are back at our own.
    assert installation.prepare(tmp_path, {}).own == {"nats", "postgres", "valkey"}


def test_an_address_without_a_host_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match="must have scheme and host"):
        installation.prepare(tmp_path, {"NATS_URL": "localhost:4222"})


def test_exports_are_quoted_for_the_shell(tmp_path: Path) -> None:
    values = dict(installation.prepare(tmp_path, {}).values)
    values["ADMIN_PASSWORD"] = "it's $HOME; `id`"
    line = next(text for text in installation.exports(values).splitlines() if "PASSWORD" in text)
    shell = ["/bin/sh", "-c", f'{line}; printf %s "$ADMIN_PASSWORD"']
    assert subprocess.check_output(shell, text=True) == values["ADMIN_PASSWORD"]
