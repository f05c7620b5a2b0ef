"""The outside programs start from their settings, all in one process, and stop cleanly."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from svc.outside import settings

ROOT = Path(__file__).parents[2]
SECRETS = {
    "PAYMENT_PROVIDER_KEY": "sk_test",
    "PAYMENT_WEBHOOK_SECRET": "whsec_test",
    "SMS_ACCOUNT": "AC1",
    "SMS_WEBHOOK_TOKEN": "12345",
    "BETRADAR_TOKEN": "t",
}
PORTS = ("PAYMENT_PROVIDER_PORT", "SMS_PROVIDER_PORT", "BETRADAR_PORT")


def free_ports(count: int) -> list[int]:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(listener.getsockname()[1]) for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


@asynccontextmanager
async def program(
    run: Path, *names: str, **environment: str
) -> AsyncGenerator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "svc.outside", *names,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "BETMESH_RUN": str(run)} | environment,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def said(process: asyncio.subprocess.Process, count: int) -> str:
    assert process.stderr is not None
    lines = [await asyncio.wait_for(process.stderr.readline(), 20) for _ in range(count)]
    return b"".join(lines).decode()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
async def test_all_run_in_one_process_from_the_settings_file_and_stop_cleanly(
    tmp_path: Path, name: str
) -> None:
    ports = dict(zip(PORTS, map(str, free_ports(3)), strict=True))
    lines = [f"{key}={value}" for key, value in (SECRETS | ports).items()]
    (tmp_path / "settings.env").write_text("# made by a test\n" + "\n".join(lines) + "\n")
    async with program(tmp_path, "all", GATEWAY_URL="http://127.0.0.1:1") as process:
        assert (await said(process, 3)).count("listens on http://127.0.0.1:") == 3
        async with httpx.AsyncClient() as client:
            for port in ports.values():
                answer = await client.get(f"http://127.0.0.1:{port}/nothing")
                assert answer.status_code == 404
        process.send_signal(getattr(signal, name))
        assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_a_missing_secret_or_a_taken_port_ends_the_program_with_a_sentence(
    tmp_path: Path,
) -> None:
    async with program(tmp_path, "payment_provider") as process:
        assert "PAYMENT_PROVIDER_KEY is set neither" in await said(process, 1)
        assert await process.wait() == 1
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        async with program(tmp_path, "betradar", BETRADAR_TOKEN="t", BETRADAR_PORT=port) as process:
            assert "cannot listen" in await said(process, 1)
            assert await process.wait() == 1


async def test_an_unknown_name_gets_the_usage(tmp_path: Path) -> None:
    async with program(tmp_path, "nothing") as process:
        assert "usage: python -m svc.outside" in await said(process, 1)


def test_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    (tmp_path / "settings.env").write_text("# D=1\nA=from file\nB=it's=#c\n\nC=3\n")
    environment = {"BETMESH_RUN": str(tmp_path), "A": "", "C": "4"}
    known = settings.load(environment)
    assert (known["A"], known["B"], known["C"]) == ("from file", "it's=#c", "4")
    assert "# D" not in known
    assert settings.load({"BETMESH_RUN": str(tmp_path / "none")}).get("A") is None


def test_a_port_must_be_a_port() -> None:
    assert settings.port({"P": "80"}, "P", 1) == 80
    with pytest.raises(SystemExit, match="P is not a port"):
        settings.port({"P": "eighty"}, "P", 1)
