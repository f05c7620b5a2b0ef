"""The rules of payments as tables: signatures, the lattice, limits."""

import time
from datetime import UTC, datetime, timedelta

import pytest
import stripe

from svc.outside.payments import signature
from svc.payment import rules
from svc.payment.contract import (
    BadSignature,
    CurrencyMismatch,
    LimitExceeded,
    NotVerified,
    SelfExcluded,
)
from svc.payment.rules import AnnouncedLimit, Player

BODY = b'{"id":"evt_1","type":"payment_intent.succeeded"}'
SECRET = "whsec_test"
AT = 1_700_000_000
MARK = "001ce3ef73e456cedaab328328720d3ad59defb8bbd0f1518f46c04ad4ac0bb7"
NOW = datetime(2026, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "secrets", "now_s"),
    [
        (f"t={AT},v1={MARK}", (SECRET,), AT),
        (f"t={AT},v1={MARK}", (SECRET,), AT + 300),
        (f"t={AT},v1={MARK}", (SECRET,), AT - 300),
        (f"t={AT},v1={'0' * 64},v1={MARK}", (SECRET,), AT),
        (f"t={AT}, v1={MARK}, v0=ignored", (SECRET,), AT),
        (f"t={AT},v1={MARK}", ("whsec_new", SECRET), AT),
    ],
)
def test_a_good_signature_holds(header: str, secrets: tuple[str, ...], now_s: int) -> None:
    rules.check_signature(header, BODY, secrets, now_s)


@pytest.mark.parametrize(
    ("header", "body", "secrets", "now_s"),
    [
        (f"t={AT},v1={MARK}", BODY, (SECRET,), AT + 301),
        (f"t={AT},v1={MARK}", BODY, (SECRET,), AT - 301),
        (f"t={AT},v1={MARK}", BODY + b" ", (SECRET,), AT),
        (f"t={AT},v1={MARK}", BODY, ("whsec_other",), AT),
        (f"t={AT},v1={MARK}", BODY, (), AT),
        (f"t={AT + 1},v1={MARK}", BODY, (SECRET,), AT),
        (f"t={AT},v0={MARK}", BODY, (SECRET,), AT),
        (f"t={AT},t={AT},v1={MARK}", BODY, (SECRET,), AT),
        (f"v1={MARK}", BODY, (SECRET,), AT),
        (f"t=x,v1={MARK}", BODY, (SECRET,), AT),
        (f"t={AT},v1=\u00fc", BODY, (SECRET,), AT),
        ("", BODY, (SECRET,), AT),
    ],
)
def test_a_bad_signature_is_refused(
    header: str, body: bytes, secrets: tuple[str, ...], now_s: int
) -> None:
    with pytest.raises(BadSignature):
        rules.check_signature(header, body, secrets, now_s)


def test_stripes_own_library_agrees_about_what_holds() -> None:
    at = int(time.time())
    header = f"t={at},v1={signature(BODY, SECRET, at)}"
    assert stripe.WebhookSignature.verify_header(BODY.decode(), header, SECRET, 300)
    rules.check_signature(header, BODY, (SECRET,), at)


def test_a_secret_setting_may_hold_two_secrets() -> None:
    assert rules.secrets_of("whsec_a") == ("whsec_a",)
    assert rules.secrets_of(" whsec_new , whsec_old ") == ("whsec_new", "whsec_old")


def test_a_deposit_only_climbs() -> None:
    assert rules.climbs("pending", "failed")
    assert rules.climbs("failed", "succeeded")
    assert rules.climbs("succeeded", "refunded")
    assert not rules.climbs("succeeded", "failed")
    assert not rules.climbs("refunded", "succeeded")
    assert not rules.climbs("succeeded", "succeeded")


def announced(amount: int, told_h: int, holds_h: int, period: str = "day") -> AnnouncedLimit:
    return AnnouncedLimit(
        period=period,
        amount=amount,
        announced_at=NOW + timedelta(hours=told_h),
        effective_at=NOW + timedelta(hours=holds_h),
    )


@pytest.mark.parametrize(
    ("limits", "in_force"),
    [
        ([], {}),
        ([announced(100, -5, -5)], {"day": 100}),
        ([announced(100, -5, -5), announced(500, -1, 23)], {"day": 100}),
        ([announced(100, -50, -50), announced(500, -30, -6)], {"day": 500}),
        # Lowered again while the raise waited: the raise is dropped for good.
        ([announced(500, -30, -6), announced(50, -20, -20)], {"day": 50}),
        ([announced(100, -5, -5), announced(300, -4, -4, "week")], {"day": 100, "week": 300}),
    ],
)
def test_the_limit_in_force_is_the_newest_that_has_taken_effect(
    limits: list[AnnouncedLimit], in_force: dict[str, int]
) -> None:
    assert rules.limits_in_force(limits, NOW) == in_force


def test_of_all_limits_the_lowest_wins() -> None:
    limits, deposited = {"day": 100, "week": 250}, {"day": 40, "week": 240}
    rules.check_limits(limits, deposited, 10, "EUR")
    with pytest.raises(LimitExceeded) as refused:
        rules.check_limits(limits, deposited, 11, "EUR")
    assert refused.value.members["remaining"] == 10
    assert refused.value.members["period"] == "week"


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"excluded_until": NOW + timedelta(seconds=1)}, SelfExcluded),
        ({"kyc_status": "rejected"}, NotVerified),
        ({"kyc_status": "expired"}, NotVerified),
        ({"currency": "BRL"}, CurrencyMismatch),
        ({"excluded_until": NOW, "kyc_status": "pending"}, None),
    ],
)
def test_a_player_may_deposit_unless_something_forbids_it(
    change: dict[str, object], refusal: type[Exception] | None
) -> None:
    values: dict[str, object] = {
        "user_id": "u",
        "currency": "EUR",
        "locale": "en",
        "kyc_status": "none",
        "excluded_until": None,
    }
    player = Player(**(values | change))  # pyright: ignore[reportArgumentType] -- a table of changes
    if refusal is None:
        rules.check_player(player, "EUR", NOW)
        return
    with pytest.raises(refusal):
        rules.check_player(player, "EUR", NOW)


@pytest.mark.parametrize(
    ("status", "may"), [("none", False), ("pending", False), ("verified", True)]
)
def test_where_a_verification_is_asked_for_it_comes_before_the_first_deposit(
    status: str, *, may: bool
) -> None:
    player = Player(
        user_id="u", currency="EUR", locale="en", kyc_status=status, excluded_until=None
    )
    if may:
        rules.check_player(player, "EUR", NOW, must_be_verified=True)
        return
    with pytest.raises(NotVerified):
        rules.check_player(player, "EUR", NOW, must_be_verified=True)


def test_waiting_gets_longer_but_not_endless() -> None:
    waits = [rules.next_try(NOW, tries) - NOW for tries in (0, 1, 2, 50)]
    assert waits == [timedelta(seconds=s) for s in (10, 20, 40, 600)]
