"""Where a setting comes from, and what is said when it comes from nowhere."""

from pathlib import Path

import pytest

from svc.mesh.settings import MissingSetting, Settings


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run directory whose first start wrote one secret."""
    (tmp_path / "settings.env").write_text("# made at first start\nSECRET=from the file\n")
    return tmp_path


def test_overrides_win_over_the_environment_and_that_over_the_file(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Settings({"BETMESH_RUN": str(run_dir)})["SECRET"] == "from the file"
    monkeypatch.setenv("SECRET", "from the environment")
    assert Settings({"BETMESH_RUN": str(run_dir)})["SECRET"] == "from the environment"
    given = Settings({"BETMESH_RUN": str(run_dir), "SECRET": "given"})
    assert given["SECRET"] == "given"


def test_what_is_set_to_nothing_is_not_set(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "")
    assert Settings({"BETMESH_RUN": str(run_dir)})["SECRET"] == "from the file"
    with pytest.raises(MissingSetting, match="TOKEN is not set"):
        Settings({"BETMESH_RUN": str(run_dir), "TOKEN": ""})["TOKEN"]


def test_a_missing_setting_is_named_with_how_to_give_it(run_dir: Path) -> None:
    settings = Settings({"BETMESH_RUN": str(run_dir)})
    with pytest.raises(MissingSetting, match=r"NATS_URL_OF_NOWHERE is not set: run `\./just up`"):
        settings["NATS_URL_OF_NOWHERE"]
    with pytest.raises(MissingSetting, match=r"nobody\.nk is missing"):
        settings.nkey_seed("nobody")
