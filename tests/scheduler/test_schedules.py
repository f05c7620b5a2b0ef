"""How a request becomes a schedule of the broker, as tables."""

from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest

from svc.mesh.errors import Invalid
from svc.scheduler.contract import JobRequested
from svc.scheduler.schedules import (
    DUE_ROOT,
    JOB_ROOT,
    JobBody,
    address,
    headers_of,
    schedule_of,
    stamp,
)

NOON = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)


def request(
    *,
    service: str = "wallet",
    cron: str | None = None,
    at: datetime | None = None,
    time_zone: str = "UTC",
) -> JobRequested:
    return JobRequested(service=service, name="audit", cron=cron, at=at, time_zone=time_zone)


@pytest.mark.parametrize(
    ("asked", "schedule"),
    [
        (request(cron="0 30 5 * * *"), "0 30 5 * * *"),
        (request(cron="  0  30 5 * * * "), "0 30 5 * * *"),
        (request(cron="@every 1s"), "@every 1s"),
        (request(cron="@daily"), "@daily"),
        (request(at=NOON), "@at 2026-12-01T12:00:00Z"),
        (
            request(at=NOON.astimezone(timezone(timedelta(hours=-3)))),
            "@at 2026-12-01T12:00:00Z",
        ),
    ],
)
def test_a_request_becomes_the_brokers_expression(asked: JobRequested, schedule: str) -> None:
    assert schedule_of(asked) == schedule


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (request(), "cron"),
        (request(cron="0 0 0 * * *", at=NOON), "cron"),
        (request(cron="@at 2026-12-01T12:00:00Z"), "cron"),
        (request(at=NOON.replace(tzinfo=None)), "at"),
        (request(at=datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))), "at"),
        (request(cron="  "), "cron"),
        (request(cron="@daily", time_zone="UTC\r\nNats-Schedule: @every 1s"), "time_zone"),
        (request(cron="@daily", time_zone=""), "time_zone"),
        (request(service="gateway", cron="@daily"), "service"),
        (request(service="wallet.audit", cron="@daily"), "service"),
    ],
)
def test_a_request_that_says_nothing_clear_is_refused_by_its_field(
    asked: JobRequested, field: str
) -> None:
    with pytest.raises(Invalid, match=rf"\$\.{field}"):
        schedule_of(asked)


@pytest.mark.parametrize(
    ("key", "token"),
    [
        ("", ""),
        ("01890a5d-ac96-774b-bcce-b302099a8057", ".01890a5d-ac96-774b-bcce-b302099a8057"),
        ("a.b", ".a%2Eb"),
        ("*", ".%2A"),
        (">", ".%3E"),
        ("ä b", ".%C3%A4%20b"),
        ("..", ".%2E%2E"),
        ("100%", ".100%25"),
    ],
)
def test_any_key_is_one_token_of_the_subject(key: str, token: str) -> None:
    job = JobBody(service="wallet", name="audit", key=key)
    assert address(JOB_ROOT, job) == f"schedules.job.wallet.audit{token}"
    assert address(DUE_ROOT, job) == f"schedules.due.wallet.audit{token}"


@pytest.mark.parametrize(
    ("schedule", "zone"),
    [
        ("0 30 5 * * *", "Europe/London"),
        ("@daily", "Europe/London"),
        ("@every 5m", None),
        ("@at 2026-12-01T12:00:00Z", None),
    ],
)
def test_a_time_zone_goes_only_with_what_reads_a_calendar(schedule: str, zone: str | None) -> None:
    asked = request(cron="@daily", time_zone="Europe/London")
    assert headers_of(asked, schedule).get("Nats-Schedule-Time-Zone") == zone


def test_stamps_sort_as_time_does() -> None:
    instants = [NOON, NOON + timedelta(microseconds=1), NOON + timedelta(seconds=1)]
    assert sorted(map(stamp, instants)) == [stamp(instant) for instant in instants]


@pytest.mark.parametrize("name", ["a\n", "A", "", "a b", "a.b", "a" * 65])
def test_a_name_that_is_no_token_of_a_subject_does_not_even_decode(name: str) -> None:
    body = msgspec.json.encode({"service": "wallet", "name": name, "cron": "@daily"})
    with pytest.raises(msgspec.ValidationError, match=r"\$\.name"):
        msgspec.json.decode(body, type=JobRequested)
