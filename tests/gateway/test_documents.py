"""The documents say what the door does: checked by schemathesis against the running services."""

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import jsonschema_rs
import pytest

from svc import catalogue
from svc.gateway.binding import forms
from svc.gateway.state import running_gateways
from svc.generate.asyncapi import asyncapi_files
from svc.generate.openapi import openapi_files
from tests.gateway.conftest import registered
from tests.support.mesh import Services
from tests.support.platform import Platform

TAGS = ("identity", "wallet", "sportsbook", "casino", "gaming", "localization")
ENDS_THE_SESSION = "/v1/sessions/current"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
BEYOND_SCHEMAS = "positive_data_acceptance"
"""Not checked: a telephone number may have the right form and not exist (400), a stake may be more
than there is (422)."""


def loaded(files: dict[str, str]) -> Any:
    return json.loads(next(iter(files.values())))


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in cast("dict[str, object]", value).items():
            if key == "$ref":
                yield str(item)
            else:
                yield from references(item)
    elif isinstance(value, list):
        for item in cast("list[object]", value):
            yield from references(item)


@pytest.mark.parametrize("files", [openapi_files, asyncapi_files])
def test_every_reference_leads_somewhere_and_every_schema_is_one(files: Any) -> None:
    document = loaded(files())
    for reference in references(document):
        found = document
        for step in reference.removeprefix("#/").split("/"):
            found = found[step.replace("~1", "/").replace("~0", "~")]
        assert found
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.meta.validate({"$schema": DIALECT, **schema})


def test_every_route_is_in_the_document_and_its_injected_fields_are_not() -> None:
    document = loaded(openapi_files())
    for form in forms(catalogue.contracts()):
        operation = document["paths"][form.route.path][form.route.method.lower()]
        sendable = {item["name"] for item in operation["parameters"]}
        assert {"user_id", "actor_id"}.isdisjoint(sendable - set(form.path))
        assert ("Idempotency-Key" in sendable) == form.route.idempotent
        assert bool(operation["security"]) == (form.route.role != "public")


def test_every_event_and_live_channel_is_in_the_asyncapi_document() -> None:
    channels = loaded(asyncapi_files())["channels"]
    addresses = {channel["address"] for channel in channels.values()}
    for contract in catalogue.contracts():
        assert {event.subject for event in contract.events()} <= addresses
        assert {live.path for live in contract.pushes} <= addresses


@pytest.mark.timeout(170)
async def test_the_running_door_does_what_its_document_says(
    door: httpx.AsyncClient,
    services: Services,
    platform: Platform,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EXCLUSION_CONFIRMED_BY", "sportsbook,casino")
    await services("localization", "wallet", "sportsbook", "casino", "gaming")
    player = await registered(door)
    gateway = running_gateways()[0]
    sizes = gateway.limiter.sizes
    # This knocks more often than any client.
    gateway.limiter.sizes = {
        kind: (rate * 10_000, burst * 10_000) for kind, (rate, burst) in sizes.items()
    }
    command = [
        str(Path(sys.executable).parent / "st"),
        *("run", platform.settings["GATEWAY_URL"] + "/openapi.json"),
        *("--header", f"Authorization: Bearer {player.token}"),
        *(word for tag in TAGS for word in ("--include-tag", tag)),
        *("--exclude-path", ENDS_THE_SESSION, "--exclude-checks", BEYOND_SCHEMAS),
        *("--phases", "fuzzing", "--max-examples", "5", "--seed", "1", "--no-color"),
    ]
    try:
        running = await asyncio.create_subprocess_exec(
            *command, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        said, _ = await running.communicate()
    finally:
        gateway.limiter.sizes = sizes
    assert running.returncode == 0, said.decode()[-6000:]
