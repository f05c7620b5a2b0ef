"""How every benchmark leaves what it found: a file of JSON, and a generated part of README."""

from pathlib import Path

import msgspec

from svc.generate.readme import README, replaced


def write_json(found: msgspec.Struct, path: Path) -> Path:
    """Write results as indented JSON, with the folder if it is missing; return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(msgspec.json.format(msgspec.json.encode(found), indent=1).decode() + "\n")
    return path


def write_readme(name: str, part: str) -> bool:
    """Write README's part of that name; say whether README has the marks for it."""
    text = README.read_text()
    if f"<!-- generated: {name} -->" not in text:
        return False
    README.write_text(replaced(text, name, part))
    return True
