"""Writes `svc/gateway/asyncapi.json`: AsyncAPI 3.0 of every event and live channel.

Events are for operators and services on NATS; live channels are WebSockets of the gateway.
"""

import json
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from svc import catalogue
from svc.gateway.balances import BALANCES
from svc.mesh.contract import Contract, Event, Live
from svc.mesh.envelope import CloudEvent
from svc.mesh.parcels import APART_MAX, BATCH_TYPE, TOGETHER_MAX

PATH = "svc/gateway/asyncapi.json"
REF = "#/components/schemas/{name}"

Json = dict[str, Any]


def asyncapi_files() -> dict[str, str]:
    """Return the document's text by its path in the checkout."""
    text = json.dumps(document(catalogue.contracts()), indent=1, ensure_ascii=False)
    return {PATH: text + "\n"}


def document(contracts: Iterable[Contract]) -> Json:
    """Return the AsyncAPI document of contracts."""
    contracts = list(contracts)
    events = [(contract, event) for contract in contracts for event in contract.events()]
    lives = [(contract, live) for contract in contracts for live in contract.pushes]
    lives += [(contract, BALANCES) for contract in contracts if contract.name == BALANCES.bucket]
    types: list[Any] = [CloudEvent[event.data] for _, event in events]
    types += [kind for _, live in lives for kind in (live.snapshot.reply, live.data)]
    unique = list(dict.fromkeys(types))
    found, components = msgspec.json.schema_components(unique, ref_template=REF)
    schemas = dict(zip(unique, found, strict=True))
    channels: Json = {}
    operations: Json = {}
    for contract, event in events:
        channels[event.type] = _event_channel(event, schemas)
        operations[f"{contract.name}.{event.type}"] = _event_operation(contract, event)
    for contract, live in lives:
        channels[f"ws.{live.channel}"] = _live_channel(live, schemas)
        operations[f"gateway.{live.channel}"] = _live_operation(contract, live)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "betmesh",
            "version": catalogue.contract("gateway").version,
            "description": "Events are CloudEvents 1.0 in structured JSON on NATS JetStream; live "
            "channels are WebSockets whose first frame is the current state.",
        },
        "defaultContentType": "application/json",
        "servers": {
            "nats": {"host": "127.0.0.1:4222", "protocol": "nats"},
            "gateway": {"host": "127.0.0.1:8080", "protocol": "ws"},
        },
        "channels": channels,
        "operations": operations,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "accessToken": {
                    "type": "httpApiKey",
                    "in": "header",
                    "name": "Sec-WebSocket-Protocol",
                    "description": "The list `betmesh.v1, bearer.<access token>`",
                }
            },
        },
    }


def _event_channel(event: Event[Struct], schemas: dict[Any, Json]) -> Json:
    schema = schemas[CloudEvent[event.data]]
    messages: Json = {
        event.type: {
            "name": event.type,
            "contentType": "application/cloudevents+json",
            "summary": event.purpose,
            "payload": schema,
        }
    }
    if event.together:
        messages[f"{event.type}.batch"] = {
            "name": f"{event.type}.batch",
            "contentType": BATCH_TYPE,
            "summary": f"More than {APART_MAX} of one commit, in order.",
            "payload": {
                "type": "array", "minItems": APART_MAX + 1, "maxItems": TOGETHER_MAX,
                "items": schema,
            },
        }  # fmt: skip
    return {
        "address": event.subject,
        "description": event.purpose,
        "servers": [{"$ref": "#/servers/nats"}],
        "messages": messages,
    }


def _event_operation(contract: Contract, event: Event[Struct]) -> Json:
    asked = event in contract.accepts
    publishers = ", ".join(event.publishers)
    summary = f"{contract.name} takes this from {publishers}" if asked else event.purpose
    return {
        "action": "receive" if asked else "send",
        "summary": summary,
        "channel": {"$ref": f"#/channels/{event.type}"},
        "tags": [{"name": contract.name}, {"name": event.topic}],
    }


def _live_channel(live: Live[Struct], schemas: dict[Any, Json]) -> Json:
    channel: Json = {
        "address": live.path,
        "description": live.purpose,
        "servers": [{"$ref": "#/servers/gateway"}],
        "messages": {
            "state": {
                "summary": "The first frame: the current state.",
                "payload": schemas[live.snapshot.reply],
            },
            "change": {"summary": live.purpose, "payload": schemas[live.data]},
        },
    }
    if "{key}" in live.path:
        what = f"The {live.snapshot_key} to follow"
        channel["parameters"] = {"key": {"description": what}}
    return channel


def _live_operation(contract: Contract, live: Live[Struct]) -> Json:
    operation: Json = {
        "action": "send",
        "summary": live.purpose,
        "channel": {"$ref": f"#/channels/ws.{live.channel}"},
        "tags": [{"name": contract.name}],
    }
    if live.role != "public":
        operation["security"] = [{"$ref": "#/components/securitySchemes/accessToken"}]
    return operation
