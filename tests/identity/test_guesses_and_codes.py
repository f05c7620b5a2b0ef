"""How long guessers wait, and the codes of authenticator apps: rules without a service."""

from datetime import UTC, datetime, timedelta

import pytest

from svc.identity import guesses, totp

SECRET = b"12345678901234567890"


@pytest.mark.parametrize(
    ("seconds", "code"),
    [
        (59, "94287082"),
        (1_111_111_109, "07081804"),
        (1_111_111_111, "14050471"),
        (1_234_567_890, "89005924"),
        (2_000_000_000, "69279037"),
        (20_000_000_000, "65353130"),
    ],
)
def test_codes_are_those_of_rfc_6238(seconds: int, code: str) -> None:
    # Appendix B of RFC 6238, SHA-1, eight digits.
    step = totp.step_of(datetime.fromtimestamp(seconds, UTC))
    assert totp.code_at(SECRET, step, digits=8) == code
    assert totp.code_at(SECRET, step) == code[2:]


def test_a_code_holds_one_step_early_or_late_and_once() -> None:
    now = datetime(2026, 3, 1, 12, 0, 10, tzinfo=UTC)
    here = totp.step_of(now)
    for away, found in ((-2, False), (-1, True), (0, True), (1, True), (2, False)):
        code = totp.code_at(SECRET, here + away)
        assert (totp.matching_step(SECRET, code, now, 0) is not None) is found
    assert totp.matching_step(SECRET, totp.code_at(SECRET, here), now, here) is None
    assert totp.matching_step(SECRET, totp.code_at(SECRET, here - 1), now, here) is None


def test_an_app_is_told_what_it_needs() -> None:
    found = totp.uri(SECRET, "ann@example.com")
    assert found.startswith("otpauth://totp/betmesh%3Aann%40example.com?secret=GEZDGNBVGY3TQOJQ")
    assert "issuer=betmesh&algorithm=SHA1&digits=6&period=30" in found


@pytest.mark.parametrize(
    ("failures", "wait_s"),
    [(4, None), (5, 30), (6, 60), (7, 120), (11, 1920), (12, 3600), (10_000, 3600)],
)
def test_each_wrong_guess_beyond_the_free_ones_doubles_the_wait(
    failures: int, wait_s: int | None
) -> None:
    wait = None if wait_s is None else timedelta(seconds=wait_s)
    assert guesses.lock(failures, guesses.FREE_HERE) == wait


def test_guesses_from_elsewhere_count_for_the_account_and_not_for_an_address() -> None:
    (here, _), (account, _) = guesses.keys("log-in", "ann@example.com", "192.0.2.1")
    (there, _), (same, _) = guesses.keys("log-in", "ann@example.com", "192.0.2.2")
    assert (here != there, account) == (True, same)
    assert guesses.keys("reset", "ann@example.com", "192.0.2.1")[1][0] != account
