"""One bet placed over HTTP is one trace: through services, databases, outbox and consumers."""

import json
import secrets
from typing import Any, cast

import grpc
import grpc.aio
import pytest

from proto.betmesh.wallet.v1 import wallet_pb2, wallet_pb2_grpc
from svc.mesh.clock import new_id
from svc.platform.ports import SERVICES
from tests.journeys.load import open_match
from tests.journeys.world import Platform, deposited, new_player, operator
from tests.support.collector import Collector, Seen
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(120)

HEARERS = {"marketing", "gaming", "notification", "reporting"}
"""Whom the diagram has hear of a bet."""
BET_HEARD = "process betting.events.bet_placed"
Edge = tuple[str, str, str]
USED = (
    ("gateway", "payment", "request_deposit"),
    ("payment", "PaymentProvider", "PaymentProvider"),
    ("payment", "wallet", "PaymentSuccessEvent"),
    ("payment", "localization", "localization"),
    ("notification", "SMSProvider", "SMSProvider"),
)
"""What a new player's deposit uses: calls, events and HTTP."""
EXPECTED = {
    ("gateway", "server", "POST /v1/bets"),
    ("gateway", "client", "sportsbook/place_bet"),
    ("sportsbook", "server", "sportsbook/place_bet"),
    ("sportsbook", "client", "transaction"),
    ("sportsbook", "client", "wallet/deduct_balance"),
    ("wallet", "server", "wallet/deduct_balance"),
    ("wallet", "client", "SELECT write_batch"),
    ("sportsbook", "producer", "send betting.events.bet_placed"),
    *((name, "consumer", BET_HEARD) for name in HEARERS),
}


async def test_one_bet_is_one_trace_from_the_door_to_the_four_consumers(
    whole: Platform, collector: Collector
) -> None:
    trace, client = secrets.token_hex(16), secrets.token_hex(8)
    async with whole.world() as world:
        await new_player(world)
        await deposited(world)
        bet = {
            "kind": "single",
            "selections": [await open_match(world, "sr:match:907")],
            "stake": 500,
            "currency": "EUR",
            "odds_policy": "any",
        }
        answer = await world.player.http.post(
            "/v1/bets",
            json=bet,
            headers={
                "Authorization": f"Bearer {world.player.token}",
                "Idempotency-Key": new_id(),
                "traceparent": f"00-{trace}-{client}-01",
            },
        )
        assert answer.status_code == 201, answer.text
        email = world.account["email"].encode()

    async def whole_trace() -> list[Seen]:
        # Each process sends its spans when it has some; then everything hangs together.
        found = collector.of(trace)
        known = {span.span for span in found} | {client}
        names = {(span.service, span.kind, span.name) for span in found}
        there = names >= EXPECTED and all(span.parent in known for span in found)
        return found if there else []

    spans = await until(whole_trace, "the whole trace")
    [door] = [span for span in spans if span.parent == client]
    assert (door.service, door.name) == ("gateway", "POST /v1/bets")
    assert door.attributes["http.response.status_code"] == 201
    for name in HEARERS:
        [heard] = [one for one in spans if (one.service, one.name) == (name, BET_HEARD)]
        assert heard.attributes["messaging.consumer.group.name"] == name
        wrote = [one for one in spans if one.service == name and "db.query.text" in one.attributes]
        assert wrote, f"{name} wrote nothing"
    assert email not in b"".join(collector.raw)


async def test_the_map_shows_what_was_seen_and_nothing_that_nobody_declared(
    whole: Platform,
) -> None:
    async with whole.world() as world:
        await new_player(world)
        await deposited(world)
        await operator(world)

        async def seen() -> dict[Edge, Any]:
            # Who is too busy to tell in time is missing until the next look.
            told = await world.operator.ask("GET", "/v1/admin/topology")
            nodes = {one["name"]: one["instances"] for one in told["nodes"]}
            edges = {(one["source"], one["target"], one["name"]): one for one in told["edges"]}
            there = all(edges[edge]["mark"] == "ok" for edge in USED)
            return edges if there and all(nodes[name] for name in SERVICES) else {}

        edges = await until(seen, "everybody on the map")
    assert [edge for edge, one in edges.items() if one["mark"] == "undeclared"] == []
    deposit = edges["gateway", "payment", "request_deposit"]
    assert deposit["rate_per_s"] > 0
    assert deposit["p50_ms"] <= deposit["p99_ms"]


async def test_a_grpc_call_goes_on_in_the_trace_of_its_caller(
    whole: Platform, collector: Collector
) -> None:
    trace, client = secrets.token_hex(16), secrets.token_hex(8)
    metadata = (
        ("authorization", f"Bearer {whole.installation['GRPC_API_KEY']}"),
        ("traceparent", f"00-{trace}-{client}-01"),
    )
    async with grpc.aio.insecure_channel(whole.installation["GATEWAY_GRPC"]) as channel:
        wallet = cast("Any", wallet_pb2_grpc.WalletStub)(channel)
        with pytest.raises(grpc.aio.AioRpcError):
            await wallet.GetBalance(
                wallet_pb2.GetBalanceRequest(user_id=new_id()), metadata=metadata
            )

    async def told() -> list[Seen]:
        found = collector.of(trace)
        ends = {("gateway", "server"), ("gateway", "client"), ("wallet", "server")}
        return found if ends <= {(span.service, span.kind) for span in found} else []

    spans = {(span.service, span.kind): span for span in await until(told)}
    door = spans["gateway", "server"]
    assert (door.name, door.parent) == ("betmesh.wallet.v1.Wallet/GetBalance", client)
    assert door.attributes["rpc.response.status_code"] == "NOT_FOUND"
    assert not door.failed
    assert spans["gateway", "client"].parent == door.span
    assert spans["wallet", "server"].parent == spans["gateway", "client"].span


async def test_the_logs_of_the_services_are_json_and_know_nobody_by_name(whole: Platform) -> None:
    async with whole.world() as world:
        await new_player(world)
        await deposited(world)
        wrong = {"email": world.account["email"], "password": "not the password"}
        refused = await world.player.http.post("/v1/sessions", json=wrong)
        assert refused.status_code == 401, refused.text
        taken = await world.player.http.post("/v1/users", json=world.account)
        assert taken.status_code == 409, taken.text
        private = [world.account[name] for name in ("email", "phone", "password")]
        private += [world.player.token, whole.installation["ADMIN_PASSWORD"]]
    for name in SERVICES:
        for line in whole.fleet.log_file(name).read_text().splitlines():
            assert "event" in json.loads(line), f"{name}: {line}"
            assert not [value for value in private if value in line], f"{name}: {line}"
