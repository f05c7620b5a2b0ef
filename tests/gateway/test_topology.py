"""Who talks to whom: what is shown is what was seen, next to what is declared."""

from typing import Any

import httpx
import pytest

from svc import catalogue
from svc.gateway.topology import declared, quantile_ms, topology_of
from svc.mesh.clock import SystemClock
from svc.mesh.metrics import SECONDS
from svc.mesh.observed import Edge, Report
from tests.gateway.conftest import Player
from tests.support.platform import Platform

BUCKETS = len(SECONDS) + 1


def edge(source: str, target: str, name: str, **more: Any) -> Edge:
    """Return an edge that one process saw: ten calls of 2 ms, unless said otherwise."""
    buckets = [0] * BUCKETS
    buckets[1] = 10
    seen: dict[str, Any] = {
        "kind": "call", "outcomes": {"ok": 10}, "buckets": buckets, "seconds": 0.02, "total": 10,
        **more,
    }  # fmt: skip
    return Edge(source=source, target=target, name=name, **seen)


def report(service: str, *edges: Edge, process: str = "") -> Report:
    return Report(
        service=service,
        instance=f"{service}-{process}",
        process=process or service,
        version="1.0.0",
        window_s=60.0,
        edges=list(edges),
    )


def shown(*reports: Report) -> dict[tuple[str, str, str, str], Any]:
    found = topology_of(reports, catalogue.NAMES, SystemClock())
    return {(one.kind, one.source, one.target, one.name): one for one in found.edges}


DEDUCT = "call", "sportsbook", "wallet", "deduct_balance"


def test_what_is_declared_and_was_never_seen_is_marked() -> None:
    edges = shown()
    assert set(edges) == declared()
    assert {one.mark for one in edges.values()} == {"never-seen"}
    assert DEDUCT in edges
    assert ("event", "sportsbook", "reporting", "BetPlacedEvent") in edges
    assert ("http", "payment", "PaymentProvider", "PaymentProvider") in edges


def test_what_was_seen_and_is_not_declared_is_marked() -> None:
    strange = edge("casino", "payment", "refund")
    found = shown(report("casino", strange))["call", "casino", "payment", "refund"]
    assert (found.mark, found.declared, found.seen) == ("undeclared", False, True)


def test_a_stranger_whom_only_the_callee_saw_is_shown_as_such() -> None:
    strange = edge("", "wallet", "balance", kind="served", buckets=[0] * BUCKETS)
    staff = edge("operator", "wallet", "balance", kind="served", buckets=[0] * BUCKETS)
    edges = shown(report("wallet", strange, staff))
    unknown = edges["call", "unknown", "wallet", "balance"]
    assert (unknown.mark, unknown.rate_per_s, unknown.p99_ms) == ("undeclared", 0.167, None)
    assert edges["call", "operator", "wallet", "balance"].mark == "ok"


def test_processes_are_added_up_and_none_counts_twice() -> None:
    one = edge(*DEDUCT[1:], outcomes={"ok": 5, "insufficient-funds": 1}, total=6, in_flight=2)
    served = edge(*DEDUCT[1:], kind="served")
    edges = shown(
        report("sportsbook", one, process="a"),
        report("sportsbook", one, process="a"),
        report("sportsbook", one, process="b"),
        report("wallet", served),
    )
    found = edges[DEDUCT]
    assert (found.rate_per_s, found.errors_per_s) == (0.2, 0.033)
    assert found.errors == {"insufficient-funds": 2}
    assert (found.mark, found.in_flight, found.mean_ms) == ("ok", 4, 2.0)


@pytest.mark.parametrize(
    ("buckets", "share", "wanted"),
    [
        ([0] * BUCKETS, 0.5, None),
        ([10, *[0] * (BUCKETS - 1)], 0.5, 0.5),
        ([0, 10, *[0] * (BUCKETS - 2)], 0.5, 1.75),
        ([9, 0, 1, *[0] * (BUCKETS - 3)], 0.99, 4.75),
        ([*[0] * (BUCKETS - 1), 3], 0.5, 10_000.0),
    ],
)
def test_quantiles_come_from_the_histogram(
    buckets: list[int], share: float, wanted: float | None
) -> None:
    assert quantile_ms(buckets, share) == wanted


async def test_staff_sees_the_running_edges_and_players_do_not(
    platform: Platform, door: httpx.AsyncClient, player: Player
) -> None:
    refused = await door.get("/v1/admin/topology", headers=player.headers)
    assert refused.status_code == 403, refused.text

    credentials = {
        "email": platform.settings["ADMIN_EMAIL"],
        "password": platform.settings["ADMIN_PASSWORD"],
    }
    opened = await door.post("/v1/sessions", json=credentials)
    headers = {"authorization": f"Bearer {opened.json()['access_token']}"}
    answer = await door.get("/v1/admin/topology", headers=headers)
    assert answer.status_code == 200, answer.text

    told = answer.json()
    edges = {(one["source"], one["target"], one["name"]): one for one in told["edges"]}
    opening = edges["gateway", "identity", "log_in"]
    assert (opening["mark"], opening["seen"], opening["declared"]) == ("ok", True, True)
    assert opening["rate_per_s"] > 0
    assert opening["p50_ms"] <= opening["p99_ms"]
    nodes = {one["name"]: one for one in told["nodes"]}
    assert nodes["identity"]["instances"] == 1
    assert nodes["PaymentProvider"]["kind"] == "outside"
    assert set(catalogue.NAMES) <= nodes.keys()
    assert 0 < told["window_s"] <= 70
