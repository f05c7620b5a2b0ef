"""Everything encrypted: what is on the wire between any two of us, and who is turned away."""

import asyncio
import os
import ssl
import subprocess
import sys
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

import asyncpg
import grpc
import grpc.aio
import httpx
import nats
import nats.errors
import pytest

from proto.betmesh.wallet.v1 import wallet_pb2, wallet_pb2_grpc
from svc.mesh import tls
from svc.mesh.settings import MissingSetting
from svc.platform import certificates, keys, ready, streams, up
from svc.platform.errors import PlatformError
from svc.platform.installation import ROOT, Installation, prepare
from svc.platform.ports import free_ports
from svc.platform.servers import forget, running_servers
from tests.gateway.conftest import registered
from tests.support.terminator import terminated
from tests.support.waiting import until

SPINE = ("gateway", "identity", "wallet", "localization")


@pytest.fixture(scope="module")
def encrypted() -> Generator[Installation]:
    """Servers and the spine's services, all with certificates of a fresh authority."""
    run_dir = ROOT / ".run" / f"test-{os.getpid()}-tls"
    paths = {name: str(path) for name, path in certificates.ensure(run_dir / "tls").items()}
    try:
        with (
            running_servers(run_dir, free_ports() | paths) as plain,
            terminated(plain.port("postgres"), paths["TLS_CERT"], paths["TLS_KEY"]) as port,
        ):
            installation = with_databases_at(plain, port)
            up.deploy(installation)
            command = [sys.executable, "-m", "svc", "run", *SPINE]
            with subprocess.Popen(command, cwd=ROOT, env=up.environment(installation)) as process:
                try:
                    assert ready.wait_ready(installation, SPINE).keys() == set(SPINE)
                    yield installation
                finally:
                    process.kill()
    finally:
        forget(run_dir)


def with_databases_at(plain: Installation, port: int) -> Installation:
    """Return the installation with each database's address at a port that encrypts."""
    values = dict(plain.values)
    query = urlencode({"sslmode": "verify-full", "sslrootcert": values["TLS_CA"]})
    for name, url in plain.values.items():
        if name.endswith("DATABASE_URL"):
            values[name] = url.replace(f":{plain.port('postgres')}/", f":{port}/") + "?" + query
    return replace(plain, values=values)


async def test_a_call_passes_the_whole_spine_encrypted(encrypted: Installation) -> None:
    trust = tls.http_context(encrypted.values)
    url = encrypted["GATEWAY_URL"]
    assert url.startswith("https://")
    async with httpx.AsyncClient(base_url=url, verify=trust, trust_env=False) as client:
        player = await registered(client)
        texts = await client.get("/v1/i18n/en/wallet")
        assert texts.status_code == 200, texts.text
    authority = await asyncio.to_thread(Path(encrypted["TLS_CA"]).read_bytes)
    credentials = grpc.ssl_channel_credentials(authority)
    async with grpc.aio.secure_channel(encrypted["GATEWAY_GRPC"], credentials) as channel:
        wallet = cast("Any", wallet_pb2_grpc.WalletStub)(channel)
        key = (("authorization", f"Bearer {encrypted['GRPC_API_KEY']}"),)

        async def opened() -> bool:
            try:
                await wallet.GetBalance(
                    wallet_pb2.GetBalanceRequest(user_id=player.user_id), metadata=key
                )
            except grpc.aio.AioRpcError as failure:
                if failure.code() is not grpc.StatusCode.NOT_FOUND:
                    raise
                return False
            return True

        # identity's Postgres, its outbox, the stream and wallet's Postgres lie on this way.
        await until(opened, within_s=15)


async def test_the_broker_knows_only_those_with_a_certificate_of_its_authority(
    encrypted: Installation,
) -> None:
    async def refused(context: ssl.SSLContext | None) -> bool:
        async def quiet(_: Exception) -> None: ...

        try:
            client = await nats.connect(
                encrypted["NATS_URL"], tls=context, allow_reconnect=False, error_cb=quiet,
                connect_timeout=2, nkeys_seed=str(keys.seed_file(encrypted.run_dir, "operator")),
            )  # fmt: skip
            await client.flush(2)
        except (nats.errors.Error, OSError, ssl.SSLError, TimeoutError):
            return True
        await client.close()
        return False

    only_trust = ssl.create_default_context(cafile=encrypted["TLS_CA"])
    strangers = certificates.ensure(encrypted.run_dir / "strangers")
    stranger = ssl.create_default_context(cafile=encrypted["TLS_CA"])
    stranger.load_cert_chain(strangers["TLS_CERT"], strangers["TLS_KEY"])
    assert not await refused(tls.nats_context(encrypted.values))
    assert await refused(only_trust)
    assert await refused(stranger)


async def test_postgres_and_http_take_nobody_who_does_not_encrypt(encrypted: Installation) -> None:
    plain = encrypted["WALLET_DATABASE_URL"].partition("?")[0]
    with pytest.raises((asyncpg.PostgresError, ConnectionError)):
        await asyncpg.connect(plain + "?sslmode=disable")
    with pytest.raises(ssl.SSLCertVerificationError):
        await asyncpg.connect(plain + "?sslmode=verify-full", ssl=ssl.create_default_context())
    async with httpx.AsyncClient(trust_env=False) as client:
        with pytest.raises(httpx.HTTPError):
            await client.get(encrypted["GATEWAY_URL"].replace("https", "http") + "/healthz")
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await client.get(encrypted["GATEWAY_URL"] + "/healthz")


async def test_an_operators_tools_connect_with_the_same_certificate(
    encrypted: Installation,
) -> None:
    client = await streams.connect(encrypted, "operator")
    assert client.is_connected
    await client.close()
    environment = {key: encrypted[key] for key in ("TLS_CA", "TLS_CERT", "TLS_KEY")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "svc", "certs"), cwd=ROOT, stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "BETMESH_RUN": str(encrypted.run_dir)},
    )  # fmt: skip
    said, _ = await process.communicate()
    assert said.decode() == "".join(f"export {k}={v}\n" for k, v in environment.items())


def test_certificates_that_cannot_be_used_are_named_in_a_sentence(
    tmp_path: Path, encrypted: Installation
) -> None:
    with pytest.raises(PlatformError, match="only TLS_CA is given"):
        prepare(tmp_path, {"TLS_CA": "x"})
    missing = {"TLS_CA": str(tmp_path / "none.pem")}
    with pytest.raises(MissingSetting, match=r"cannot be read: .*none\.pem"):
        tls.nats_context(missing)
    with pytest.raises(MissingSetting, match="go together"):
        tls.http_pair({"HTTP_TLS_CERT": "x"})
    wrong = {**encrypted.values, "NATS_TLS_CA": encrypted["TLS_KEY"]}
    with pytest.raises(MissingSetting, match="holds no certificate authority"):
        tls.nats_context(wrong)
