"""Doors for outside systems, paths of other services, and what browsers may do."""

import re
from pathlib import Path

import httpx
import msgspec
import pytest
from litestar import Litestar
from litestar.testing import AsyncTestClient
from twilio.request_validator import RequestValidator

from svc import catalogue
from svc.gateway import answers
from svc.gateway.http import BODY_MAX, DOOR_BODY_MAX, application_options, routes
from svc.gateway.service import gateway as gateway_service
from svc.mesh.clock import new_id
from svc.mesh.errors import Refused, TimedOut, Unavailable
from svc.mesh.runtime import Runtime
from svc.mesh.settings import Settings
from svc.platform.installation import ROOT
from tests.gateway.conftest import Player
from tests.gateway.test_http import problem_of
from tests.support.mesh import Services
from tests.support.platform import Platform

RECEIPT = {"MessageSid": "SM" + "0" * 32, "MessageStatus": "delivered", "To": "+4915112345678"}


async def test_a_webhook_arrives_as_it_was_signed_body_headers_and_address(
    door: httpx.AsyncClient, services: Services, platform: Platform
) -> None:
    await services("notification")
    address = platform.settings["GATEWAY_URL"] + "/webhooks/sms?attempt=1"
    validator = RequestValidator(platform.settings["SMS_WEBHOOK_TOKEN"])
    signature = validator.compute_signature(address, RECEIPT)
    headers = {"x-twilio-signature": signature}
    answer = await door.post("/webhooks/sms?attempt=1", data=RECEIPT, headers=headers)
    assert answer.status_code == 200, answer.text
    other = await door.post("/webhooks/sms?attempt=2", data=RECEIPT, headers=headers)
    assert (other.status_code, problem_of(other)) == (401, "unauthenticated")


async def test_a_feed_may_send_what_is_too_large_for_clients_up_to_a_limit(
    door: httpx.AsyncClient, services: Services
) -> None:
    await services("sportsbook")
    headers = {"x-access-token": "wrong"}
    large = await door.post("/feeds/betradar", content=b"x" * (3 * BODY_MAX), headers=headers)
    assert problem_of(large) == "unauthenticated"
    larger = await door.post("/feeds/betradar", content=b"x" * (DOOR_BODY_MAX + 1), headers=headers)
    assert (larger.status_code, problem_of(larger)) == (413, "payload-too-large")


async def test_texts_come_from_localization_with_its_etag(
    door: httpx.AsyncClient, services: Services
) -> None:
    await services("localization")
    first = await door.get("/v1/i18n/de/problems")
    assert first.status_code == 200, first.text
    assert first.json()["messages"]["unauthenticated"] == "Bitte melden Sie sich an."
    tag = first.headers["etag"]
    again = await door.get("/v1/i18n/de/problems", headers={"if-none-match": tag})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == tag
    unknown = await door.get("/v1/i18n/de/nothing_such")
    assert problem_of(unknown) == "not-found"
    assert problem_of(await door.get("/v1/i18n/klingon!/problems")) == "validation"


async def test_texts_are_unavailable_while_localization_is_down_and_come_back(
    door: httpx.AsyncClient, services: Services
) -> None:
    await services("localization")
    assert (await door.get("/v1/i18n/en/problems")).status_code == 200
    await services.stop("localization")
    down = await door.get("/v1/i18n/en/problems")
    assert (down.status_code, problem_of(down)) == (503, "unavailable")
    await services("localization")
    assert (await door.get("/v1/i18n/en/problems")).status_code == 200


async def test_a_round_with_one_key_is_played_once_and_costs_once(
    door: httpx.AsyncClient, services: Services, player: Player
) -> None:
    await services("casino", "wallet")
    opened = await door.post(
        "/v1/casino/sessions", json={"game_id": "dice"}, headers=player.headers
    )
    path = f"/v1/casino/sessions/{opened.json()['session_id']}/rounds"
    body = {"stake": 100, "currency": "EUR", "choice": {"target": 50}}
    key = {"idempotency-key": new_id()}
    first = await door.post(path, json=body, headers={**player.headers, **key})
    again = await door.post(path, json=body, headers={**player.headers, **key})
    assert first.status_code < 500, first.text
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    other = await door.post(path, json={**body, "stake": 101}, headers={**player.headers, **key})
    assert (other.status_code, problem_of(other)) == (409, "idempotency-mismatch")


@pytest.mark.parametrize("key", [None, "x" * 256, "tab\there", "schl\u00fcssel"])
async def test_a_route_that_moves_money_needs_a_usable_key(
    door: httpx.AsyncClient, player: Player, key: str | None
) -> None:
    headers = {**player.headers} if key is None else {**player.headers, "idempotency-key": key}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    answer = await door.post("/v1/deposits", json={}, headers=raw)
    assert (answer.status_code, problem_of(answer)) == (400, "validation")
    assert answer.json()["field"] == "Idempotency-Key"


@pytest.mark.parametrize("origins", ["", "https://play.betmesh.example"])
async def test_browsers_of_other_origins_are_let_in_only_by_the_setting(
    platform: Platform, origins: str
) -> None:
    overrides = {**platform.settings, "CORS_ORIGINS": origins}
    context = Runtime(gateway_service, Settings(overrides)).context()
    app = Litestar(routes(context), openapi_config=None, **application_options(context))
    origin = "https://play.betmesh.example"
    async with AsyncTestClient(app) as client:
        asked = {"origin": origin, "access-control-request-method": "POST"}
        preflight = await client.options("/v1/bets", headers=asked)
        assert preflight.headers.get("access-control-allow-origin") == (origin if origins else None)
        stranger = {**asked, "origin": "https://evil.example"}
        refused = await client.options("/v1/bets", headers=stranger)
        assert "access-control-allow-origin" not in refused.headers


@pytest.mark.parametrize("locale", ["en", "de", "pt-BR"])
def test_every_problem_has_words_in_every_language(locale: str) -> None:
    file: Path = ROOT / "svc/localization/bundles" / locale / "problems.json"
    texts = msgspec.json.decode(file.read_bytes(), type=dict[str, str])
    refusals: set[type[Refused]] = {
        refusal
        for contract in catalogue.contracts()
        for call in contract.answers
        for refusal in call.refuses
    }
    refusals |= {kind for kind in Refused.__subclasses__() if kind.__module__ == answers.__name__}
    names = {kind.name for kind in refusals} | {Unavailable.name, TimedOut.name, "internal"}
    assert {name for name in names if re.fullmatch("[a-z-]+", name)} == names
    assert names <= texts.keys()
