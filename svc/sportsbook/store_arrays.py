"""Arrays of values in Postgres's text form, for statements that write many rows.

The driver's binary form looks at every element in Python: several times as expensive.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct


def array(values: Sequence[Any]) -> str:
    """Return an array in Postgres's text form, of ids, numbers, times and our own words."""
    return "{" + ",".join("NULL" if value is None else str(value) for value in values) + "}"


def arrays(rows: Sequence[Struct]) -> list[str]:
    """Return rows as the arrays of unnest, one for each of their fields."""
    return [array(column) for column in zip(*map(msgspec.structs.astuple, rows), strict=True)]


def quoted(values: Sequence[str]) -> str:
    """Return an array of whatever texts in Postgres's text form."""
    escaped = [value.replace("\\", "\\\\").replace('"', '\\"') for value in values]
    return '{"' + '","'.join(escaped) + '"}' if escaped else "{}"
