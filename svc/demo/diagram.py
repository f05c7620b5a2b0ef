"""The source diagram's arrows, read from tests/house/diagram.toml."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parents[2] / "tests" / "house" / "diagram.toml"


@dataclass(frozen=True)
class Arrow:
    """One arrow: who to whom, carried by what; `label` is an event type or a verb, if it names one.

    `flow` is the critical flow that draws it (empty for the others); `added` marks an arrow that
    the diagram lacks and its own flows need.
    """

    source: str
    target: str
    kind: str
    label: str = ""
    flow: str = ""
    added: bool = False

    def __str__(self) -> str:
        """Return the arrow as people write it."""
        return f"{self.source} -> {self.target} [{self.label or self.kind}]"


def arrows(path: Path = FILE) -> list[Arrow]:
    """Return every arrow once, in the order of the diagram."""
    document = tomllib.loads(path.read_text())
    groups = document["all"]
    found: dict[Arrow, None] = {}
    for entry in document["arrow"]:
        for arrow in _expand(entry, groups):
            found[arrow] = None
    return list(found)


def _expand(entry: dict[str, Any], groups: dict[str, list[str]]) -> list[Arrow]:
    sources: list[str] | str = entry["from"]
    if isinstance(sources, str):
        sources = groups[sources.removeprefix("all.")]
    left_out = set(entry.get("except", ()))
    return [
        Arrow(
            source,
            target,
            entry["kind"],
            entry.get("event", entry.get("verb", "")),
            entry.get("flow", ""),
            entry.get("added", False),
        )
        for source in sources
        for target in entry["to"]
        if f"{source} {target}" not in left_out
    ]
