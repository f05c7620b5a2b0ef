"""The bundles of this installation, and what is said of broken ones."""

from pathlib import Path

import pytest

from svc.localization.catalogue import load
from svc.mesh.errors import DeclarationError


def test_all_bundles_are_complete_in_all_three_languages() -> None:
    catalogue = load()
    assert "localization" in catalogue.namespaces
    assert all(set(locales) == {"en", "de", "pt-BR"} for locales in catalogue.bundles.values())


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    for name, text in {
        "en/casino.json": '{"spin": "Spin {count}"}',
        "de/casino.json": '{"spin": "Drehen"}',
        "en/formats.json": "{}",
        "en/broken.json": '{"spin": 1}',
        "en/lonely.json": '{"alone": "Alone"}',
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    with pytest.raises(DeclarationError) as failure:
        load(tmp_path)
    told = str(failure.value)
    assert "casino: spin differs between de and en in count" in told
    assert "formats cannot name a namespace (en)" in told
    assert "en/broken: " in told
    assert "de/lonely.json is missing" in told
