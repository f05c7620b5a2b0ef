"""The schema of a message as a reader sees it: what decoding accepts, and nothing for people.

JSON Schema, made from msgspec's own view of a type. msgspec's schemas are for documents: they leave
out that a text must be a time, which matters when messages are compared.
"""

from typing import Any

from msgspec import Struct, inspect

Json = dict[str, Any]

LEAVES: dict[type[inspect.Type], Json] = {
    inspect.NoneType: {"type": "null"},
    inspect.BoolType: {"type": "boolean"},
    inspect.DateTimeType: {"type": "string", "format": "date-time"},
    inspect.DateType: {"type": "string", "format": "date"},
    inspect.TimeType: {"type": "string", "format": "time"},
    inspect.TimeDeltaType: {"type": "string", "format": "duration"},
    inspect.DecimalType: {"type": "string", "format": "decimal"},
    inspect.UUIDType: {"type": "string", "format": "uuid"},
}
LIMITS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "min_length": "minLength",
    "max_length": "maxLength",
    "pattern": "pattern",
}
ITEM_LIMITS = {"min_length": "minItems", "max_length": "maxItems"}


class Forms:
    """The schemas of several messages; structs that they share are named once."""

    def __init__(self) -> None:
        """Begin without any."""
        self.components: Json = {}
        self.names: dict[type, str] = {}

    def of(self, form: type[Struct]) -> Json:
        """Return the schema of a message."""
        return self._schema(inspect.type_info(form))

    def _schema(self, info: inspect.Type) -> Json:
        if isinstance(info, inspect.Metadata):
            return self._schema(info.type)
        if isinstance(info, inspect.StructType):
            return self._struct(info)
        if isinstance(info, (inspect.LiteralType, inspect.EnumType)):
            return {"enum": sorted(_values(info), key=str)}
        return self._made_of(info) or _leaf(info)

    def _made_of(self, info: inspect.Type) -> Json | None:
        """Return the schema of a type that has others inside, else None."""
        if isinstance(info, inspect.UnionType):
            return {"anyOf": [self._schema(part) for part in info.types]}
        if isinstance(info, inspect.DictType):
            return {"type": "object", "additionalProperties": self._schema(info.value_type)}
        if isinstance(info, (inspect.ListType, inspect.VarTupleType, inspect.SetType)):
            limits = _limits(info, ITEM_LIMITS)
            return {"type": "array", "items": self._schema(info.item_type), **limits}
        return None

    def _struct(self, info: inspect.StructType) -> Json:
        name = self.names.get(info.cls)
        if name is None:
            name = info.cls.__name__
            if name in self.components:
                name = f"{info.cls.__module__}.{name}"
            self.names[info.cls] = name
            self.components[name] = {}  # its place, should it contain itself
            schema: Json = {
                "type": "object",
                "properties": {f.encode_name: self._schema(f.type) for f in info.fields},
                "required": [f.encode_name for f in info.fields if f.required],
            }
            if info.tag_field is not None:
                schema["properties"][info.tag_field] = {"const": info.tag}
                schema["required"].append(info.tag_field)
            if info.forbid_unknown_fields:
                schema["additionalProperties"] = False
            self.components[name] = schema
        return {"$ref": f"#/schemas/{name}"}


def _values(info: inspect.LiteralType | inspect.EnumType) -> list[Any]:
    if isinstance(info, inspect.LiteralType):
        return list(info.values)
    return [member.value for member in info.cls]


def _leaf(info: inspect.Type) -> Json:
    if isinstance(info, inspect.StrType):
        return {"type": "string", **_limits(info, LIMITS)}
    if isinstance(info, inspect.BytesType):
        return {"type": "string", "contentEncoding": "base64"}
    if isinstance(info, inspect.IntType):
        return {"type": "integer", **_limits(info, LIMITS)}
    if isinstance(info, inspect.FloatType):
        return {"type": "number", **_limits(info, LIMITS)}
    return LEAVES.get(type(info), {})


def _limits(info: inspect.Type, names: dict[str, str]) -> Json:
    found = {word: getattr(info, name, None) for name, word in names.items()}
    return {word: value for word, value in found.items() if value is not None}
