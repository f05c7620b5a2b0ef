"""What a client may send to a route, derived from the call behind it, and how it becomes a request.

The same derived types bind requests (http.py) and describe them (svc/generate/openapi.py), so the
document can't say anything else than what is checked.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, Union, cast, get_args, get_origin

import msgspec
from msgspec import Struct
from msgspec.structs import FieldInfo

from svc.mesh.contract import Call, Contract, Route
from svc.mesh.errors import DeclarationError, Invalid
from svc.mesh.wire import encode

BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})
KEY_PATTERN = "^[!-~]([ -~]{0,253}[!-~])?$"
"""An Idempotency-Key: 1 to 255 printable ASCII characters, the same through every HTTP stack."""
AT = " - at `$"


@dataclass(frozen=True)
class Form:
    """One served route: `sent` is the type of its body or query, `path` the types of its braces."""

    call: Call[Struct, Struct]
    route: Route
    sent: type[Struct]
    path: Mapping[str, Any]

    @property
    def has_body(self) -> bool:
        """Return whether fields come from the body; else they come from the query string."""
        return self.route.method in BODY_METHODS

    @property
    def body_required(self) -> bool:
        """Return whether a request without a body lacks something."""
        return any(field.required for field in msgspec.structs.fields(self.sent))


def forms(contracts: Iterable[Contract]) -> list[Form]:
    """Return the form of every call with a route, in the order of the contracts."""
    return [
        form_of(call, call.route)
        for contract in contracts
        for call in contract.answers
        if call.route is not None
    ]


def form_of(call: Call[Struct, Struct], route: Route) -> Form:
    """Derive what a client may send; DeclarationError when the route names unknown fields."""
    fields = {field.name: field for field in msgspec.structs.fields(call.request)}
    injected = route.injected()
    unknown = injected - fields.keys()
    if unknown:
        raise DeclarationError(f"{call.subject}: the route injects {sorted(unknown)}, not fields")
    in_query = route.method not in BODY_METHODS
    sent = msgspec.defstruct(
        call.request.__name__,
        [_copied(field, in_query) for name, field in fields.items() if name not in injected],
        frozen=True,
        kw_only=True,
        forbid_unknown_fields=True,
        module=call.request.__module__,
        namespace={"__doc__": call.request.__doc__},
    )
    return Form(call, route, sent, {name: fields[name].type for name in route.path_fields()})


def _copied(field: FieldInfo, in_query: bool) -> tuple[str, Any] | tuple[str, Any, Any]:
    kind = without_none(field.type) if in_query else field.type
    if field.required:
        return (field.name, kind)
    if field.default_factory is not msgspec.NODEFAULT:
        return (field.name, kind, msgspec.field(default_factory=field.default_factory))
    return (field.name, kind, field.default)


def without_none(kind: Any) -> Any:
    """Return a type without its `| None`: a query parameter is there or not, never null."""
    if get_origin(kind) not in (Union, UnionType):
        return kind
    rest = tuple(option for option in get_args(kind) if option is not NoneType)
    return Union[rest]  # noqa: UP007  # built from a tuple


def decode_body(form: Form, body: bytes) -> Struct:
    """Return the typed body; nothing at all counts as an empty object. Raises Invalid."""
    try:
        return msgspec.json.decode(body or b"{}", type=form.sent)
    except msgspec.ValidationError as failure:
        raise _invalid(str(failure)) from failure
    except (msgspec.DecodeError, UnicodeDecodeError) as failure:
        raise Invalid(f"the body is not JSON: {failure}") from failure
    except RecursionError as failure:
        raise Invalid("the body is nested too deeply") from failure


def decode_query(form: Form, pairs: Iterable[tuple[str, str]]) -> Struct:
    """Return the typed query parameters; raises Invalid, also for a parameter given twice."""
    values: dict[str, str] = {}
    for name, value in pairs:
        if name in values:
            raise Invalid(f"{name} is given twice", field=name)
        values[name] = value
    for name, kind in _instants(form.sent).items():
        try:
            msgspec.convert(values.get(name, "2026-01-01T00:00:00Z"), kind)
        except msgspec.ValidationError as failure:
            raise Invalid(f"{name}: {failure}", field=name) from failure
    try:
        return msgspec.convert(values, form.sent, strict=False)
    except msgspec.ValidationError as failure:
        raise _invalid(str(failure)) from failure


@lru_cache
def _instants(sent: type[Struct]) -> dict[str, Any]:
    """Return the fields that are instants: read laxly, a bare number would pass for one."""
    return {
        field.name: field.type
        for field in msgspec.structs.fields(sent)
        if datetime in (field.type, *get_args(field.type))
    }


def decode_path(form: Form, texts: Mapping[str, str]) -> dict[str, Any]:
    """Return the typed path parameters; raises Invalid."""
    found: dict[str, Any] = {}
    for name, kind in form.path.items():
        try:
            found[name] = msgspec.convert(texts[name], kind, strict=False)
        except msgspec.ValidationError as failure:
            raise Invalid(f"{name}: {failure}", field=name) from failure
    return found


def complete(form: Form, sent: Struct, injected: Mapping[str, object]) -> bytes:
    """Join what the client sent with what the gateway knows; return the call's request, encoded.

    Raises Invalid when the request's own check refuses the combination, and for the character
    U+0000, which no database keeps.
    """
    values = {name: getattr(sent, name) for name in sent.__struct_fields__}
    try:
        request = form.call.request(**values, **injected)
    except ValueError as failure:
        raise Invalid(str(failure)) from failure
    encoded = encode(request)
    # U+0000 is written \u0000 in JSON; the text backslash-u0000 looks alike, so look closer then.
    if b"\\u0000" in encoded and any("\0" in text for text in _texts(msgspec.to_builtins(request))):
        raise Invalid("the character U+0000 is not accepted in text")
    return encoded


def idempotency_key(header: str | None) -> str:
    """Return the key of an Idempotency-Key header, 1 to 255 characters; raises Invalid."""
    if header is None:
        raise Invalid("the header Idempotency-Key is required", field="Idempotency-Key")
    if not re.fullmatch(KEY_PATTERN, header):
        raise Invalid(
            "Idempotency-Key must have 1 to 255 printable ASCII characters", field="Idempotency-Key"
        )
    return header


def _texts(value: object) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in cast("dict[object, object]", value).items():
            yield from _texts(key)
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in cast("list[object]", value):
            yield from _texts(item)


def _invalid(text: str) -> Invalid:
    """Name the field in front of what is wrong with it, as a client reads it."""
    what, at, where = text.partition(AT)
    if not at:
        return Invalid(text)
    field = where.rstrip("`").removeprefix(".")
    return Invalid(f"{field}: {what}", field=field)
