"""`just new-service`: what it writes passes the gates and its own test as it is."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from svc.generate.topology import STAFF
from svc.platform import scaffold
from svc.platform.errors import PlatformError
from svc.platform.installation import ROOT


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    left_out = shutil.ignore_patterns("__pycache__", ".run", ".git", ".venv", ".*_cache")
    shutil.copytree(ROOT, tmp_path / "checkout", ignore=left_out)
    # basedpyright looks for the libraries where pyproject.toml says.
    (tmp_path / "checkout" / ".venv").symlink_to(Path(sys.prefix))
    return tmp_path / "checkout"


def run(checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
    scripts = sysconfig.get_path("scripts")
    return subprocess.run(
        [f"{scripts}/{words[0]}", *words[1:]],
        cwd=checkout,
        env={**os.environ, "PATH": f"{scripts}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.timeout(240)
def test_a_new_service_passes_every_gate_and_answers(checkout: Path) -> None:
    assert run(checkout, "python", "-m", "svc", "generate").returncode == 0
    made = run(checkout, "python", "-m", "svc", "new-service", "vouchers")
    assert made.returncode == 0, made.stdout + made.stderr

    for gate in (
        ["ruff", "check", "svc/vouchers", "tests/vouchers", "svc/platform", "svc/catalogue.py"],
        ["ruff", "format", "--check", "svc/vouchers", "tests/vouchers", "svc/platform"],
        ["basedpyright", "svc/vouchers", "tests/vouchers"],
        ["lint-imports"],
        ["python", "-m", "svc", "generate", "--check"],
        ["pytest", "-q", "tests/vouchers", "-p", "no:cacheprovider"],
    ):
        ran = run(checkout, *gate)
        assert ran.returncode == 0, f"{gate}\n{ran.stdout}\n{ran.stderr}"
    assert "vouchers: exec python -m svc run vouchers" in (checkout / "Procfile").read_text()


@pytest.mark.parametrize("name", ["", "X", "1st", "two-words", "a", "../up", "a" * 32])
def test_what_is_no_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(PlatformError, match="is no name for a service"):
        scaffold.new_service(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    [
        *("wallet", "mesh", "json", "betradar"),
        *("operator", "system", "shadow"),  # users of the broker
        *("class", "import", "all"),
    ],
)
def test_a_name_that_means_something_already_is_refused_and_nothing_is_written(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(PlatformError, match="is taken"):
        scaffold.new_service(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_new_service_gets_the_name_of_a_user_of_the_broker(tmp_path: Path) -> None:
    for name in (*STAFF, "system"):
        with pytest.raises(PlatformError, match="is taken"):
            scaffold.new_service(name, tmp_path)


def test_a_folder_of_tests_that_is_there_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "tests" / "journeys").mkdir(parents=True)
    with pytest.raises(PlatformError, match="is taken"):
        scaffold.new_service("journeys", tmp_path)


def test_a_list_that_looks_otherwise_than_expected_changes_nothing(checkout: Path) -> None:
    (checkout / "Procfile").write_text("web: true\n")
    before = (checkout / "svc" / "catalogue.py").read_text()
    with pytest.raises(PlatformError, match="Procfile does not list services as expected"):
        scaffold.new_service("vouchers", checkout)
    assert (checkout / "svc" / "catalogue.py").read_text() == before
    assert not (checkout / "svc" / "vouchers").exists()
