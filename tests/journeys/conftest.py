"""The whole platform as it runs for real: every service and outside program its own process."""

import asyncio
import os
from collections.abc import AsyncGenerator, Generator

import pytest

from svc.demo.session import listening
from svc.platform import up
from svc.platform.fleet import Fleet
from svc.platform.installation import ROOT
from svc.platform.ports import free_ports
from svc.platform.servers import forget, running_servers
from tests.journeys.world import Platform
from tests.support.collector import Collector, collecting

FAST = {
    "BETRADAR_ALIVE_S": "2",
    **{f"RATE_LIMIT_{kind}": "100000/100000" for kind in ("PLAYER", "PUBLIC", "CREDENTIALS")},
}
"""Heartbeats come sooner, and tests may knock more often than any client."""
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACED = {"OTEL_TRACES_SAMPLER": "parentbased_always_off", "OTEL_BSP_SCHEDULE_DELAY": "500"}
"""Nothing is traced but what comes with the flag of W3C trace context."""


@pytest.fixture(scope="package")
def collector() -> Generator[Collector]:
    """Takes the traces of all processes; only of work whose sender wants to see it."""
    with collecting() as found:
        yield found


@pytest.fixture(scope="package")
async def whole(collector: Collector) -> AsyncGenerator[Platform]:
    """Everything up, once for all journeys, with a wiretap from before the first service."""
    run_dir = ROOT / ".run" / f"test-{os.getpid()}-journeys"
    try:
        with running_servers(run_dir, free_ports()) as installation:
            await asyncio.to_thread(up.deploy, installation)
            fleet = Fleet(installation, {**FAST, **TRACED, ENDPOINT: collector.url})
            try:
                async with listening(installation) as wiretap:
                    fleet.start()
                    await asyncio.to_thread(fleet.wait_ready)
                    yield Platform(installation, fleet, wiretap)
            finally:
                await asyncio.to_thread(fleet.stop)
    finally:
        forget(run_dir)
