"""All twelve services have the same anatomy, and the catalogue names every one of them."""

import ast
from pathlib import Path

import pytest

from svc import catalogue
from svc.platform.installation import ROOT
from svc.platform.ports import DATABASES, SERVICES

NOT_SERVICES = {"mesh", "generate", "platform", "outside", "demo"}
LINES_MAX = 420
"""Files have up to about 400 lines."""
FOLDERS = {"svc", "proto", "jetstream", "tests"}
FILES = {"subjects.md", "Procfile", "justfile", "just", "pyproject.toml", "requirements.lock"}
DOCUMENTS = {"README.md", "ARCHITECTURE.md"}
LEFT_BY_TOOLS = {"__pycache__", "betmesh.egg-info"}


def sources(*folders: str) -> list[Path]:
    """Return the Python files below folders of the checkout, generated stubs left out."""
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return [path for path in found if not path.name.endswith(("_pb2.py", "_pb2_grpc.py"))]


def test_the_top_level_holds_what_it_is_meant_to_and_nothing_else() -> None:
    present = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}

    assert present - LEFT_BY_TOOLS == FOLDERS | FILES | DOCUMENTS


def test_the_catalogue_names_every_service_folder() -> None:
    folders = {path.parent.name for path in (ROOT / "svc").glob("*/__init__.py")}

    assert folders - NOT_SERVICES == set(catalogue.NAMES)
    assert set(SERVICES) == set(catalogue.NAMES)


@pytest.mark.parametrize("name", catalogue.NAMES)
def test_a_service_has_contract_service_and_a_short_readme(name: str) -> None:
    folder = ROOT / "svc" / name

    assert (folder / "contract.py").exists()
    assert (folder / "service.py").exists()
    assert 1 < len((folder / "README.md").read_text().splitlines()) <= 30


@pytest.mark.parametrize("name", catalogue.NAMES)
def test_a_service_has_migrations_exactly_when_it_has_a_database(name: str) -> None:
    assert catalogue.service(name).database is (name in DATABASES)
    assert (ROOT / "svc" / name / "migrations").exists() is (name in DATABASES)


@pytest.mark.parametrize("name", catalogue.NAMES)
def test_handlers_match_declarations(name: str) -> None:
    assert catalogue.service(name).differences() == []


@pytest.mark.parametrize("path", sources("svc", "tests"), ids=lambda p: str(p.relative_to(ROOT)))
def test_every_module_opens_with_a_sentence_and_stays_short(path: Path) -> None:
    text = path.read_text()

    assert not text.strip() or ast.get_docstring(ast.parse(text))
    assert len(text.splitlines()) <= LINES_MAX


@pytest.mark.parametrize(
    "path",
    [path for path in sources("svc") if path.name == "rules.py"],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_rules_know_neither_the_clock_nor_chance_nor_floats(path: Path) -> None:
    text = path.read_text()
    banned = ("datetime.now(", "time.time(", "uuid4(", "uuid7(", "random.random(", "float(")

    assert [word for word in banned if word in text] == []
