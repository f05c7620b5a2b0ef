"""Writes subjects.md: every subject, who may use it, its body, and a line to try it."""

import typing
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct, inspect

from svc.generate.topology import Topology
from svc.mesh import desk
from svc.mesh.contract import Call, Event
from svc.mesh.parcels import APART_MAX, BATCH_TYPE, TOGETHER_MAX
from svc.mesh.policy_rules import AUDIT_STREAM, BUCKET

HEAD = """# Subjects

Generated from the services' declarations by `just generate`; do not edit.

Calls are request-reply with plain JSON bodies: `just nats req rpc.wallet.v1.balance '{...}'`.
Events are CloudEvents 1.0 in structured JSON; the tables below show their `data`.
The operator may call every `rpc.>` and read every topic. Whoever is not named is refused by the
broker. Errors carry the headers `Nats-Service-Error` and `Nats-Service-Error-Code`, their body is
an RFC 9457 problem document.
"""


POLICY = f"""## Routing policy

`$KV.{BUCKET}.<kind>.<caller>.<callee>.<verb>`: canaries, mirrors, faults and limits, read by every
service and written by the operator: `./just policy`. Each change is copied to `{AUDIT_STREAM}`.

`release.<service>.<version>.<release>.<verb>`: the calls above, at the instances of one release;
the broker maps a canary's share there. Whoever may make a call may make it there.

`just nats kv watch {BUCKET}`
"""


def subjects_md(topology: Topology) -> str:
    """Return the document."""
    parts = [HEAD]
    for service in topology.services:
        contract = service.contract
        parts.append(f"## {contract.name}\n\n{contract.purpose}\n")
        parts += [_call(topology, call) for call in contract.answers]
        parts += [_event(topology, event) for event in contract.events()]
        for live in contract.pushes:
            parts.append(
                f"### `{live.subject('<key>')}` (live)\n\n{live.purpose} Published by"
                f" {contract.name}, bridged by the gateway to `{live.path}`.\n\n"
                f"`just nats sub 'live.{live.channel}.>'`\n"
            )
    parts += [_desk(topology), _cache(topology), POLICY]
    return "\n".join(parts)


def _call(topology: Topology, call: Call[Struct, Struct]) -> str:
    route = f" Clients: `{call.route.method} {call.route.path}`." if call.route else ""
    refusals = ", ".join(f"`{kind.name}`" for kind in call.refuses) or "none of its own"
    return (
        f"### `{call.subject}`\n\n{call.purpose}{route}\n\n"
        f"Called by: {', '.join(topology.callers(call.subject)) or 'the operator only'}."
        f" Refusals: {refusals}. Deadline: {call.deadline_ms} ms.\n\n"
        f"Request\n\n{_table(call.request)}\nReply\n\n{_table(call.reply)}\n"
        f"`just nats req {call.subject} '{_example(call.request)}'`\n"
    )


def _together(event: Event[Struct]) -> str:
    if not event.together:
        return ""
    return (
        f" More than {APART_MAX} of one commit come as one message, an array of at most"
        f" {TOGETHER_MAX} (`{BATCH_TYPE}`)."
    )


def _event(topology: Topology, event: Event[Struct]) -> str:
    return (
        f"### `{event.subject}`\n\n`{event.type}`: {event.purpose}\n\n"
        f"Published by: {', '.join(topology.publishers(event))}."
        f" Heard by: {', '.join(topology.hearers(event)) or 'nobody yet'}."
        f" Lane: {event.lane.value}.{_together(event)}\n\n{_table(event.data)}\n"
        f"`just nats sub {event.subject}`\n"
    )


def _desk(topology: Topology) -> str:
    """Return what operators may ask of every service that hears, shown for one of them."""
    hearing = [service.name for service in topology.services if service.hears_events]
    calls = "\n".join(
        _call(topology, call).replace(f".{hearing[0]}.", ".<service>.")
        for call in desk.calls_of(hearing[0])
    )
    return (
        "## Operators\n\nEvery service that hears events answers for its own dead letters:"
        f" {', '.join(hearing)}. `./just dead` and `./just replay` ask the same.\n\n{calls}"
    )


def _cache(topology: Topology) -> str:
    rows = "".join(
        f"| `$KV.{s.name}.>` | {s.name} | {', '.join(s.contract.readers) or '-'} |\n"
        for s in topology.services
        if s.cache
    )
    return (
        "## Buckets\n\n| subject | written by | also read by |\n| --- | --- | --- |\n"
        f"{rows}\n`just nats kv ls`\n"
    )


def _table(kind: type[Struct]) -> str:
    fields = msgspec.structs.fields(kind)
    if not fields:
        return "No fields.\n"
    rows = "".join(
        f"| `{field.encode_name}` | {type_text(field.type)} |"
        f" {'yes' if field.required else 'no'} |\n"
        for field in fields
    )
    return f"| field | type | required |\n| --- | --- | --- |\n{rows}"


def type_text(kind: Any) -> str:
    """Return a type as people write it, with its limits."""
    origin = typing.get_origin(kind)
    arguments = typing.get_args(kind)
    if origin is typing.Annotated:
        limits = "; ".join(text for meta in arguments[1:] for text in _limits(meta))
        return type_text(arguments[0]) + (f" ({limits})" if limits else "")
    if origin is typing.Literal:
        return " \\| ".join(f"`{value}`" for value in arguments)
    if origin is list:
        return f"list of {type_text(arguments[0])}"
    if origin is dict:
        return f"map of {type_text(arguments[0])} to {type_text(arguments[1])}"
    if arguments:
        named = [type_text(part) for part in arguments if part is not type(None)]
        return " \\| ".join(named) + (" \\| null" if type(None) in arguments else "")
    return str(getattr(kind, "__name__", kind))


def _limits(meta: Any) -> Iterator[str]:
    if not isinstance(meta, msgspec.Meta):
        return
    if meta.description:
        yield meta.description.replace("|", "\\|")
        return
    for name, sign in (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<")):
        value = getattr(meta, name)
        if value is not None:
            yield f"{sign} {value}"
    if meta.max_length is not None:
        yield f"at most {meta.max_length} long"


def _example(kind: type[Struct]) -> str:
    """Return a request with its required fields, to paste and change."""
    required = {
        field.encode_name: _sample(field.encode_name, inspect.type_info(field.type))
        for field in msgspec.structs.fields(kind)
        if field.required
    }
    return msgspec.json.encode(required).decode()


SAMPLES: dict[type[inspect.Type], object] = {
    inspect.IntType: 100,
    inspect.BoolType: True,
    inspect.DateType: "1990-01-01",
    inspect.DateTimeType: "2026-01-01T00:00:00Z",
    inspect.BytesType: "PHhtbC8+",
    inspect.DictType: {},
}


def _sample(name: str, info: inspect.Type) -> object:
    if isinstance(info, inspect.Metadata):
        return _sample(name, info.type)
    if isinstance(info, inspect.StructType):
        required = [field for field in info.fields if field.required]
        return {field.encode_name: _sample(field.encode_name, field.type) for field in required}
    return _sample_of_leaf(name, info)


def _sample_of_leaf(name: str, info: inspect.Type) -> object:
    if isinstance(info, inspect.LiteralType):
        return info.values[0]
    if isinstance(info, inspect.ListType):
        return [_sample(name, info.item_type)]
    if isinstance(info, inspect.UnionType):
        return _sample(name, info.types[0])
    if name == "currency":
        return "EUR"
    if name.endswith("_id") and isinstance(info, inspect.StrType):
        return "01890a5d-ac96-774b-bcce-b302099a8057"
    return SAMPLES.get(type(info), name)
