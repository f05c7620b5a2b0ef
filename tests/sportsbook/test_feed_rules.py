"""When producers are up and what may be asked of them, by the minute and without waiting for it."""

from datetime import UTC, datetime, timedelta

import pytest

from svc.sportsbook.feed_rules import (
    Asked,
    Producer,
    after_alive,
    counts,
    is_up,
    may_recover,
    recovery_start,
)
from svc.sportsbook.uof_messages import Alive

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def ago(**span: float) -> datetime:
    return NOW - timedelta(**span)


def alive(at: datetime = NOW, *, subscribed: bool = True) -> Alive:
    return Alive(product=1, timestamp=ms(at), subscribed=subscribed)


def known(heard: datetime, *, up: bool = True, processed: datetime | None = None) -> Producer:
    return Producer(
        producer=1,
        alive_ms=ms(heard),
        subscribed=True,
        heard_at=heard,
        up=up,
        processed_ms=0 if processed is None else ms(processed),
        recovery_id=7,
    )


@pytest.mark.parametrize(
    ("before", "message", "up"),
    [
        pytest.param(None, alive(), True, id="the first ever"),
        pytest.param(None, alive(subscribed=False), False, id="the first, without subscription"),
        pytest.param(known(ago(seconds=10)), alive(), True, id="in time"),
        pytest.param(known(ago(seconds=20)), alive(), True, id="just in time"),
        pytest.param(known(ago(seconds=21)), alive(), False, id="after a silence"),
        pytest.param(known(ago(seconds=5), up=False), alive(), False, id="down stays down"),
        pytest.param(known(ago(seconds=5)), alive(subscribed=False), False, id="subscription lost"),
    ],
)
def test_a_heartbeat_keeps_up_who_missed_nothing(
    before: Producer | None, message: Alive, *, up: bool
) -> None:
    found = after_alive(message, before, NOW)
    assert (found.up, found.heard_at, is_up(found, NOW)) == (up, NOW, up)
    if up:
        assert found.processed_ms == message.timestamp
    elif before is not None:
        assert found.processed_ms == before.processed_ms


def test_silence_of_more_than_twenty_seconds_is_being_down() -> None:
    assert is_up(known(ago(seconds=20)), NOW)
    assert not is_up(known(ago(seconds=20, milliseconds=1)), NOW)


def test_a_recovery_is_given_up_when_the_subscription_is_lost_once_more() -> None:
    down = known(ago(seconds=5), up=False)
    assert after_alive(alive(), down, NOW).recovery_id == 7
    assert after_alive(alive(subscribed=False), down, NOW).recovery_id is None


@pytest.mark.parametrize(
    ("at", "says"),
    [(NOW, True), (ago(seconds=20), True), (ago(seconds=21), False), (ago(seconds=-20), True),
     (ago(seconds=-21), False)],
)  # fmt: skip
def test_a_heartbeat_that_is_late_or_early_says_nothing_of_now(at: datetime, *, says: bool) -> None:
    assert counts(alive(at), None, NOW) is says


def test_a_heartbeat_older_than_the_last_one_says_nothing() -> None:
    assert not counts(alive(ago(seconds=11)), known(ago(seconds=10)), NOW)
    assert counts(alive(ago(seconds=10)), known(ago(seconds=10)), NOW)


@pytest.mark.parametrize(
    ("producer", "processed", "start"),
    [
        (1, None, None),
        (1, ago(hours=9), ago(hours=9)),
        (1, ago(hours=10), None),
        (3, ago(hours=71), ago(hours=71)),
        (3, ago(hours=72), None),
        (6, ago(hours=2), ago(hours=2)),
        (6, ago(hours=3), None),
        (1, ago(hours=-1), None),
    ],
)
def test_a_recovery_begins_where_nothing_was_missed_or_asks_for_everything(
    producer: int, processed: datetime | None, start: datetime | None
) -> None:
    down = Producer(
        producer=producer,
        alive_ms=0,
        subscribed=True,
        heard_at=NOW,
        up=False,
        processed_ms=0 if processed is None else ms(processed),
    )
    assert recovery_start(down, NOW) == start


@pytest.mark.parametrize(
    ("age", "times", "every", "allowed"),
    [
        pytest.param(timedelta(minutes=5), 19, 20, True, id="recent: 20 in ten minutes"),
        pytest.param(timedelta(minutes=5), 20, 20, False, id="recent: not a 21st"),
        pytest.param(timedelta(minutes=5), 59, 50, True, id="recent: 60 in an hour"),
        pytest.param(timedelta(minutes=5), 60, 50, False, id="recent: not a 61st"),
        pytest.param(timedelta(hours=2), 3, 60, True, id="a day: 4 in ten minutes"),
        pytest.param(timedelta(hours=2), 4, 60, False, id="a day: not a 5th"),
        pytest.param(timedelta(hours=2), 9, 300, True, id="a day: 10 in an hour"),
        pytest.param(timedelta(hours=2), 10, 300, False, id="a day: not an 11th"),
        pytest.param(None, 1, 60, True, id="everything: 2 in half an hour"),
        pytest.param(None, 2, 60, False, id="everything: not a 3rd"),
        pytest.param(timedelta(days=2), 3, 1_700, True, id="older: 4 in two hours"),
        pytest.param(timedelta(days=2), 4, 1_700, False, id="older: not a 5th"),
    ],
)
def test_recoveries_keep_within_the_providers_limits(
    age: timedelta | None, times: int, every: int, *, allowed: bool
) -> None:
    asked_at = [NOW - timedelta(seconds=every * number) for number in range(1, times + 1)]
    before = [Asked(at, None if age is None else at - age) for at in asked_at]
    assert may_recover(before, NOW, None if age is None else NOW - age) is allowed


def test_recoveries_of_another_age_are_not_counted() -> None:
    before = [Asked(ago(seconds=number), None) for number in range(10)]
    assert may_recover(before, NOW, ago(minutes=5))
