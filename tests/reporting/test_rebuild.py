"""reporting told its events again: the same numbers, and what was closed stays as it stood."""

import asyncio
from datetime import UTC, datetime

import pytest

from svc.mesh.clock import new_id
from svc.payment import contract as payment
from svc.platform import operate, replay
from svc.platform.errors import PlatformError
from svc.scheduler import contract as scheduler
from tests.support.mesh import Operator, Services
from tests.support.platform import Platform
from tests.support.waiting import until

CURRENCY = "XTT"
"""No other test uses it."""
DEPOSITS = 5


@pytest.fixture(autouse=True)
async def _running(services: Services) -> None:
    await services("localization", "wallet", "reporting")


async def numbers(platform: Platform) -> tuple[dict[str, int], int]:
    """What reporting counted of what the test tells, by type, and its sum of the test's money."""
    async with platform.database("reporting") as connection:
        rows = await connection.fetch(
            """SELECT type, sum(events)::int AS events FROM event_counts
               WHERE type = ANY($1) GROUP BY type""",
            [payment.PAYMENT_SUCCESS.type, scheduler.JOB_DUE.type],
        )
        money = await connection.fetchval(
            "SELECT coalesce(sum(amount), 0) FROM money WHERE currency = $1", CURRENCY
        )
    return {row["type"]: row["events"] for row in rows}, int(money)


async def has_heard_all(operator: Operator) -> bool:
    """Whether nothing that the test tells waits for reporting."""
    for stream in ("PAYMENT", "SCHEDULER"):
        info = await operate.jetstream(operator.connection, f"CONSUMER.INFO.{stream}.reporting")
        if info["num_pending"] or info["num_ack_pending"]:
            return False
    return True


async def test_told_again_it_counts_the_same_and_closes_no_day(
    platform: Platform, operator: Operator
) -> None:
    for _ in range(DEPOSITS):
        await operator.publish(
            payment.PAYMENT_SUCCESS,
            payment.PaymentSuccess(
                payment_id=new_id(), user_id=new_id(), amount=100, currency=CURRENCY,
                method="card", transfer_id=new_id(), first=False,
            ),
            subject=new_id(),
        )  # fmt: skip
    due = scheduler.JobDue(
        service="reporting", name="daily-report", key="", due_at=datetime.now(UTC), payload={}
    )
    await operator.publish(scheduler.JOB_DUE, due, subject="daily-report")
    await until(lambda: has_heard_all(operator))
    before = await numbers(platform)
    assert before[1] % (DEPOSITS * 100) == 0
    assert before[1] > 0
    async with platform.database("reporting") as connection:
        closed = await connection.fetch("SELECT * FROM closed_days")
        await connection.execute("UPDATE event_counts SET events = events + 1000")
        await connection.execute("DELETE FROM money")

    words = ("reporting", "--since", datetime(2026, 1, 1, tzinfo=UTC).isoformat())
    assert await asyncio.to_thread(replay.replay, words, platform.installation) == 0

    async def as_before() -> bool:
        return await numbers(platform) == before

    await until(as_before)
    await until(lambda: has_heard_all(operator))
    assert await numbers(platform) == before
    async with platform.database("reporting") as connection:
        assert await connection.fetch("SELECT * FROM closed_days") == closed


async def test_an_instant_that_is_none_is_refused_in_a_sentence(platform: Platform) -> None:
    with pytest.raises(PlatformError, match="is no instant"):
        replay.replay(("reporting", "--since", "yesterday"), platform.installation)
