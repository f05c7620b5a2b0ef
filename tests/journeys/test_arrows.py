"""The four flows through everything, and what was observed compared with what is declared.

These run before the other journeys (by name): they look at everything since the first start.
"""

import asyncio
from typing import Any

from svc import catalogue
from svc.demo.conformance import undeclared
from svc.demo.evidence import Evidence
from svc.demo.session import drive
from svc.generate.topology import Topology
from svc.mesh.clock import SystemClock, new_id
from svc.mesh.discovery import survey
from svc.mesh.envelope import CloudEvent
from svc.mesh.wire import encode
from svc.platform import streams
from svc.wallet import contract as wallet
from tests.journeys.world import Platform


async def test_every_arrow_of_the_diagram_is_observed_and_nothing_that_is_not_declared(
    whole: Platform,
) -> None:
    outcome = await drive(whole.installation, whole.wiretap)

    assert [str(arrow) for arrow in outcome.missing] == []
    assert undeclared(outcome.evidence, Topology(catalogue.services())) == []


async def test_an_undeclared_publication_is_refused_by_the_broker_and_noticed(
    whole: Platform,
) -> None:
    connection = await streams.connect(whole.installation, "casino")
    refused: asyncio.Queue[str] = asyncio.Queue()

    async def note(failure: Exception) -> None:
        refused.put_nowait(str(failure))

    connection._error_cb = note  # pyright: ignore[reportPrivateUsage] -- nats-py has no setter
    data = wallet.BalanceChanged(
        user_id=new_id(), transfer_id=new_id(), kind="deposit", currency="EUR", amount=1, cash=1,
        bonus=0, held=0, available=1, reference="forged",
    )  # fmt: skip
    forged: CloudEvent[Any] = CloudEvent(
        id=new_id(), source="/wallet", type="BalanceChangedEvent", subject=data.user_id,
        time=SystemClock().now(), data=data,
    )  # fmt: skip
    try:
        await connection.publish(wallet.BALANCE_CHANGED.subject, encode(forged))
        async with asyncio.timeout(5):
            assert "wallet.events.balance_changed" in await refused.get()
    finally:
        await connection.close()


def test_an_edge_that_nobody_declared_is_named() -> None:
    observed = Evidence(
        calls={("casino", "identity", "contact")},
        events={("wallet", "localization", "BalanceChangedEvent")},
    )

    assert undeclared(observed, Topology(catalogue.services())) == [
        "casino called identity.contact",
        "localization heard BalanceChangedEvent of wallet",
    ]


async def test_discovery_shows_all_twelve_with_their_endpoints(whole: Platform) -> None:
    connection = await streams.connect(whole.installation, "operator")
    try:
        pings = await survey(connection, "operator", "$SRV.PING", 2.0, enough=12)
        infos = await survey(connection, "operator", "$SRV.INFO", 2.0, enough=12)
        stats = await survey(connection, "operator", "$SRV.STATS", 2.0, enough=12)
    finally:
        await connection.close()

    declared = {
        contract.name: sorted(call.subject for call in contract.answers)
        for contract in catalogue.contracts()
    }
    assert {ping["name"] for ping in pings} == set(catalogue.NAMES)
    for answers in (infos, stats):
        told = {a["name"]: sorted(e["subject"] for e in a["endpoints"]) for a in answers}
        assert told == declared
