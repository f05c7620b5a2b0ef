"""The diagram, the declarations, the broker's permissions: the same, arrow by arrow.

What is observed on the wire is compared in tests/journeys/test_arrows.py, with everything running.
"""

from dataclasses import replace

import pytest

from svc import catalogue
from svc.demo.conformance import differences
from svc.demo.diagram import Arrow, arrows
from svc.generate.topology import Topology
from svc.mesh.service import Service


def altered(name: str, **changes: object) -> Topology:
    """Return the topology with one service's declaration changed, the others as they are."""
    services: list[Service] = []
    for service in catalogue.services():
        if service.name != name:
            services.append(service)
            continue
        copy = Service.__new__(Service)
        copy.__dict__.update({**service.__dict__, **changes})
        services.append(copy)
    return Topology(services)


def test_every_arrow_of_the_diagram_is_declared_and_permitted() -> None:
    assert differences(arrows(), Topology(catalogue.services())) == []


def test_the_diagram_is_whole() -> None:
    found = arrows()

    assert len([arrow for arrow in found if arrow.flow]) == 18
    assert len({arrow.source for arrow in found if arrow.kind == "database"}) == 9
    assert len([a for a in found if a.kind == "topic" and not a.added]) == 32
    assert len([a for a in found if a.kind == "live"]) == 4


@pytest.mark.parametrize(
    ("name", "event"),
    [
        ("wallet", "PaymentSuccessEvent"),
        ("marketing", "BetPlacedEvent"),
        ("notification", "UserRegisteredEvent"),
        ("reporting", "CasinoBetPlacedEvent"),
    ],
)
def test_removing_one_hears_line_is_noticed(name: str, event: str) -> None:
    service = catalogue.service(name)
    fewer = tuple(hear for hear in service.hears_events if hear.event.type != event)
    assert len(fewer) == len(service.hears_events) - 1

    found = differences(arrows(), altered(name, hears_events=fewer))

    assert any("not declared" in line and event in line for line in found)
    assert any("not permitted" in line and event in line for line in found)


def test_removing_one_call_is_noticed() -> None:
    sportsbook = catalogue.service("sportsbook")
    fewer = tuple(call for call in sportsbook.calls if call.verb != "deduct_balance")

    found = differences(arrows(), altered("sportsbook", calls=fewer))

    assert "not declared: sportsbook -> wallet [deduct_balance]" in found
    assert "not permitted: sportsbook -> wallet [deduct_balance]" in found


def test_removing_a_publication_is_noticed() -> None:
    contract = catalogue.contract("casino")
    fewer = tuple(e for e in contract.publishes if e.type != "CasinoPayoutCompleteEvent")

    found = differences(arrows(), altered("casino", contract=replace(contract, publishes=fewer)))

    assert any("casino -> wallet [CasinoPayoutCompleteEvent]" in line for line in found)


def test_an_arrow_that_nobody_declares_is_named() -> None:
    invented = Arrow("localization", "wallet", "call", "deduct_balance")

    assert differences([invented], Topology(catalogue.services())) == [
        "not declared: localization -> wallet [deduct_balance]",
        "not permitted: localization -> wallet [deduct_balance]",
    ]
