"""Examples of messages, made from their schemas: with every field, and with the required only."""

import re
from typing import Any

import msgspec
from msgspec import Struct

from svc.generate.compatibility import Side

Json = dict[str, Any]

TEXTS = (
    "01890a5d-ac96-774b-bcce-b302099a8057",
    "EUR",
    "2.50",
    "en",
    "DE",
    "+4915112345678",
    "person@example.com",
    "123456",
    "wallet.read",
    "text",
    "a",
)
FORMATS = {
    "date-time": "2026-01-01T12:00:00Z",
    "date": "2026-01-01",
    "decimal": "2.50",
    "uuid": TEXTS[0],
    "duration": "PT1S",
    "time": "12:00:00",
}
DEPTH_MAX = 6
"""A message that contains itself ends here."""


def of(side: Side, form: type[Struct]) -> list[Any]:
    """Return the examples of a message; raises ValueError when they are none of its form."""
    found = [_sample(side, everything=True, depth=0), _sample(side, everything=False, depth=0)]
    for example in found:
        if not fits(example, form):
            msgspec.convert(example, form)  # says why, for whoever adds a text above
            raise ValueError(f"no example of {form.__name__} could be made: {example}")
    return found if found[0] != found[1] else found[:1]


def fits(example: Any, form: type[Struct]) -> bool:
    """Say whether an example still has the form of its message."""
    try:
        msgspec.json.decode(msgspec.json.encode(example), type=form)
    except msgspec.ValidationError:
        return False
    return True


def _sample(side: Side, *, everything: bool, depth: int) -> Any:
    form = next((f for f in side.alternatives() if f.kind != "null"), side.resolved())
    schema = form.schema
    if "enum" in schema or "const" in schema:
        return schema["enum"][0] if "enum" in schema else schema["const"]
    if form.kind == "object":
        return _object(form, everything=everything, depth=depth)
    if form.kind == "array":
        count = max(schema.get("minItems", 0), 1 if everything and depth < DEPTH_MAX else 0)
        items = form.of(schema.get("items", {}))
        return [_sample(items, everything=everything, depth=depth + 1) for _ in range(count)]
    return _leaf(schema, form.kind)


def _object(form: Side, *, everything: bool, depth: int) -> Json:
    schema = form.schema
    required = schema.get("required", ())
    values = {
        name: _sample(form.of(part), everything=everything, depth=depth + 1)
        for name, part in schema.get("properties", {}).items()
        if name in required or (everything and depth < DEPTH_MAX)
    }
    more: Any = schema.get("additionalProperties")
    if everything and more and depth < DEPTH_MAX:
        values["key"] = _sample(form.of(more), everything=everything, depth=depth + 1)
    return values


def _leaf(schema: Json, kind: str) -> Any:
    if kind == "integer":
        return max(schema.get("minimum", 1), min(schema.get("maximum", 100), 100))
    if kind in {"number", "boolean", "null", "anything"}:
        return {"number": 1.5, "boolean": True}.get(kind)
    if schema.get("format") in FORMATS:
        return FORMATS[schema["format"]]
    if schema.get("contentEncoding") == "base64":
        return "PHhtbC8+"
    return _text(schema)


def _text(schema: Json) -> str:
    shortest, longest = schema.get("minLength", 0), schema.get("maxLength", 10_000)
    pattern = schema.get("pattern", "")
    for text in (*reversed(TEXTS), "x" * shortest) if not pattern else (*TEXTS, "x" * shortest):
        if shortest <= len(text) <= longest and re.search(pattern, text):
            return text
    raise ValueError(f"no text here fits {schema}")
