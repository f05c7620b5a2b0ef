"""The exchange of the odds feed: who is let in, what goes where, and how it ends."""

import pytest

from svc.outside.amqp import matches


@pytest.mark.parametrize(
    ("pattern", "taken"),
    [
        ("#", True),
        ("*.*.*.*.*.*.*.-.#", True),
        ("*.*.*.*.*.*.*.-", True),
        ("hi.#", True),
        ("#.sr:match.#", True),
        ("hi.*.live.odds_change.#", True),
        ("*.*.*.*.*.*.*.1.#", False),
        ("*.*.*.*.*.*.*", False),
        ("lo.#", False),
        ("hi.-.live", False),
    ],
)
def test_a_binding_takes_the_keys_that_the_protocol_says(pattern: str, *, taken: bool) -> None:
    assert matches(pattern, "hi.-.live.odds_change.1.sr:match.1234.-") is taken
