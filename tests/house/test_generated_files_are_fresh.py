"""Every generated file is what the declarations imply today."""

from pathlib import Path

from svc import generate


def test_generated_files_are_fresh() -> None:
    assert generate.stale() == [], "run `./just generate` and commit what it writes"


def test_a_file_that_differs_or_is_left_over_is_found(tmp_path: Path) -> None:
    for path, text in generate.generated_files().items():
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    assert generate.stale(tmp_path) == []

    (tmp_path / "jetstream" / "nats.conf").write_text("authorization {}")
    (tmp_path / "jetstream" / "streams" / "OLD.json").write_text("{}")

    assert generate.stale(tmp_path) == ["jetstream/nats.conf", "jetstream/streams/OLD.json"]
