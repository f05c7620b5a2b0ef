"""HTTP at the door: each refusal is a problem document, and nothing wrong gets further."""

import asyncio
from collections.abc import AsyncGenerator
from statistics import median

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from svc.gateway.http import BODY_MAX
from svc.identity import contract as identity
from svc.mesh import tokens
from svc.mesh.clock import SystemClock, new_id
from tests.gateway.conftest import PASSWORD, Player, registered
from tests.support.mesh import Operator, Services
from tests.support.platform import Platform
from tests.support.waiting import until


def problem_of(answer: httpx.Response) -> str:
    """Return the name of an answered problem, whose form is checked on the way."""
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["status"] == answer.status_code
    assert document["title"]
    assert document["detail"]
    return document["type"].removeprefix("urn:betmesh:problem:")


async def test_a_player_reads_their_own_profile(door: httpx.AsyncClient, player: Player) -> None:
    answer = await door.get("/v1/users/me", headers=player.headers)
    assert answer.status_code == 200
    assert answer.json()["user_id"] == player.user_id
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in answer.headers


async def test_a_client_finds_its_request_id_in_the_answer(
    door: httpx.AsyncClient, player: Player
) -> None:
    given = await door.get("/v1/users/me", headers={**player.headers, "x-request-id": "my-1"})
    assert given.headers["x-request-id"] == "my-1"
    made = await door.get("/v1/users/me", headers={**player.headers, "x-request-id": "<script>"})
    assert len(made.headers["x-request-id"]) == 36


async def test_a_problem_has_its_title_in_the_clients_language(
    door: httpx.AsyncClient, services: Services
) -> None:
    await services("localization")

    async def in_german() -> bool:
        answer = await door.get("/v1/users/me", headers={"accept-language": "de-AT,en;q=0.5"})
        return answer.json()["title"] == "Bitte melden Sie sich an."

    await until(in_german)
    plain = await door.get("/v1/users/me")
    assert plain.json()["title"] == "A valid access token is needed"


@pytest.mark.parametrize("token", ["-", "nonsense", "a.b.c", "ü"])
async def test_a_route_for_players_refuses_what_is_no_token(
    door: httpx.AsyncClient, token: str
) -> None:
    header = f"Bearer {token}".encode()
    answer = await door.get("/v1/users/me", headers={b"authorization": header})
    assert (answer.status_code, problem_of(answer)) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert problem_of(await door.get("/v1/users/me")) == "unauthenticated"


async def test_a_token_that_another_key_signed_is_refused(
    door: httpx.AsyncClient, player: Player
) -> None:
    forged = tokens.issue(
        Ed25519PrivateKey.generate(),
        user_id=player.user_id,
        session_id=new_id(),
        roles=["admin"],
        currency="EUR",
        token_id=new_id(),
        now=SystemClock().now(),
    )
    answer = await door.get("/v1/users/me", headers={"authorization": f"Bearer {forged}"})
    assert problem_of(answer) == "unauthenticated"


async def test_nobody_learns_what_a_route_takes_before_saying_who_they_are(
    door: httpx.AsyncClient, player: Player
) -> None:
    stranger = await door.put("/v1/users/me/limits", content=b"not json")
    assert problem_of(stranger) == "unauthenticated"
    known = await door.get("/v1/admin/gateway/routes?unknown=1", headers=player.headers)
    assert (known.status_code, problem_of(known)) == (403, "forbidden")


async def test_an_ended_session_opens_nothing_any_more_within_a_second(
    door: httpx.AsyncClient, player: Player
) -> None:
    """The promise is of a door that has time to answer: half of the tries show it."""
    clock = asyncio.get_running_loop().time
    took: list[float] = []
    for _ in range(3):
        credentials = {"email": player.email, "password": PASSWORD}
        opened = await door.post("/v1/sessions", json=credentials)
        headers = {"authorization": f"Bearer {opened.json()['access_token']}"}
        assert (await door.get("/v1/users/me", headers=headers)).status_code == 200
        ended = await door.delete("/v1/sessions/current", headers=headers)
        answered = clock()
        assert (ended.status_code, ended.content) == (204, b"")

        async def refused(headers: dict[str, str] = headers) -> bool:
            return (await door.get("/v1/users/me", headers=headers)).status_code == 401

        await until(refused)
        took.append(clock() - answered)
    assert median(took) < 1


async def test_staff_reads_which_routes_are_served(
    platform: Platform, door: httpx.AsyncClient
) -> None:
    credentials = {
        "email": platform.settings["ADMIN_EMAIL"],
        "password": platform.settings["ADMIN_PASSWORD"],
    }
    answer = await door.post("/v1/sessions", json=credentials)
    assert answer.status_code == 201, answer.text
    headers = {"authorization": f"Bearer {answer.json()['access_token']}"}
    answer = await door.get("/v1/admin/gateway/routes", headers=headers)
    assert answer.status_code == 200, answer.text
    served = {(item["method"], item["path"]): item for item in answer.json()["items"]}
    assert served["POST", "/v1/bets"]["subject"] == "rpc.sportsbook.v1.place_bet"
    assert served["POST", "/webhooks/payment"]["role"] == "public"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"kind": "deposit"}', "period"),
        (b'{"kind": "deposit", "period": "day", "amount": 100, "hurry": 1}', "hurry"),
        (b'{"kind": "deposit", "period": "day", "amount": "100"}', "amount"),
        (b'{"kind": "deposit", "period": "day", "amount": 0}', "amount"),
        (b'{"kind": "deposit", "period": "day", "amount": 1e400}', "amount"),
        (b'{"kind": "deposit", "period": "day", "amount": 99999999999999999999}', "amount"),
        (b'{"user_id": "01a20377-9efa-74e1-b9de-853f3dd6410f"}', "user_id"),
        (b'{"kind": "deposit", "period"', "JSON"),
        (b"[]", "array"),
        (b"null", "null"),
        (b"\xff", "JSON"),
        (b'{"kind": ' + b"[" * 100_000, "kind"),
        (b'{"x": ' + b'{"a":' * 100_000, "x"),
        (b"", "kind"),
    ],
)
async def test_a_malformed_body_is_refused_and_the_refusal_names_what_is_wrong(
    door: httpx.AsyncClient, player: Player, body: bytes, says: str
) -> None:
    headers = {**player.headers, "content-type": "application/json"}
    answer = await door.put("/v1/users/me/limits", content=body, headers=headers)
    assert (answer.status_code, problem_of(answer)) == (400, "validation")
    assert says in answer.json()["detail"]


async def test_a_body_of_another_media_type_is_refused(
    door: httpx.AsyncClient, player: Player
) -> None:
    answer = await door.put("/v1/users/me/limits", data={"kind": "deposit"}, headers=player.headers)
    assert (answer.status_code, problem_of(answer)) == (415, "unsupported-media-type")


async def test_text_with_the_null_character_is_refused_and_its_spelling_is_not(
    door: httpx.AsyncClient,
) -> None:
    await_refused = await door.post(
        "/v1/sessions", json={"email": "a\0b@betmesh-players.com", "password": PASSWORD}
    )
    assert problem_of(await_refused) == "validation"
    spelled = await door.post(
        "/v1/sessions", json={"email": "a\\u0000b@betmesh-players.com", "password": PASSWORD}
    )
    assert problem_of(spelled) == "unauthenticated"


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "limit=x", "limit=", "limit=1&limit=2", "color=red"]
)
async def test_a_malformed_query_is_refused(
    door: httpx.AsyncClient, player: Player, query: str
) -> None:
    answer = await door.get(f"/v1/bets?{query}", headers=player.headers)
    assert (answer.status_code, problem_of(answer)) == (400, "validation")
    assert query.partition("=")[0] in answer.json()["detail"]


async def test_a_malformed_id_in_the_path_is_refused(
    door: httpx.AsyncClient, player: Player
) -> None:
    answer = await door.get("/v1/bets/not-a-uuid", headers=player.headers)
    assert (answer.status_code, problem_of(answer)) == (400, "validation")
    assert answer.json()["field"] == "bet_id"


async def test_a_body_that_is_too_large_is_refused_by_its_announcement(
    door: httpx.AsyncClient, player: Player
) -> None:
    answer = await door.put(
        "/v1/users/me/limits", content=b" " * (BODY_MAX + 1), headers=player.headers
    )
    assert (answer.status_code, problem_of(answer)) == (413, "payload-too-large")


async def test_a_body_that_grows_too_large_is_refused_without_being_kept(
    door: httpx.AsyncClient, player: Player
) -> None:
    async def endless() -> AsyncGenerator[bytes]:
        for _ in range(3 * BODY_MAX // 65536):
            yield b" " * 65536

    answer = await door.put("/v1/users/me/limits", content=endless(), headers=player.headers)
    assert (answer.status_code, problem_of(answer)) == (413, "payload-too-large")


async def test_an_unknown_path_and_a_wrong_method_are_problems_too(door: httpx.AsyncClient) -> None:
    unknown = await door.get("/v1/nothing")
    assert (unknown.status_code, problem_of(unknown)) == (404, "not-found")
    wrong = await door.patch("/v1/bets")
    assert (wrong.status_code, problem_of(wrong)) == (405, "method-not-allowed")
    assert {"GET", "POST"} <= set(wrong.headers["allow"].split(", "))


async def test_a_path_tells_which_methods_it_takes(door: httpx.AsyncClient) -> None:
    told = await door.options("/v1/bets")
    assert told.status_code == 204
    assert told.headers["allow"] == "GET, OPTIONS, POST"


async def test_a_service_that_is_down_is_unavailable_for_now(
    door: httpx.AsyncClient, player: Player, services: Services
) -> None:
    await services.stop("reporting", "marketing")
    answer = await door.get("/v1/marketing/loyalty", headers=player.headers)
    assert (answer.status_code, problem_of(answer)) == (503, "unavailable")
    assert int(answer.headers["retry-after"]) >= 1


async def test_without_identity_whoever_is_logged_in_goes_on(
    door: httpx.AsyncClient, services: Services, operator: Operator
) -> None:
    await services("wallet")
    player = await registered(door)
    await operator.heard(identity.USER_REGISTERED, lambda data: data.user_id == player.user_id)
    await services.stop("identity")
    try:
        answer = await door.get("/v1/wallet", headers=player.headers)
        assert answer.status_code in {200, 404}, answer.text
        closed = await door.post("/v1/sessions", json={"email": player.email, "password": "x"})
        assert (closed.status_code, problem_of(closed)) == (503, "unavailable")
    finally:
        await services("identity")


async def test_readiness_tells_of_every_dependency(door: httpx.AsyncClient) -> None:
    answer = await door.get("/readyz")
    assert answer.status_code == 200
    body = answer.json()
    assert body["checks"] == {"nats": True, "keys": True, "valkey": True}
    assert body["services"]["identity"] is True
    assert len(body["services"]) == 12
    assert (await door.get("/healthz")).status_code == 200
    assert b"gateway_requests_total" in (await door.get("/metrics")).content


async def test_the_documents_need_nothing_from_elsewhere(door: httpx.AsyncClient) -> None:
    page = await door.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert (await door.get("/openapi.json")).json()["openapi"] == "3.1.0"
    assert (await door.get("/asyncapi.json")).json()["asyncapi"] == "3.0.0"
