"""What events say about money, and which day they belong to."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given, strategies as st

from svc.marketing import contract as marketing
from svc.mesh.clock import new_id
from svc.mesh.errors import Invalid
from svc.payment import contract as payment
from svc.reporting import rules
from svc.reporting.rules import Movement
from svc.reporting.service import EVERYTHING

TODAY = date(2026, 3, 10)


def withdrawal_failed(*, returned: bool) -> payment.WithdrawalFailed:
    return payment.WithdrawalFailed(
        withdrawal_id=new_id(), user_id=new_id(), amount=5, currency="EUR", reason="r",
        returned=returned,
    )  # fmt: skip


def bonus(kind: marketing.BonusKind, amount: int) -> marketing.BonusAwarded:
    return marketing.BonusAwarded(
        award_id=new_id(), user_id=new_id(), campaign="c", kind=kind, amount=amount,
        currency="EUR", spins=0, transfer_id=new_id(), expires_at=None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("event_type", "data", "movement"),
    [
        ("WithdrawalFailedEvent", withdrawal_failed(returned=False), None),
        ("WithdrawalFailedEvent", withdrawal_failed(returned=True), ("withdrawal", "EUR", 5)),
        ("BonusAwardedEvent", bonus("cash", 7), ("bonus", "EUR", 7)),
        ("BonusAwardedEvent", bonus("bonus", 7), ("bonus", "EUR", 7)),
        ("BonusAwardedEvent", bonus("free_spins", 0), None),
        ("UserLoggedInEvent", object(), None),
    ],
)
def test_an_event_tells_of_money_or_of_none(
    event_type: str, data: object, movement: tuple[str, str, int] | None
) -> None:
    assert rules.movement(event_type, data) == (Movement(*movement) if movement else None)


def test_all_that_tells_of_money_is_heard_and_all_kinds_are_told_of() -> None:
    assert {event.type for event in EVERYTHING} >= rules.MOVEMENTS.keys()
    stakes = {product.stake for product in rules.PRODUCTS.values()}
    assert stakes < set(rules.KINDS)


def test_a_day_is_a_day_in_utc() -> None:
    late = datetime(2026, 3, 10, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    assert rules.day_of(late) == date(2026, 3, 9)


@given(st.datetimes(timezones=st.just(UTC)))
def test_every_instant_lies_in_the_span_of_its_day(instant: datetime) -> None:
    day = rules.day_of(instant)
    if day < date.max:
        begin, end = rules.span(day, day)
        assert begin <= instant < end


@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [
        (None, None, (date(2026, 3, 4), TODAY)),
        (date(2026, 3, 9), None, (date(2026, 3, 9), TODAY)),
        (None, date(2026, 3, 7), (date(2026, 3, 1), date(2026, 3, 7))),
        (TODAY, TODAY, (TODAY, TODAY)),
    ],
)
def test_days_that_are_not_named_are_the_last_seven(
    since: date | None, until: date | None, expected: tuple[date, date]
) -> None:
    assert rules.days(since, until, TODAY, 7) == expected


@pytest.mark.parametrize(
    ("since", "until", "field"),
    [
        (TODAY, TODAY - timedelta(days=1), "since"),
        (TODAY - timedelta(days=366), TODAY, "since"),
        (date(9999, 12, 31), date(9999, 12, 31), "until"),
        (date.min, date.min, "until"),
        (None, date.min, "until"),
    ],
)
def test_days_that_make_no_sense_are_refused(since: date | None, until: date, field: str) -> None:
    with pytest.raises(Invalid, match=field):
        rules.days(since, until, TODAY, 7)
