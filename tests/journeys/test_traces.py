"""One bet placed over HTTP is one trace: through services, databases, outbox and consumers."""

import json
import secrets

import pytest

from svc.mesh.clock import new_id
from svc.platform.ports import SERVICES
from tests.journeys.load import open_match
from tests.journeys.world import Platform, deposited, new_player
from tests.support.collector import Collector, Seen
from tests.support.waiting import until

HEARERS = {"marketing", "gaming", "notification", "reporting"}
"""Whom the diagram has hear of a bet."""
BET_HEARD = "process betting.events.bet_placed"


@pytest.mark.timeout(120)
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

    async def told() -> list[Seen]:
        found = collector.of(trace)
        heard = {span.service for span in found if span.name == BET_HEARD}
        return found if heard >= HEARERS and top(found) else []

    def top(spans: list[Seen]) -> list[Seen]:
        return [span for span in spans if span.parent == client]

    spans = await until(told, "the whole trace")
    [door] = top(spans)
    assert (door.service, door.name) == ("gateway", "POST /v1/bets")
    assert door.attributes["http.response.status_code"] == 201

    # Everything hangs together: each span's parent is another one of the trace.
    known = {span.span for span in spans} | {client}
    assert [span for span in spans if span.parent not in known] == []
    seen = {(span.service, span.kind, span.name) for span in spans}
    assert {
        ("gateway", "client", "sportsbook/place_bet"),
        ("sportsbook", "server", "sportsbook/place_bet"),
        ("sportsbook", "client", "transaction"),
        ("sportsbook", "client", "wallet/deduct_balance"),
        ("wallet", "server", "wallet/deduct_balance"),
        ("wallet", "client", "SELECT write_batch"),
        ("sportsbook", "producer", "send betting.events.bet_placed"),
    } <= seen
    for span in (span for span in spans if span.name == BET_HEARD and span.service in HEARERS):
        below = {one.name for one in spans if one.service == span.service}
        assert span.attributes["messaging.consumer.group.name"] == span.service
        assert below > {BET_HEARD}, f"{span.service} wrote nothing"
    assert email not in b"".join(collector.raw)


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
