"""What attackers try at the door, one test for each: tokens, headers, bodies, patience, keys."""

import asyncio
import base64
import hmac
import json
import re
import sys
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import grpc
import grpc.aio
import httpx
import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from proto.betmesh.wallet.v1 import wallet_pb2, wallet_pb2_grpc
from svc import catalogue
from svc.demo.client import until
from svc.gateway import serving
from svc.gateway.binding import forms
from svc.identity import contract_security as security
from svc.mesh import patience, tokens
from svc.mesh.clock import new_id
from svc.platform.installation import ROOT
from tests.gateway.conftest import PASSWORD, Player
from tests.support.mesh import Operator
from tests.support.platform import Platform

FORMS = forms(catalogue.contracts())
SERVER_SET = frozenset(
    {"user_id", "actor_id", "session_id", "ip", "device", "roles", "kyc_status", "status"}
)
"""What a request never says of itself; admins alone set roles and outcomes of verifications."""
WHERE_TO_CALL = re.compile(
    r"url|uri|host|callback|webhook|endpoint|redirect|address", re.IGNORECASE
)


def part(document: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


async def signing_key(platform: Platform) -> Ed25519PrivateKey:
    """The installation's own key: what follows is refused although it is rightly signed."""
    async with platform.database("identity") as connection:
        raw = await connection.fetchval(
            "SELECT private_key FROM signing_keys ORDER BY signs_from LIMIT 1"
        )
    return Ed25519PrivateKey.from_private_bytes(raw)


async def answer_to(door: httpx.AsyncClient, token: str) -> tuple[int, str]:
    answer = await door.get("/v1/users/me", headers={"authorization": f"Bearer {token}"})
    return answer.status_code, answer.json().get("type", "").rpartition(":")[2]


async def test_a_token_cannot_choose_how_it_is_checked(
    door: httpx.AsyncClient, player: Player, platform: Platform
) -> None:
    key = await signing_key(platform)
    public = key.public_key().public_bytes_raw()
    claims = jwt.decode(player.token, options={"verify_signature": False}) | {"roles": ["admin"]}
    kid = jwt.get_unverified_header(player.token)["kid"]
    own = Ed25519PrivateKey.generate()
    own_jwk = {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": base64.urlsafe_b64encode(own.public_key().public_bytes_raw()).rstrip(b"=").decode(),
    }
    header = {"typ": "at+jwt", "kid": kid}

    def with_hmac(secret: bytes) -> str:
        signed = f"{part(header | {'alg': 'HS256'})}.{part(claims)}"
        mac = hmac.digest(secret, signed.encode(), "sha256")
        return f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"

    document = tokens.published([key.public_key()])
    forged = [
        f"{part(header | {'alg': 'none'})}.{part(claims)}.",
        f"{part(header | {'alg': 'None'})}.{part(claims)}.",
        with_hmac(public),
        with_hmac(msgspec.json.encode(document)),
        jwt.encode(claims, own, "EdDSA", headers=header),
        jwt.encode(claims, own, "EdDSA", headers=header | {"jwk": own_jwk}),
        jwt.encode(claims, own, "EdDSA", headers=header | {"jku": "http://127.0.0.1:1/jwks"}),
        jwt.encode(claims, own, "EdDSA", headers=header | {"kid": tokens.key_id(own.public_key())}),
        jwt.encode(claims, own, "EdDSA", headers=header | {"kid": "../../../../dev/null"}),
        ".".join([*player.token.split(".")[:1], part(claims), player.token.split(".")[2]]),
    ]
    for token in forged:
        assert await answer_to(door, token) == (401, "unauthenticated"), token


async def test_a_rightly_signed_token_opens_only_in_its_time_and_place(
    door: httpx.AsyncClient, player: Player, platform: Platform
) -> None:
    key = await signing_key(platform)
    claims = jwt.decode(player.token, options={"verify_signature": False})
    now = int(datetime.now(UTC).timestamp())
    header = {"typ": "at+jwt", "kid": tokens.key_id(key.public_key())}
    for change, status in (
        ({}, 200),
        ({"exp": now - 1}, 401),
        ({"nbf": now + 60}, 401),
        ({"iat": now + 60}, 401),
        ({"aud": "elsewhere"}, 401),
        ({"iss": "elsewhere"}, 401),
    ):
        token = jwt.encode(claims | change, key, "EdDSA", headers=header)
        assert (await answer_to(door, token))[0] == status, change


async def test_a_refresh_token_that_is_replayed_ends_the_session_everywhere(
    door: httpx.AsyncClient, player: Player
) -> None:
    logged_in = {"email": player.email, "password": PASSWORD}
    first = (await door.post("/v1/sessions", json=logged_in)).json()
    used = {"refresh_token": first["refresh_token"]}
    second = (await door.post("/v1/sessions/refresh", json=used)).json()
    replayed = await door.post("/v1/sessions/refresh", json=used)
    assert replayed.status_code == 401

    async def ended() -> bool:
        return (await answer_to(door, second["access_token"]))[0] == 401

    await until("the thief's access token refused", ended, within_s=1)
    next_one = {"refresh_token": second["refresh_token"]}
    assert (await door.post("/v1/sessions/refresh", json=next_one)).status_code == 401


async def test_log_in_and_reset_tell_nobody_which_addresses_have_accounts(
    door: httpx.AsyncClient, player: Player
) -> None:
    said: dict[str, set[tuple[int, bytes]]] = {"log-in": set(), "reset": set(), "code": set()}
    for email in (player.email, f"{new_id()}@betmesh-players.com"):
        wrong = {"email": email, "password": "not the password"}
        code = {"email": email, "code": "12345678", "new_password": "another password"}
        for what, path, body in (
            ("log-in", "/v1/sessions", wrong),
            ("reset", "/v1/password-resets", {"email": email}),
            ("code", "/v1/password-resets/confirmation", code),
        ):
            answer = await door.post(path, json=body)
            said[what].add((answer.status_code, answer.content))
    assert {what: len(answers) for what, answers in said.items()} == dict.fromkeys(said, 1)


def test_no_route_takes_from_clients_what_the_platform_says_of_them() -> None:
    for form in FORMS:
        if form.route.role in {"public", "player"}:
            taken = {field.name for field in msgspec.structs.fields(form.sent)}
            allowed = {"status"} if form.route.method == "GET" else set[str]()
            assert taken & SERVER_SET <= allowed, form.route.path


async def test_fields_that_are_not_a_clients_to_set_are_refused(
    door: httpx.AsyncClient, player: Player
) -> None:
    stranger = {"user_id": new_id()}
    for method, path, body in (
        ("PATCH", "/v1/users/me", {"roles": ["admin"]}),
        ("PATCH", "/v1/users/me", {"kyc_status": "verified"}),
        ("PATCH", "/v1/users/me", {"locale": "de"} | stranger),
        ("PUT", "/v1/users/me/limits", {"kind": "stake", "period": "day", "amount": 1} | stranger),
        ("POST", "/v1/users/me/time-out", {"days": 1, "until": "2020-01-01T00:00:00Z"}),
        ("POST", "/v1/users", {"email": "a@b.example", "roles": ["admin"]}),
        ("POST", "/v1/sessions", {"email": player.email, "password": PASSWORD, "ip": "::1"}),
    ):
        answer = await door.request(method, path, json=body, headers=player.headers)
        assert (answer.status_code, answer.json()["type"][-10:]) == (400, "validation"), body
    answer = await door.get(f"/v1/wallet?user_id={new_id()}", headers=player.headers)
    assert answer.status_code == 400
    me = (await door.get("/v1/users/me", headers=player.headers)).json()
    assert (me["user_id"], me["roles"], me["limits"]) == (player.user_id, ["player"], [])


def test_no_route_is_told_where_the_platform_should_call() -> None:
    # What nobody can say, nobody can make us fetch (SSRF): addresses come from settings alone.
    for form in FORMS:
        names = {field.name for field in msgspec.structs.fields(form.sent)}
        assert not [name for name in names if WHERE_TO_CALL.search(name)], form.route.path


async def test_line_ends_in_headers_and_paths_reach_neither_answers_nor_other_headers(
    door: httpx.AsyncClient, player: Player
) -> None:
    for path in ("/v1/sessions/%0d%0aset-cookie:%20x=1", "/v1/bets/%0d%0aset-cookie:x", "/v1/%0a"):
        answer = await door.delete(path, headers=player.headers)
        assert "set-cookie" not in answer.headers
        assert answer.status_code in {400, 404, 405}
    for given in ("a b", "x" * 65, "<script>", "id: forged"):
        told = await door.get("/v1/users/me", headers={"x-request-id": given, **player.headers})
        assert told.status_code == 200
        assert re.fullmatch("[0-9a-f-]{36}", told.headers["x-request-id"])


async def test_a_line_end_in_what_is_logged_begins_no_line_of_its_own() -> None:
    forged = '\n{"event": "forged"}'
    program = (
        "from svc.mesh import log; log.configure();"
        f" log.logger('x', 'y').warning('told', said={forged!r})"
    )
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, cwd=ROOT, stderr=asyncio.subprocess.PIPE
    )
    _, said = await running.communicate()
    assert [json.loads(line)["said"] for line in said.splitlines()] == [forged]


def _raw(door: httpx.AsyncClient) -> tuple[str, int]:
    return door.base_url.host, door.base_url.port or 80


async def test_a_client_that_never_finishes_its_headers_is_hung_up_on(
    door: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "HEAD_WAIT_S", 0.2)
    for beginning in (b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "):
        reader, writer = await asyncio.open_connection(*_raw(door))
        writer.write(beginning)
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()


async def test_a_client_that_never_finishes_its_body_is_told_and_hung_up_on(
    door: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "BODY_WAIT_S", 0.2)
    reader, writer = await asyncio.open_connection(*_raw(door))
    writer.write(
        b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b'Content-Length: 100\r\n\r\n{"email"'
    )
    async with asyncio.timeout(5):
        assert b" 408 " in await reader.readline()
    writer.close()


async def test_bodies_of_a_hundred_thousand_levels_are_refused(door: httpx.AsyncClient) -> None:
    for opened in (b"[", b'{"a":'):
        answer = await door.post("/v1/sessions", content=opened * 100_000)
        assert answer.status_code == 400


async def test_a_key_opens_its_scopes_over_grpc_until_it_is_ended(
    door: httpx.AsyncClient, platform: Platform, operator: Operator
) -> None:
    assert door.base_url
    made = await operator.call(
        security.MAKE_API_KEY, security.MakeApiKey(name="reads", scopes=["wallet.read"])
    )
    old = security.MakeApiKey(
        name="old", scopes=["wallet.read"], expires_at=datetime.now(UTC) - timedelta(seconds=1)
    )
    expired = await operator.call(security.MAKE_API_KEY, old)
    address = f"127.0.0.1:{platform.settings['GATEWAY_GRPC_PORT']}"
    async with grpc.aio.insecure_channel(address) as channel:
        wallet = cast("Any", wallet_pb2_grpc.WalletStub)(channel)

        async def code(call: Any) -> grpc.StatusCode:
            try:
                await call
            except grpc.aio.AioRpcError as failure:
                return failure.code()
            return grpc.StatusCode.OK

        async def read(key: str) -> grpc.StatusCode:
            metadata = (("authorization", f"Bearer {key}"),)
            request = wallet_pb2.GetBalanceRequest(user_id="no id")
            return await code(wallet.GetBalance(request, metadata=metadata))

        async def let_in() -> bool:
            # Past the key, it is the request that is refused.
            return await read(made.key) is grpc.StatusCode.INVALID_ARGUMENT

        async def shut_out() -> bool:
            return await read(made.key) is grpc.StatusCode.UNAUTHENTICATED

        await until("the new key opens", let_in, within_s=2)
        rollback = wallet_pb2.RollbackRequest(transfer_id=new_id(), original_transfer_id=new_id())
        metadata = (("authorization", f"Bearer {made.key}"),)
        assert await code(wallet.Rollback(rollback, metadata=metadata)) is (
            grpc.StatusCode.PERMISSION_DENIED
        )
        assert await read(expired.key) is grpc.StatusCode.UNAUTHENTICATED
        await operator.call(security.REVOKE_API_KEY, security.RevokeApiKey(key_id=made.key_id))
        await until("the ended key shut out", shut_out, within_s=2)
