"""A migration that was released is never edited: databases that ran it would not get the change.

`migrations.sha256` lists them in the form of sha256sum; a new migration adds its line. The
wallet's tables are still being settled, so its migrations are not in the list yet.
"""

import hashlib
from pathlib import Path

from svc.platform.installation import ROOT

RELEASED = Path(__file__).parent / "migrations.sha256"


def found() -> dict[str, str]:
    """Return the hash of every migration of the checkout, by path."""
    return {
        str(path.relative_to(ROOT)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((ROOT / "svc").glob("*/migrations/*.sql"))
    }


def released() -> dict[str, str]:
    """Return the hashes that were released, by path."""
    lines = RELEASED.read_text().splitlines()
    return {path: digest for digest, _, path in (line.partition("  ") for line in lines)}


def test_no_released_migration_was_edited_or_removed() -> None:
    now = found()

    changed = [path for path, digest in released().items() if now.get(path) != digest]

    assert changed == [], "write a new migration instead of editing a released one"


def test_every_migration_is_in_the_list() -> None:
    assert sorted(found().keys() - released().keys()) == [], "add it: sha256sum PATH >> the list"


def test_numbers_of_migrations_are_unique_and_without_gaps() -> None:
    for folder in sorted((ROOT / "svc").glob("*/migrations")):
        numbers = sorted(int(path.name[:4]) for path in folder.glob("*.sql"))
        first = 0 if folder.parent.name == "mesh" else 1
        assert numbers == list(range(first, first + len(numbers))), folder
