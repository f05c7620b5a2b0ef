"""Every HTTP route of the running platform refuses what is wrong with the right problem."""

import asyncio
import re
import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from svc import catalogue
from svc.gateway.binding import Form, forms
from svc.gateway.http import BODY_MAX
from svc.mesh.clock import new_id
from tests.journeys.world import Platform, new_player, operator

FORMS = forms(catalogue.contracts())
ENDS_THE_SESSION = r"^/v1/sessions/(current|\{session_id\})$"
BEYOND_SCHEMAS = "positive_data_acceptance"
"""Not checked by schemathesis: a telephone number may have the right form and not exist (400), a
stake may be more than there is (422)."""
WRONG: list[object] = [[], "text", 1, None, {"no_such_field": 1}]
STAFF_TAGS = ("admin", "reports")


def named(form: Form) -> str:
    """Return a route as a test's name."""
    return f"{form.route.method} {form.route.path}"


def chosen(*, private: bool = False, staff: bool = False, body: bool = False) -> list[Form]:
    """Return the routes with these properties."""
    return [
        form
        for form in FORMS
        if (not private or form.route.role != "public")
        and (not staff or form.route.role in {"operator", "admin"})
        and (not body or form.has_body)
    ]


@dataclass
class Door:
    """The gateway as a client sees it, with a player's and an operator's token."""

    http: httpx.AsyncClient
    player: str
    staff: str

    async def send(
        self,
        form: Form,
        body: bytes | None,
        *,
        token: str | None,
        key: bool = True,
        query: str = "",
    ) -> httpx.Response:
        """Send a request to a route; braces of its path become a fresh id."""
        headers = {"content-type": "application/json"} if body is not None else {}
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        if form.route.idempotent and key:
            headers["idempotency-key"] = new_id()
        path = re.sub(r"{\w+}", new_id(), form.route.path) + query
        return await self.http.request(form.route.method, path, content=body, headers=headers)

    def token_for(self, form: Form) -> str | None:
        """Return a token with the role that a route wants."""
        return {"public": None, "player": self.player}.get(form.route.role, self.staff)


@pytest.fixture(scope="module")
async def door(whole: Platform) -> AsyncGenerator[Door]:
    """A client of the gateway."""
    async with whole.world() as world:
        await new_player(world)
        await operator(world)
        yield Door(world.player.http, world.player.token, world.operator.token)


def problem(answer: httpx.Response) -> tuple[int, str]:
    """Return status and name of a problem, whose form is checked on the way."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    document: dict[str, Any] = answer.json()
    assert document["status"] == answer.status_code
    assert document["title"]
    assert document["detail"]
    return answer.status_code, document["type"].removeprefix("urn:betmesh:problem:")


@pytest.mark.parametrize("form", chosen(private=True), ids=named)
async def test_without_a_good_token_nothing_is_told(door: Door, form: Form) -> None:
    for token in (None, "nonsense", door.player[:-4] + "AAAA"):
        answer = await door.send(form, b"{" if form.has_body else None, token=token)
        assert problem(answer) == (401, "unauthenticated")


@pytest.mark.parametrize("form", chosen(staff=True), ids=named)
async def test_a_player_is_no_operator(door: Door, form: Form) -> None:
    body = b"{}" if form.has_body else None
    answer = await door.send(form, body, token=door.player)
    assert problem(answer) == (403, "forbidden")


@pytest.mark.parametrize("form", chosen(body=True), ids=named)
async def test_wrong_bodies_are_refused_with_a_reason(door: Door, form: Form) -> None:
    token = door.token_for(form)
    for wrong in WRONG:
        answer = await door.send(form, msgspec.json.encode(wrong), token=token)
        assert problem(answer) == (400, "validation"), wrong
    for broken in (b"{", b"\xff", b'{"a":' * 2_000, b'{"a": NaN}'):
        answer = await door.send(form, broken, token=token)
        assert problem(answer) == (400, "validation"), broken[:20]


@pytest.mark.parametrize("form", chosen(body=True), ids=named)
async def test_each_field_of_a_wrong_type_or_missing_is_refused(door: Door, form: Form) -> None:
    token = door.token_for(form)
    fields = msgspec.structs.fields(form.sent)
    for field in fields:
        body: dict[str, object] = {f.encode_name: None for f in fields if f.required}
        body[field.encode_name] = {"of": "another type"}
        answer = await door.send(form, msgspec.json.encode(body), token=token)
        assert problem(answer) == (400, "validation"), field.name
    if form.body_required:
        assert problem(await door.send(form, b"{}", token=token)) == (400, "validation")


@pytest.mark.parametrize("form", chosen(body=True), ids=named)
async def test_a_body_of_more_than_a_mebibyte_is_refused(door: Door, form: Form) -> None:
    body = b'{"a":"' + b"a" * BODY_MAX + b'"}'
    answer = await door.send(form, body, token=door.token_for(form))
    assert problem(answer) == (413, "payload-too-large")


@pytest.mark.parametrize("form", [f for f in FORMS if not f.has_body], ids=named)
async def test_unknown_query_parameters_are_refused(door: Door, form: Form) -> None:
    answer = await door.send(form, None, token=door.token_for(form), query="?no_such_field=1")
    assert problem(answer) == (400, "validation")


@pytest.mark.parametrize("form", [f for f in FORMS if f.route.idempotent], ids=named)
async def test_what_moves_money_needs_a_key(door: Door, form: Form) -> None:
    answer = await door.send(form, b"{}", token=door.token_for(form), key=False)
    assert problem(answer) == (400, "validation")


@pytest.mark.timeout(170)
@pytest.mark.parametrize("who", ["player", "staff"])
async def test_schemathesis_finds_no_error_and_no_difference_to_the_document(
    whole: Platform, door: Door, tmp_path: Path, who: str
) -> None:
    selection = "--include-tag" if who == "staff" else "--exclude-tag"
    command = [
        str(Path(sys.executable).parent / "st"),
        *("run", whole.installation["GATEWAY_URL"] + "/openapi.json"),
        *("--header", f"Authorization: Bearer {door.staff if who == 'staff' else door.player}"),
        *(word for tag in STAFF_TAGS for word in (selection, tag)),
        *("--exclude-path-regex", ENDS_THE_SESSION, "--exclude-checks", BEYOND_SCHEMAS),
        *("--phases", "fuzzing", "--max-examples", "4", "--seed", "2", "--no-color"),
    ]
    running = await asyncio.create_subprocess_exec(
        *command, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await running.communicate()
    assert running.returncode == 0, said.decode()[-6000:]
