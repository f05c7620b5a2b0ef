"""The pure rules of notification: signatures, states, consent and pauses."""

from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest
from hypothesis import given, strategies as st
from twilio.request_validator import RequestValidator

from svc.notification import rules
from svc.notification.contract import Category, DeliveryStatus

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
URL = "https://bets.example.com/webhooks/sms/status"
RECEIPT = [("MessageSid", "SM1"), ("MessageStatus", "delivered"), ("To", "+15551230000")]


def test_the_known_receipt_has_the_known_signature() -> None:
    assert rules.signature("12345", URL, RECEIPT) == "O9e1PR1b0si+MnHeJPlywb/WcyI="


@given(
    st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=12), max_size=6),
    st.text(alphabet="0123456789abcdef", min_size=1, max_size=32),
)
def test_twilios_own_library_agrees_with_every_signature(
    parameters: dict[str, str], token: str
) -> None:
    ours = rules.signature(token, URL, parameters.items())
    assert RequestValidator(token).compute_signature(URL, parameters) == ours


@pytest.mark.parametrize(
    ("given_signature", "token", "urls", "holds"),
    [
        ("O9e1PR1b0si+MnHeJPlywb/WcyI=", "12345", {URL}, True),
        ("O9e1PR1b0si+MnHeJPlywb/WcyI=", "12345", {"http://inside/webhooks/sms", URL}, True),
        ("O9e1PR1b0si+MnHeJPlywb/WcyI=", "12346", {URL}, False),
        ("O9e1PR1b0si+MnHeJPlywb/WcyI=", "12345", {URL + "/"}, False),
        ("", "12345", {URL}, False),
        ("ümlaut", "12345", {URL}, False),
        (rules.signature("", URL, RECEIPT), "", {URL}, False),
    ],
)
def test_a_signature_holds_for_our_address_and_token_only(
    given_signature: str, token: str, urls: set[str], holds: bool
) -> None:
    assert rules.is_signed(given_signature, token, urls, RECEIPT) is holds


def test_receipts_lead_to_the_same_state_in_any_order() -> None:
    told = ["queued", "sending", "sent", "delivered", "something new"]
    assert {rules.furthest(order) for order in permutations(told)} == {"delivered"}
    assert rules.furthest(["queued", "something new"]) is None
    assert rules.furthest(["undelivered", "sent"]) == "failed"


def test_a_state_never_goes_back() -> None:
    states: tuple[DeliveryStatus, ...] = ("queued", "sent", "delivered", "failed", "suppressed")
    steps = {(a, b) for a in states for b in states if rules.moves_on(a, b)}
    assert not any((b, a) in steps for a, b in steps)
    assert {b for a, b in steps if a == "sent"} >= {"delivered", "failed"}
    assert ("delivered", "failed") not in steps


@pytest.mark.parametrize(
    ("category", "chosen", "opted_in", "excluded", "told"),
    [
        ("transactional", None, False, False, True),
        ("transactional", False, True, False, False),
        ("security", None, False, True, True),
        ("security", False, False, False, True),
        ("marketing", None, False, False, False),
        ("marketing", None, True, False, True),
        ("marketing", True, False, False, True),
        ("marketing", False, True, False, False),
        ("marketing", True, True, True, False),
    ],
)
def test_categories_follow_consent(
    category: Category, chosen: bool | None, opted_in: bool, excluded: bool, told: bool
) -> None:
    until = NOW + timedelta(days=1) if excluded else None
    assert told is rules.may_tell(
        category, chosen, opted_in=opted_in, excluded_until=until, now=NOW
    )


def test_pauses_grow_to_a_minute() -> None:
    assert [rules.pause(attempts).seconds for attempts in (1, 2, 3, 4, 5, 6, 100)] == [
        1, 2, 5, 10, 30, 60, 60,
    ]  # fmt: skip
