"""The gateway as a process of its own, as it runs in an installation."""

import asyncio
import signal
import sys
from typing import Any, cast

import grpc.aio
import httpx
from grpc_health.v1 import health_pb2, health_pb2_grpc

from svc.platform.installation import ROOT
from svc.platform.ports import free_ports
from tests.support.mesh import Services
from tests.support.platform import Platform
from tests.support.waiting import until


async def test_a_gateway_starts_serves_both_doors_and_ends_cleanly_when_told(
    platform: Platform, services: Services
) -> None:
    await services("identity")  # publishes the keys without which nobody is ready
    ports = free_ports()
    moved = {name: ports[name] for name in ("GATEWAY_PORT", "GATEWAY_GRPC_PORT")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "svc", "run", "gateway"),
        cwd=ROOT,
        env={**platform.environment(), **moved},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        address = f"http://127.0.0.1:{moved['GATEWAY_PORT']}"
        async with httpx.AsyncClient(base_url=address) as client:

            async def ready() -> bool:
                assert process.returncode is None
                try:
                    return (await client.get("/readyz")).status_code == 200
                except httpx.TransportError:
                    return False

            await until(ready, within_s=20)
        grpc_address = f"127.0.0.1:{moved['GATEWAY_GRPC_PORT']}"
        async with grpc.aio.insecure_channel(grpc_address) as channel:
            health = cast("Any", health_pb2_grpc).HealthStub(channel)
            answer = await health.Check(health_pb2.HealthCheckRequest())
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(15):
            _, said = await process.communicate()
        assert process.returncode == 0, said.decode()
        assert b"Traceback" not in said, said.decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_taken_port_is_named_with_the_setting_that_moves_it(
    platform: Platform, services: Services
) -> None:
    await services("identity", "gateway")
    moved = {"GATEWAY_PORT": free_ports()["GATEWAY_PORT"]}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "svc", "run", "gateway"),
        cwd=ROOT,
        env={**platform.environment(), **moved},
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(20):
        _, said = await process.communicate()
    assert process.returncode == 1
    told = said.decode()
    assert "gateway cannot start: port" in told
    assert "set GATEWAY_GRPC_PORT to another one, or stop what holds it" in told
    assert "Traceback" not in told
