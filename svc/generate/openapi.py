"""Writes `svc/gateway/openapi.json`: OpenAPI 3.1 of every route and door, from the contracts.

The schemas are those with which the gateway checks requests (svc/gateway/binding.py) and services
build replies, so the document and the behaviour have one source.
"""

import json
from collections.abc import Iterable
from typing import Any, cast

import msgspec
from msgspec import Struct

from svc import catalogue
from svc.gateway import answers
from svc.gateway.binding import KEY_PATTERN, Form, forms
from svc.gateway.proxied import PROXIED, Proxied
from svc.mesh.contract import Contract, Door
from svc.mesh.errors import (
    Conflict,
    Forbidden,
    IdempotencyMismatch,
    Invalid,
    Refused,
    Unauthenticated,
)

PATH = "svc/gateway/openapi.json"
REF = "#/components/schemas/{name}"
NO_NULL_CHARACTER = "^[^\\u0000]*$"
TIMES = {
    429: "`rate-limited`: too many requests; Retry-After says when to come back",
    500: "`internal`: a bug; it was logged",
    503: "`unavailable`: try again after Retry-After",
    504: "`timeout`: the outcome is unknown; ask again, with the same Idempotency-Key",
}
PROBLEM = {
    "type": "object",
    "title": "Problem",
    "description": "RFC 9457 problem details; some problems have more members.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "pattern": "^urn:betmesh:problem:[a-z-]+$"},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string"},
    },
}

Json = dict[str, Any]


def openapi_files() -> dict[str, str]:
    """Return the document's text by its path in the checkout."""
    text = json.dumps(document(catalogue.contracts()), indent=1, ensure_ascii=False)
    return {PATH: text + "\n"}


def document(contracts: Iterable[Contract]) -> Json:
    """Return the OpenAPI document of contracts."""
    contracts = list(contracts)
    served = forms(contracts)
    schemas = Schemas(
        [form.sent for form in served if form.has_body] + [form.call.reply for form in served]
    )
    paths: dict[str, Json] = {}
    for form in served:
        paths.setdefault(form.route.path, {})[form.route.method.lower()] = _operation(form, schemas)
    for contract in contracts:
        for door in contract.doors:
            paths[door.path] = {"post": _door(contract, door)}
    for each in PROXIED:
        paths[each.path] = {"get": _proxied(each)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "betmesh",
            "version": catalogue.contract("gateway").version,
            "description": "Money is integer minor units next to an ISO 4217 currency; ids are "
            "UUIDs; times are RFC 3339 in UTC. Unknown fields are refused. Errors are RFC 9457 "
            "problem documents; switch on `type`.",
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": contract.name, "description": contract.purpose} for contract in contracts]
        + [{"name": "admin", "description": "Staff"}, {"name": "reports", "description": "Staff"}],
        "paths": paths,
        "components": {
            "schemas": {**schemas.components, "Problem": PROBLEM},
            "responses": {str(status): _problem(text) for status, text in TIMES.items()},
            "securitySchemes": {
                "accessToken": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
            },
        },
    }


class Schemas:
    """The JSON Schemas of all types, and the reference of each."""

    def __init__(self, types: Iterable[type[Struct]]) -> None:
        """Derive them; two types of one name get their module in front."""
        unique = list(dict.fromkeys(types))
        found, components = msgspec.json.schema_components(unique, ref_template=REF)
        self.of = dict(zip(unique, map(_tidy, found), strict=True))
        self.components: Json = {name: _tidy(schema) for name, schema in components.items()}


def _operation(form: Form, schemas: Schemas) -> Json:
    place, call = form.route, form.call
    operation: Json = {
        "operationId": f"{call.service}_{call.verb}",
        "summary": call.purpose,
        "tags": [place.tag or call.service],
        "security": [] if place.role == "public" else [{"accessToken": []}],
        "parameters": _parameters(form),
        "responses": _responses(form, schemas),
    }
    if place.role in {"operator", "admin"}:
        operation["description"] = f"Needs the role `{place.role}`."
    if form.has_body:
        operation["requestBody"] = {
            "required": form.body_required,
            "content": {"application/json": {"schema": schemas.of[form.sent]}},
        }
    return operation


def _parameters(form: Form) -> list[Json]:
    found = [
        {"name": name, "in": "path", "required": True, "schema": _schema(kind)}
        for name, kind in form.path.items()
    ]
    if not form.has_body:
        found += [
            {
                "name": field.name,
                "in": "query",
                "required": field.required,
                "schema": _schema(field.type),
            }
            for field in msgspec.structs.fields(form.sent)
        ]
    if form.route.idempotent:
        found.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": True,
                "description": "Same key and body: same answer. Same key, other body: 409.",
                "schema": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 255,
                    "pattern": KEY_PATTERN,
                },
            }
        )
    return found


def _schema(kind: Any) -> Json:
    return _tidy(msgspec.json.schema_components((kind,), ref_template=REF)[0][0])


def _responses(form: Form, schemas: Schemas) -> Json:
    place = form.route
    success: Json = {"description": form.call.reply.__doc__ or "Done."}
    if place.status == 204:  # noqa: PLR2004  # the one success without a body
        success = {"description": "Done."}
    elif place.media_type != "application/json":
        success["content"] = {place.media_type: {"schema": {"type": "string"}}}
        link = "The next page, if there is one (RFC 8288)"
        success["headers"] = {
            "X-Request-ID": {"schema": {"type": "string"}},
            "Link": {"description": link, "schema": {"type": "string"}},
        }
    else:
        success["content"] = {"application/json": {"schema": schemas.of[form.call.reply]}}
        success["headers"] = {"X-Request-ID": {"schema": {"type": "string"}}}
    refusals: list[type[Refused]] = [Invalid, *form.call.refuses]
    if place.role != "public":
        refusals.append(Unauthenticated)
    if place.role in {"operator", "admin"}:
        refusals.append(Forbidden)
    if place.idempotent:
        refusals += [Conflict, IdempotencyMismatch]
    if form.has_body:
        refusals += [answers.PayloadTooLarge, answers.UnsupportedMediaType, answers.RequestTimeout]
    return {str(place.status): success, **_refusals(refusals), **_always()}


def _refusals(refusals: Iterable[type[Refused]]) -> Json:
    by_status: dict[int, dict[str, str]] = {}
    for refusal in refusals:
        by_status.setdefault(refusal.status, {}).setdefault(refusal.name, refusal.title())
    return {
        str(status): _problem("; ".join(f"`{name}`: {text}" for name, text in names.items()))
        for status, names in sorted(by_status.items())
    }


def _always() -> Json:
    return {str(status): {"$ref": f"#/components/responses/{status}"} for status in TIMES}


def _problem(description: str) -> Json:
    return {
        "description": description,
        "content": {"application/problem+json": {"schema": {"$ref": REF.format(name="Problem")}}},
    }


def _door(contract: Contract, door: Door) -> Json:
    refusals = [Invalid, *door.call.refuses, answers.PayloadTooLarge, answers.RequestTimeout]
    return {
        "operationId": f"{door.call.service}_{door.call.verb}",
        "summary": door.call.purpose,
        "description": f"For {door.sender or 'an outside system'}; the service checks the sender.",
        "tags": [contract.name],
        "security": [],
        "parameters": [
            {"name": name, "in": "header", "required": False, "schema": {"type": "string"}}
            for name in door.headers
        ],
        "requestBody": {"required": True, "content": {door.media_type: {"schema": {}}}},
        "responses": {
            str(door.status): {
                "description": "Taken in.",
                "content": {"application/json": {"schema": {"type": "object"}}},
            },
            **_refusals(refusals),
            **_always(),
        },
    }


def _proxied(each: Proxied) -> Json:
    return {
        "operationId": f"{each.service}_{each.path.split('/')[2]}",
        "summary": each.summary,
        "tags": [each.service],
        "security": [],
        "parameters": [
            {
                "name": name,
                "in": "path",
                "required": True,
                "schema": {"type": "string", "pattern": pattern},
            }
            for name, pattern in each.parameters.items()
        ],
        "responses": {
            "200": {
                "description": "The bundle; ask again with If-None-Match and its ETag.",
                "headers": {"ETag": {"schema": {"type": "string"}}},
                "content": {"application/json": {"schema": {"type": "object"}}},
            },
            "304": {"description": "What you have is current."},
            "400": _problem("`validation`"),
            "404": _problem("`not-found`"),
            **_always(),
        },
    }


def _tidy(schema: Any) -> Any:
    """Say of each free text that it holds no U+0000: the gateway refuses that character."""
    if isinstance(schema, list):
        return [_tidy(item) for item in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    tidy: Json = {key: _tidy(value) for key, value in cast("Json", schema).items()}
    if tidy.get("type") == "string" and not tidy.keys() & {"pattern", "format", "enum", "const"}:
        tidy["pattern"] = NO_NULL_CHARACTER
    return tidy
