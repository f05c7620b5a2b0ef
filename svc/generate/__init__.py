"""Writes, or checks, every file that follows from the declarations: `just generate`."""

import sys
from pathlib import Path

from svc import catalogue
from svc.generate.asyncapi import asyncapi_files
from svc.generate.broker import broker_files
from svc.generate.declared import declared_files
from svc.generate.history import history_files, refusals
from svc.generate.openapi import openapi_files
from svc.generate.readme import readme
from svc.generate.stubs import stub_files
from svc.generate.subjects import subjects_md
from svc.generate.topology import Topology

ROOT = Path(__file__).resolve().parents[2]
OWNED = ("jetstream/streams", "jetstream/consumers", "jetstream/buckets")
"""Folders of which every file is generated: one that no declaration implies is removed."""


def generated_files(topology: Topology | None = None) -> dict[str, str]:
    """Return the text of every generated file by its path in the checkout."""
    topology = topology or Topology(catalogue.services())
    return {
        **broker_files(topology),
        **declared_files(topology),
        "subjects.md": subjects_md(topology),
        "README.md": readme(topology),
        **openapi_files(),
        **asyncapi_files(),
        **stub_files(),
        **history_files(),
    }


def stale(root: Path = ROOT) -> list[str]:
    """Return the generated files that are missing, different or left over, as paths."""
    files = generated_files()
    found = [
        path
        for path, text in files.items()
        if not (root / path).exists() or (root / path).read_text() != text
    ]
    return sorted([*found, *leftover(root, files)])


def leftover(root: Path, files: dict[str, str]) -> list[str]:
    """Return files in generated folders that no declaration implies any more."""
    present = [path for folder in OWNED for path in (root / folder).glob("*.json")]
    return [
        str(path.relative_to(root)) for path in present if str(path.relative_to(root)) not in files
    ]


def write(root: Path = ROOT) -> list[str]:
    """Write what is stale, remove what is left over, and return the paths that changed."""
    changed = stale(root)
    files = generated_files()
    for path in changed:
        target = root / path
        if path in files:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(files[path])
        else:
            target.unlink()
    return changed


def main(*, check: bool) -> int:
    """Write the files, or with `check` only tell what is stale; exit code 1 then.

    A change that breaks old messages is named and not written, with exit code 1 too.
    """
    refused = refusals()
    for text in refused:
        print(f"breaks old messages: {text}", file=sys.stderr)
    if refused:
        print(
            "keep the old form (a new field needs a default), or raise the first number of the "
            "contract's version and see to those who still use the old one "
            "(a form that was never committed: git checkout svc/generate/contracts)",
            file=sys.stderr,
        )
    if not check:
        changed = write()
        print("\n".join(f"wrote {path}" for path in changed) or "everything was up to date")
        return 1 if refused else 0
    found = stale()
    for path in found:
        print(f"stale: {path}", file=sys.stderr)
    if found:
        print("run `./just generate` and commit what it writes", file=sys.stderr)
    if found or refused:
        return 1
    print("generated files are up to date")
    return 0
