"""What a change of a message breaks: its schemas compared as the one who writes and who reads.

A reader of ours decodes strictly: a required field must be there, an unknown one is refused where
the schema says so (requests) and ignored elsewhere, a value has the declared type and limits.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems")
UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems")


@dataclass(frozen=True)
class Side:
    """A schema with the named schemas that it refers to."""

    schema: Json
    components: Json

    def resolved(self) -> "Side":
        """Return what a reference stands for."""
        schema = self.schema
        while "$ref" in schema:
            schema = self.components[schema["$ref"].rpartition("/")[2]]
        return Side(schema, self.components)

    def of(self, schema: Json) -> "Side":
        """Return a part of this schema."""
        return Side(schema, self.components)

    def alternatives(self) -> "list[Side]":
        """Return the forms of which one must fit."""
        schema = self.resolved().schema
        if "anyOf" in schema:
            return [form for part in schema["anyOf"] for form in self.of(part).alternatives()]
        return [self.of(schema)]

    @property
    def kind(self) -> str:
        """Return the JSON type, a text's format where it has one, or `anything`."""
        if "enum" in self.schema or "const" in self.schema:
            value = self.schema["enum"][0] if "enum" in self.schema else self.schema["const"]
            return "integer" if isinstance(value, int) else "string"
        return self.schema.get("format") or self.schema.get("type", "anything")

    def text(self) -> str:
        """Return the type as a word for people."""
        return " or ".join(dict.fromkeys(form.kind for form in self.alternatives()))


@dataclass
class Comparison:
    """One message, old and new, looked at from one side.

    With `old_is_written` messages of the old form must be readable by the new one (requests of old
    callers, events in streams), limits included; else messages of the new form by old readers
    (replies, live), who may be spared new values of an enumeration: readers go first.
    """

    old_is_written: bool
    seen: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])

    def problems(self, writer: Side, reader: Side, path: str) -> Iterator[str]:
        """Yield every way in which the reader refuses what the writer writes."""
        names = writer.schema.get("$ref", ""), reader.schema.get("$ref", "")
        if all(names):
            if names in self.seen:
                return
            self.seen.add(names)
        readable = reader.alternatives()
        for form in writer.alternatives():
            found = [list(self._form(form, other, path)) for other in readable]
            if any(not problems for problems in found):
                continue
            pairs = zip(found, readable, strict=True)
            of_a_kind = [problems for problems, other in pairs if other.kind == form.kind]
            if not of_a_kind:
                yield self._changed(writer, reader, path)
                return
            yield from min(of_a_kind, key=len)

    def _changed(self, writer: Side, reader: Side, path: str) -> str:
        old, new = (writer, reader) if self.old_is_written else (reader, writer)
        return f"{path}: type changed from {old.text()} to {new.text()}"

    def _form(self, writer: Side, reader: Side, path: str) -> Iterator[str]:
        if reader.kind == "anything":
            return
        kinds = (writer.kind, reader.kind)
        if writer.kind != reader.kind and kinds != ("integer", "number"):
            yield self._changed(writer, reader, path)
        elif reader.kind == "object":
            yield from self._object(writer, reader, path)
        elif reader.kind == "array":
            items = writer.of(writer.schema["items"]), reader.of(reader.schema["items"])
            yield from self.problems(*items, path + "[]")
        if self.old_is_written:
            yield from _narrowed(writer.schema, reader.schema, path)

    def _object(self, writer: Side, reader: Side, path: str) -> Iterator[str]:
        written: Json = writer.schema.get("properties", {})
        read: Json = reader.schema.get("properties", {})
        always = set(writer.schema.get("required", ()))
        for name in reader.schema.get("required", ()):
            if name not in written:
                yield f"{path}.{name}: {'new and required' if self.old_is_written else 'removed'}"
            elif name not in always and self.old_is_written:
                yield f"{path}.{name}: made required"
        for name, schema in written.items():
            if name in read:
                yield from self.problems(writer.of(schema), reader.of(read[name]), f"{path}.{name}")
            elif self.old_is_written and reader.schema.get("additionalProperties") is False:
                yield f"{path}.{name}: removed"
        more: list[Any] = [side.schema.get("additionalProperties") for side in (writer, reader)]
        if all(more):
            yield from self.problems(writer.of(more[0]), reader.of(more[1]), path + ".*")


def _narrowed(old: Json, new: Json, path: str) -> Iterator[str]:
    limits = [(name, max) for name in LOWER] + [(name, min) for name in UPPER]
    for name, tighter in limits:
        limit, before = new.get(name), old.get(name)
        if limit is None or limit == before:
            continue
        if before is None or tighter(limit, before) == limit:
            yield f"{path}: {name} is now {limit}, was {'none' if before is None else before}"
    if "pattern" in new and new["pattern"] != old.get("pattern"):
        yield f"{path}: pattern is now {new['pattern']}, was {old.get('pattern', 'none')}"
    allowed = new.get("enum", [new["const"]] if "const" in new else None)
    if allowed is not None:
        before = old.get("enum", [old["const"]] if "const" in old else ["any other"])
        gone = [str(value) for value in before if value not in allowed]
        if gone:
            yield f"{path}: no longer takes {', '.join(gone)}"


def breaks(kind: str, old: Side, new: Side, name: str) -> list[str]:
    """Return what a changed message breaks, as sentences.

    `kind` is `taken` (requests), `given` (replies, live) or `kept` (events: old ones are read from
    streams, new ones by services that are not yet restarted).
    """
    found: list[str] = []
    if kind in {"taken", "kept"}:
        found += Comparison(old_is_written=True).problems(old, new, name)
    if kind in {"given", "kept"}:
        found += Comparison(old_is_written=False).problems(new, old, name)
    paths: dict[str, str] = {}
    for sentence in found:
        paths.setdefault(sentence.partition(":")[0], sentence)
    return list(paths.values())
