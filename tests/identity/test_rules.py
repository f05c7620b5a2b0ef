"""The rules of identity, as tables."""

from datetime import UTC, date, datetime, timedelta

import pytest

from svc.identity import rules
from svc.identity.contract import PlayerLimit, SelfExcluded, UnderAge
from svc.identity.rules import LimitStep, Standing
from svc.mesh.errors import Forbidden, Invalid

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("born", "today", "old_enough"),
    [
        (date(2008, 3, 1), date(2026, 2, 28), False),
        (date(2008, 3, 1), date(2026, 3, 1), True),
        (date(2008, 3, 2), date(2026, 3, 1), False),
        (date(2008, 12, 31), date(2026, 12, 30), False),
        (date(2008, 12, 31), date(2026, 12, 31), True),
        (date(2008, 2, 29), date(2026, 2, 28), False),
        (date(2008, 2, 29), date(2026, 3, 1), True),
        (date(2026, 3, 2), date(2026, 3, 1), False),
        (date(1930, 1, 1), date(2026, 3, 1), True),
    ],
)
def test_a_player_is_old_enough_from_the_eighteenth_birthday_on(
    born: date, today: date, *, old_enough: bool
) -> None:
    if old_enough:
        rules.check_age(born, today)
    else:
        with pytest.raises(UnderAge):
            rules.check_age(born, today)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("Ann@Example.COM", "ann@example.com"),
        ("  ann@example.com ", "ann@example.com"),
        ("ann+bets@example.com", "ann+bets@example.com"),
        ("jürgen@müller.de", "jürgen@müller.de"),
        ("ann@xn--mller-kva.de", "ann@müller.de"),
    ],
)
def test_spellings_of_one_address_have_one_key(text: str, key: str) -> None:
    assert rules.normalised_email(text)[1] == key


@pytest.mark.parametrize(
    "text", ["", "ann", "ann@", "@example.com", "a b@example.com", "ann@ex..com", "ann@localhost"]
)
def test_what_is_no_address_is_refused_by_the_name_of_its_field(text: str) -> None:
    with pytest.raises(Invalid, match=r"\$\.email"):
        rules.normalised_email(text)


@pytest.mark.parametrize("number", ["+4915112345678", "+442071838750", "+12015550123"])
def test_a_possible_number_stays_as_it_is(number: str) -> None:
    assert rules.normalised_phone(number) == number


@pytest.mark.parametrize("number", ["+49", "+999123456789", "+1201555012345", "04915112345678"])
def test_an_impossible_number_is_refused_by_the_name_of_its_field(number: str) -> None:
    with pytest.raises(Invalid, match=r"\$\.phone"):
        rules.normalised_phone(number)


def test_a_currency_is_one_that_iso_4217_knows() -> None:
    rules.check_currency("EUR")
    with pytest.raises(Invalid, match=r"\$\.currency"):
        rules.check_currency("ZZQ")


def limit(
    amount: int, pending: int | None = None, pending_from: datetime | None = None
) -> PlayerLimit:
    return PlayerLimit(
        kind="deposit",
        period="day",
        amount=amount,
        pending_amount=pending,
        pending_from=pending_from,
    )


@pytest.mark.parametrize(
    ("current", "wanted", "step"),
    [
        pytest.param(None, 100, (limit(100), True, True), id="the first holds at once"),
        pytest.param(limit(100), 50, (limit(50), True, True), id="a lower one holds at once"),
        pytest.param(limit(100), 100, (limit(100), False, False), id="the same is no change"),
        pytest.param(
            limit(100), 200, (limit(100, 200, NOW + DAY), False, True), id="a higher one waits"
        ),
        pytest.param(
            limit(100, 200, NOW + DAY / 2),
            200,
            (limit(100, 200, NOW + DAY / 2), False, False),
            id="the same raise again, too early, does not wait anew",
        ),
        pytest.param(
            limit(100, 200, NOW), 200, (limit(200), True, True), id="a raise is confirmed in time"
        ),
        pytest.param(
            limit(100, 200, NOW - DAY * 30),
            200,
            (limit(200), True, True),
            id="a raise is confirmed later",
        ),
        pytest.param(
            limit(100, 200, NOW),
            300,
            (limit(100, 300, NOW + DAY), False, True),
            id="another raise waits anew",
        ),
        pytest.param(
            limit(100, 200, NOW),
            150,
            (limit(100, 150, NOW + DAY), False, True),
            id="a smaller raise than the one that waited is another one",
        ),
        pytest.param(
            limit(100, 200, NOW + DAY / 2),
            100,
            (limit(100), False, True),
            id="the present amount drops a raise that waits",
        ),
        pytest.param(
            limit(100, 200, NOW + DAY / 2),
            50,
            (limit(50), True, True),
            id="a lower one drops a raise that waits",
        ),
    ],
)
def test_a_limit_falls_at_once_and_rises_when_confirmed_after_a_day(
    current: PlayerLimit | None, wanted: int, step: tuple[PlayerLimit, bool, bool]
) -> None:
    expected = LimitStep(limit=step[0], holds=step[1], changed=step[2])
    assert rules.change_limit(current, limit(wanted), NOW) == expected


@pytest.mark.parametrize(
    ("passed", "minutes", "due"),
    [(59, 60, False), (60, 60, True), (300, 60, True), (300, 0, False)],
)
def test_a_reality_check_is_due_after_its_time_and_never_where_it_is_off(
    passed: int, minutes: int, due: bool
) -> None:
    last = NOW - timedelta(minutes=passed)
    assert rules.is_reality_check_due(last, NOW, minutes) is due


@pytest.mark.parametrize(
    ("start", "months", "end"),
    [
        (datetime(2026, 8, 31, tzinfo=UTC), 6, datetime(2027, 2, 28, tzinfo=UTC)),
        (datetime(2027, 8, 31, tzinfo=UTC), 6, datetime(2028, 2, 29, tzinfo=UTC)),
        (datetime(2026, 6, 15, 8, tzinfo=UTC), 6, datetime(2026, 12, 15, 8, tzinfo=UTC)),
        (datetime(2026, 12, 1, tzinfo=UTC), 60, datetime(2031, 12, 1, tzinfo=UTC)),
    ],
)
def test_months_are_those_of_the_calendar(start: datetime, months: int, end: datetime) -> None:
    assert rules.months_later(start, months) == end


def test_an_exclusion_is_never_shortened() -> None:
    assert rules.longer_exclusion(None, NOW) == NOW
    assert rules.longer_exclusion(NOW, NOW + DAY) == NOW + DAY
    assert rules.longer_exclusion(NOW + DAY, NOW) is None


def standing(
    *roles: str,
    kyc: str = "none",
    closed: bool = False,
    excluded_until: datetime | None = None,
) -> Standing:
    return Standing(
        user_id="u",
        roles=list(roles),
        kyc_status=kyc,
        closed=closed,
        excluded_until=excluded_until,
    )


@pytest.mark.parametrize("permission", ["bet", "play", "deposit", "withdraw", "bonus"])
def test_a_player_may_play_and_pay_until_excluded_and_then_only_withdraw(permission: str) -> None:
    rules.authorize(standing("player"), permission, NOW)
    rules.authorize(standing("player", excluded_until=NOW), permission, NOW)
    shut_out = standing("player", excluded_until=NOW + DAY)
    if permission == "withdraw":
        rules.authorize(shut_out, permission, NOW)
    else:
        with pytest.raises(SelfExcluded) as refusal:
            rules.authorize(shut_out, permission, NOW)
        assert refusal.value.members == {"until": "2026-03-02T12:00:00+00:00"}


@pytest.mark.parametrize(
    ("permission", "kyc", "may"),
    [
        ("bet", "none", False),
        ("play", "pending", False),
        ("deposit", "expired", False),
        ("bet", "verified", True),
        ("withdraw", "none", True),
    ],
)
def test_play_waits_for_verification_only_where_that_is_required(
    permission: str, kyc: str, *, may: bool
) -> None:
    rules.authorize(standing("player", kyc=kyc), permission, NOW)
    if may:
        rules.authorize(standing("player", kyc=kyc), permission, NOW, kyc_required=True)
    else:
        with pytest.raises(Forbidden):
            rules.authorize(standing("player", kyc=kyc), permission, NOW, kyc_required=True)


@pytest.mark.parametrize(
    ("roles", "permission", "may"),
    [
        (("operator",), "wallet.adjust", True),
        (("admin",), "identity.set_kyc", True),
        (("player",), "wallet.adjust", False),
        (("player", "operator"), "scheduler.jobs", True),
        (("admin",), "bank.rob", False),
        (("admin",), "wallet", False),
        (("admin",), "wallet.", False),
        (("admin",), "everything", False),
    ],
)
def test_staff_may_what_names_a_service_and_players_none_of_it(
    roles: tuple[str, ...], permission: str, *, may: bool
) -> None:
    if may:
        rules.authorize(standing(*roles), permission, NOW)
    else:
        with pytest.raises(Forbidden):
            rules.authorize(standing(*roles), permission, NOW)


@pytest.mark.parametrize("permission", ["bet", "withdraw", "wallet.adjust"])
def test_a_closed_account_may_nothing(permission: str) -> None:
    with pytest.raises(Forbidden):
        rules.authorize(standing("player", "admin", closed=True), permission, NOW)
