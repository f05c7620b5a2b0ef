"""The verifier recomputes what the server said."""

import pytest

from svc.casino import verify

SEED = "a3f1c2d4e5b60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90"
GIVEN = ["--game", "dice", "--server-seed", SEED, "--client-seed", "player-42", "--nonce", "0"]


def test_it_prints_the_commitment_the_outcome_and_the_payout(
    capsys: pytest.CaptureFixture[str],
) -> None:
    choice = '{"target": 50, "over": false}'
    assert verify.main([*GIVEN, "--stake", "100", "--choice", choice]) == 0
    printed = capsys.readouterr().out
    assert "808eabce95ad39ee0e58f13bba1ba861571bf729f9f99ce334f331fe0d335c03" in printed
    assert f'"roll": {0x872A52520290F71A % 10_000}' in printed


@pytest.mark.parametrize("choice", ["{", "[]", '{"target": 1, "over": true}'])
def test_a_wrong_choice_ends_with_a_sentence(
    choice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify.main([*GIVEN, "--stake", "100", "--choice", choice]) == 2
    assert "choice" in capsys.readouterr().err
