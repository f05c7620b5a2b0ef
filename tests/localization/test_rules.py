"""The pure rules of localization, as tables."""

import pytest

from svc.localization import rules

HERE = frozenset({"en", "de", "pt-BR"})


@pytest.mark.parametrize(
    ("tag", "normal"),
    [
        ("de", "de"),
        ("pt-br", "pt-BR"),
        ("PT-BR", "pt-BR"),
        ("zh-hant-tw", "zh-Hant-TW"),
        ("es-419", "es-419"),
        ("", None),
        ("d", None),
        ("de_AT", None),
        ("de-AT-x", None),
        ("../en", None),
        ("de\n", None),
    ],
)
def test_a_locale_is_put_in_its_usual_form_or_is_malformed(tag: str, normal: str | None) -> None:
    assert rules.normalise(tag) == normal


@pytest.mark.parametrize(
    ("locale", "expected"),
    [
        ("en", ["en"]),
        ("de-AT", ["de", "en"]),
        ("pt-BR", ["pt-BR", "en"]),
        ("pt", ["pt-BR", "en"]),
        ("pt-PT", ["pt-BR", "en"]),
        ("fr-CA", ["en"]),
    ],
)
def test_a_locale_falls_back_to_its_language_and_at_last_to_english(
    locale: str, expected: list[str]
) -> None:
    assert rules.chain(locale, HERE) == expected


def test_bundles_that_say_the_same_have_no_mistakes() -> None:
    bundles: dict[str, rules.Messages] = {
        "en": {"a": "Hello {name}", "b": {"one": "{count} spin", "other": "{count} spins"}},
        "de": {"a": "Hallo {name}", "b": {"one": "ein Spin", "other": "{count} Spins"}},
    }
    assert list(rules.mistakes("test", bundles)) == []


@pytest.mark.parametrize(
    ("german", "mistake"),
    [
        ({}, "de/test: a is missing, the other languages have it"),
        ({"a": "Hallo"}, "test: a differs between de and en in name"),
        ({"a": "Hallo {nmae}"}, "test: a differs between de and en in name, nmae"),
        ({"a": {"one": "Hallo {name}"}}, "de/test: a has no plural form `other`"),
        (
            {"a": {"other": "Hallo {name}", "some": "Hallo {name}"}},
            "de/test: a has forms that CLDR does not know: some",
        ),
        ({"a": "Hallo {name} {"}, "de/test: a is empty or has a brace that names nothing"),
    ],
)
def test_a_translation_that_differs_is_named(german: rules.Messages, mistake: str) -> None:
    assert mistake in list(rules.mistakes("test", {"en": {"a": "Hello {name}"}, "de": german}))
