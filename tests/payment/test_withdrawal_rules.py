"""What forbids a withdrawal, and what disputes and captures come to, as tables."""

import pytest

from svc.mesh.errors import DeclarationError, Refused
from svc.payment import rules
from svc.payment.contract import (
    AccountBlocked,
    ClosedLoop,
    CurrencyMismatch,
    LimitExceeded,
    NotVerified,
)
from svc.payment.rules import Loop, Player, WithdrawalPolicy

STRICT = WithdrawalPolicy(must_be_verified=True)
OPEN = WithdrawalPolicy()


def player(kyc_status: str = "none", currency: str | None = "EUR") -> Player:
    return Player(
        user_id="u", currency=currency, locale="en", kyc_status=kyc_status, excluded_until=None
    )


@pytest.mark.parametrize(
    ("who", "disputed", "policy", "refusal"),
    [
        (player(), False, OPEN, None),
        (player("expired"), False, OPEN, None),
        (player("rejected"), False, OPEN, NotVerified),
        (player("verified"), False, STRICT, None),
        (player("pending"), False, STRICT, NotVerified),
        (player("expired"), False, STRICT, NotVerified),
        (player(), True, OPEN, AccountBlocked),
        (player(currency="BRL"), False, OPEN, CurrencyMismatch),
        (player(currency=None), False, OPEN, None),
    ],
)
def test_a_withdrawal_is_taken_in_unless_something_forbids_it(
    who: Player, disputed: bool, policy: WithdrawalPolicy, refusal: type[Refused] | None
) -> None:
    if refusal is None:
        rules.check_withdrawal(who, "EUR", disputed=disputed, policy=policy)
        return
    with pytest.raises(refusal):
        rules.check_withdrawal(who, "EUR", disputed=disputed, policy=policy)


def loop(method: str, deposited: int, withdrawn: int = 0) -> Loop:
    return Loop(method=method, deposited=deposited, withdrawn=withdrawn)


@pytest.mark.parametrize(
    ("method", "loops", "refused"),
    [
        ("bank", [], None),
        ("bank", [loop("card", 900)], None),
        ("bank", [loop("ewallet", 900)], ("ewallet", 900)),
        ("bank", [loop("ewallet", 900, 600)], ("ewallet", 300)),
        ("bank", [loop("ewallet", 900, 900)], None),
        ("bank", [loop("ewallet", 900), loop("ewallet", 0, 900)][:1], ("ewallet", 900)),
        ("ewallet", [loop("ewallet", 900)], None),
        ("ewallet", [loop("ewallet", 900), loop("card", 100)], None),
    ],
)
def test_money_goes_back_where_it_came_from_first(
    method: str, loops: list[Loop], refused: tuple[str, int] | None
) -> None:
    if refused is None:
        rules.check_withdrawal_amount(500, method, loops, 0, OPEN)
        return
    with pytest.raises(ClosedLoop) as refusal:
        rules.check_withdrawal_amount(500, method, loops, 0, OPEN)
    assert (refusal.value.members["method"], refusal.value.members["remaining"]) == refused


def test_a_day_has_a_maximum_where_one_is_set() -> None:
    policy = WithdrawalPolicy(per_day=1_000)
    rules.check_withdrawal_amount(400, "bank", [], 600, policy)
    with pytest.raises(LimitExceeded) as refusal:
        rules.check_withdrawal_amount(401, "bank", [], 600, policy)
    assert refusal.value.members["remaining"] == 400


def test_the_policy_comes_from_settings() -> None:
    given = {
        "KYC_REQUIRED": "1", "PAYMENT_WITHDRAWALS_PER_DAY": "5000",
        "PAYMENT_TWO_WAY_METHODS": "ewallet, bank_debit",
    }  # fmt: skip
    assert rules.policy_of(given.get) == WithdrawalPolicy(
        must_be_verified=True, per_day=5_000, two_way=frozenset({"ewallet", "bank_debit"})
    )
    nothing: dict[str, str] = {}
    assert rules.policy_of(nothing.get) == OPEN
    with pytest.raises(DeclarationError):
        rules.policy_of({"PAYMENT_WITHDRAWALS_PER_DAY": "much"}.get)


@pytest.mark.parametrize(
    ("told", "captured"),
    [
        ((100, 100, "EUR"), 100),
        ((100, 60, "EUR"), 60),
        ((100, 0, "EUR"), None),
        ((100, 101, "EUR"), None),
        ((99, 99, "EUR"), None),
        ((100, 100, "USD"), None),
    ],
)
def test_a_part_may_be_captured_of_what_was_asked_for(
    told: tuple[int, int, str], captured: int | None
) -> None:
    assert rules.captured((100, "EUR"), told) == captured


@pytest.mark.parametrize(
    ("status", "movements", "money"),
    [
        ("needs_response", None, (2_000, 0)),
        ("won", None, (2_000, 2_000)),
        ("lost", None, (2_000, 0)),
        ("warning_needs_response", None, (0, 0)),
        ("needs_response", [], (0, 0)),
        ("needs_response", [-3_500], (3_500, 0)),
        ("won", [-3_500, 2_000], (3_500, 2_000)),
    ],
)
def test_what_a_dispute_took_and_gave_back(
    status: str, movements: list[int] | None, money: tuple[int, int]
) -> None:
    assert rules.dispute_money(status, 2_000, movements) == money


def test_a_dispute_only_climbs() -> None:
    assert rules.climbs_dispute("open", "lost")
    assert rules.climbs_dispute("lost", "won")
    assert not rules.climbs_dispute("won", "lost")
    assert not rules.climbs_dispute("lost", "open")
