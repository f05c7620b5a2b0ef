"""Keeps every message of every service as it was agreed, in `contracts/`, and refuses breaks.

A file holds the schemas of today and examples of every form that a message ever had under the same
major version; a test decodes them all. A change that old messages or old readers do not survive is
written only when the contract's version says so by its first number.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec import Struct

from svc import catalogue
from svc.generate import samples
from svc.generate.compatibility import Side, breaks
from svc.generate.forms import Forms
from svc.mesh.contract import Contract

ROOT = Path(__file__).resolve().parents[2]
FOLDER = "svc/generate/contracts"

Json = dict[str, Any]


@dataclass(frozen=True)
class Message:
    """One message of a contract: its name, and whether it is taken, given or kept."""

    name: str
    kind: str
    form: type[Struct]


def messages(contract: Contract) -> Iterator[Message]:
    """Yield all messages of a contract."""
    for call in contract.answers:
        yield Message(f"{call.subject} request", "taken", call.request)
        yield Message(f"{call.subject} reply", "given", call.reply)
    for event in contract.events():
        yield Message(event.type, "kept", event.data)
    for live in contract.pushes:
        yield Message(f"live.{live.channel}", "given", live.data)


def path_of(service: str) -> str:
    """Return where a service's messages are kept."""
    return f"{FOLDER}/{service}.json"


def agreed(service: str, root: Path = ROOT) -> Json | None:
    """Return what was agreed before, or None for a new service."""
    path = root / path_of(service)
    return json.loads(path.read_text()) if path.exists() else None


def breaking_changes(contract: Contract, old: Json) -> list[str]:
    """Return what this contract breaks of what was agreed, whatever its version says."""
    new = described(contract)
    found: list[str] = []
    for name, message in old["messages"].items():
        if name not in new["messages"]:
            found.append(f"{name}: gone")
            continue
        before = Side(message["schema"], old["schemas"])
        today = Side(new["messages"][name]["schema"], new["schemas"])
        found += breaks(message["kind"], before, today, name)
    return found


def refusals(root: Path = ROOT) -> list[str]:
    """Return every breaking change that no new version announces."""
    found: list[str] = []
    for contract in catalogue.contracts():
        old = agreed(contract.name, root)
        if old is not None and _major(contract.version) <= _major(old["version"]):
            found += [f"{contract.name}: {text}" for text in breaking_changes(contract, old)]
    names = {contract.name for contract in catalogue.contracts()}
    left = [path for path in sorted((root / FOLDER).glob("*.json")) if path.stem not in names]
    return found + [
        f"{path.stem}: the service is gone; remove {FOLDER}/{path.name}" for path in left
    ]


def history_files(root: Path = ROOT) -> dict[str, str]:
    """Return the text of every file; where a change is refused, the text that stands."""
    files: dict[str, str] = {}
    for contract in catalogue.contracts():
        old = agreed(contract.name, root)
        path = path_of(contract.name)
        broken = breaking_changes(contract, old) if old else []
        if old and broken and _major(contract.version) <= _major(old["version"]):
            files[path] = (root / path).read_text()
        else:
            files[path] = _text(_with_examples(contract, old, broken))
    return files


def _with_examples(contract: Contract, old: Json | None, broken: list[str]) -> Json:
    """Return the description of a contract with its examples, the older ones first."""
    new = described(contract)
    ended = {name for name in new["messages"] for text in broken if text.startswith(name)}
    before: Json = old["messages"] if old else {}
    for message in messages(contract):
        kept: list[Any] = before.get(message.name, {}).get("examples", [])
        if message.name in ended:
            kept = [example for example in kept if samples.fits(example, message.form)]
        entry = new["messages"][message.name]
        today = samples.of(Side(entry["schema"], new["schemas"]), message.form)
        entry["examples"] = kept + [example for example in today if example not in kept]
    return new


def described(contract: Contract) -> Json:
    """Return the messages of a contract as they are declared, without examples."""
    forms = Forms()
    described = {
        message.name: {"kind": message.kind, "schema": forms.of(message.form)}
        for message in messages(contract)
    }
    return {
        "service": contract.name,
        "version": contract.version,
        "messages": described,
        "schemas": dict(sorted(forms.components.items())),
    }


def _major(version: str) -> int:
    return int(version.partition(".")[0])


def _text(document: Json) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"
