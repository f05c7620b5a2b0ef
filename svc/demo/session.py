"""One run of the demo: servers, services, the wiretap, the flows, and what was seen of them."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import httpx

from svc.demo.client import Client, until
from svc.demo.diagram import Arrow, arrows
from svc.demo.evidence import Evidence, live_channels
from svc.demo.flows import FLOWS, World, after_the_flows
from svc.demo.wiretap import Seen, Wiretap
from svc.platform import streams
from svc.platform.installation import Installation
from svc.platform.ports import DATABASES

ARROWS_WITHIN_S = 25.0


@dataclass
class FlowResult:
    """What one flow did: its observed steps, and the wallet before and after (minor units)."""

    name: str
    began: float
    seen: list[Seen]
    before: dict[str, int]
    after: dict[str, int]


@dataclass
class Outcome:
    """All results of a run; `missing` are arrows of the diagram that were not seen."""

    flows: list[FlowResult] = field(default_factory=list[FlowResult])
    arrows: list[Arrow] = field(default_factory=list[Arrow])
    missing: list[Arrow] = field(default_factory=list[Arrow])
    evidence: Evidence = field(default_factory=Evidence)
    notes: dict[str, Any] = field(default_factory=dict[str, Any])


@asynccontextmanager
async def listening(installation: Installation) -> AsyncGenerator[Wiretap]:
    """Listen to the whole broker while the block lasts."""
    connection = await streams.connect(installation, "observer")
    try:
        wiretap = Wiretap(connection)
        await wiretap.start()
        yield wiretap
    finally:
        await connection.close()


async def drive(
    installation: Installation, wiretap: Wiretap, say: Callable[[str], None] = print
) -> Outcome:
    """Drive the four flows and what surrounds them, and compare what was seen with the diagram.

    The services run already. Raises DemoFailed when something that the diagram promises to a
    player does not happen.
    """
    outcome = Outcome(arrows=arrows())
    url = installation["GATEWAY_URL"]
    async with (
        Client(url) as player,
        Client(url) as operator,
        httpx.AsyncClient(timeout=15, trust_env=False) as outside,
    ):
        world = World(player, operator, dict(installation.values), outside)
        for name, flow in FLOWS.items():
            say(f"flow: {name}")
            before = await _money(world)
            began = time.monotonic()
            await flow(world)
            await _arrows_of(name, outcome, wiretap)
            outcome.flows.append(
                FlowResult(name, began, wiretap.since(began), before, await _money(world))
            )
        say("settlement, raffle and the operator's round")
        await after_the_flows(world)
        await _outside_evidence(world, installation, wiretap, outcome.evidence)
        outcome.notes = world.notes
        await _all_arrows(outcome, wiretap)
    return outcome


async def _money(world: World) -> dict[str, int]:
    if not world.user_id:
        return {"cash": 0, "bonus": 0, "held": 0}
    balance = await world.player.balance()
    return {name: balance[name] for name in ("cash", "bonus", "held")}


async def _arrows_of(flow: str, outcome: Outcome, wiretap: Wiretap) -> None:
    """Wait until the broker's arrows of a flow were seen, or long enough to call them missing."""
    wanted = [a for a in outcome.arrows if a.flow == flow and a.kind in {"call", "event"}]
    await _wait_for(wanted, outcome.evidence, wiretap, ARROWS_WITHIN_S)


async def _all_arrows(outcome: Outcome, wiretap: Wiretap) -> None:
    await _wait_for(outcome.arrows, outcome.evidence, wiretap, ARROWS_WITHIN_S)
    outcome.missing = outcome.evidence.missing(outcome.arrows)


async def _wait_for(
    wanted: list[Arrow], evidence: Evidence, wiretap: Wiretap, within_s: float
) -> None:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        await wiretap.resolve()
        evidence.add(wiretap.seen)
        if not evidence.missing(wanted):
            return
        await asyncio.sleep(0.05)


async def _outside_evidence(
    world: World, installation: Installation, wiretap: Wiretap, evidence: Evidence
) -> None:
    """Collect what the broker cannot see: clients, outside systems, databases, plain HTTP."""
    await wiretap.resolve()
    evidence.add(wiretap.seen)
    # An answered request is the client's arrow; all flows above were answered.
    evidence.others.add(("client", "User", "gateway"))
    for sender, service, verb in (
        ("PaymentProvider", "payment", "receive_webhook"),
        ("BetRadar", "sportsbook", "ingest"),
        ("SMSProvider", "notification", "receive_receipt"),
    ):
        if ("gateway", service, verb) in evidence.calls:
            evidence.others.add(("webhook", sender, "gateway"))
    if (await world.simulator("PAYMENT_PROVIDER", "GET", "/simulate/events"))["items"]:
        evidence.others.add(("provider", "payment", "PaymentProvider"))
    if await world.messages():
        evidence.others.add(("provider", "notification", "SMSProvider"))
    channels = live_channels()
    for channel, listener in world.live.items():
        if await listener.changed():
            evidence.others.add(("live", channels[channel], "User"))
    for service in DATABASES:
        await until(f"{service} writes its database", lambda s=service: _wrote(installation, s))
        evidence.others.add(("database", service, "database"))
    counts = await world.operator.ask("GET", "/v1/admin/localization/missing")
    for place in counts["requests"]:
        evidence.others.add(("http", place.split("/")[0], "localization"))


async def _wrote(installation: Installation, service: str) -> bool:
    """Tell whether a service's own role has committed effects in its own database."""
    url = installation["DATABASE_URL"].rsplit("/", 1)[0] + "/" + service
    connection = await asyncpg.connect(url)
    try:
        return bool(await connection.fetchval("SELECT count(*) > 0 FROM mesh_inbox"))
    finally:
        await connection.close()
