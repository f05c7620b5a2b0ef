"""scheduler on a real broker: jobs come due, once or again, and stop when nobody wants them."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from nats.aio.client import Client

from svc import catalogue
from svc.mesh.clock import new_id
from svc.mesh.envelope import CloudEvent
from svc.mesh.errors import Forbidden, Invalid
from svc.mesh.runtime import Runtime
from svc.mesh.settings import Settings
from svc.scheduler import contract as scheduler
from svc.scheduler.contract import Job, JobCancelled, JobDue, JobRequested, Jobs, JobsOf
from svc.scheduler.schedules import Schedules
from svc.scheduler.service import cancel_job
from tests.support.mesh import Operator, Services
from tests.support.platform import Platform
from tests.support.waiting import until

# Asked for in the name of a service that passes over jobs whose name it does not know.
OWNER = "identity"


@pytest.fixture(autouse=True)
async def running(services: Services) -> None:
    await services("scheduler")


def fresh_name() -> str:
    return f"test-{new_id()}"


def job(
    name: str,
    *,
    cron: str | None = None,
    at: datetime | None = None,
    key: str = "",
    payload: dict[str, str] | None = None,
) -> JobRequested:
    return JobRequested(service=OWNER, name=name, key=key, cron=cron, at=at, payload=payload or {})


async def ask(operator: Operator, request: JobRequested, event_id: str | None = None) -> str:
    return await operator.publish(
        scheduler.JOB_REQUESTED,
        request,
        subject=f"{request.service}.{request.name}",
        publisher=request.service,
        event_id=event_id,
    )


async def give_up(services: Services, name: str, key: str = "") -> None:
    """Hand a cancellation to the running scheduler, as it would hear it.

    Directly, because the broker lets nobody publish one until a service declares that it does.
    """
    event = CloudEvent(
        id=new_id(),
        source="/" + OWNER,
        type=scheduler.JOB_CANCELLED.type,
        subject=f"{OWNER}.{name}",
        time=datetime.now(UTC),
        data=JobCancelled(service=OWNER, name=name, key=key),
    )
    await cancel_job(event, services.running["scheduler"].runtimes[0].context())


async def due(operator: Operator, name: str, count: int = 1) -> list[CloudEvent[JobDue]]:
    return await operator.all_heard(scheduler.JOB_DUE, lambda data: data.name == name, count=count)


async def listed(operator: Operator, name: str) -> list[Job]:
    """All listed jobs of a name, over as many pages as there are."""
    found: list[Job] = []
    cursor = None
    while True:
        page = await operator.call(scheduler.JOBS, JobsOf(limit=3, cursor=cursor))
        found += [item for item in page.items if item.name == name]
        cursor = page.next_cursor
        if cursor is None:
            return found


async def listed_soon(operator: Operator, name: str, count: int = 1) -> list[Job]:
    """The listed jobs of a name once there are so many."""
    found: list[Job] = []

    async def so_many() -> bool:
        found[:] = await listed(operator, name)
        return len(found) == count

    await until(so_many, f"{count} jobs {name}")
    return found


async def listed_as(operator: Operator, name: str, schedule: str) -> None:
    """Wait until the one job of a name has this schedule."""

    async def so() -> bool:
        return [item.schedule for item in await listed(operator, name)] == [schedule]

    await until(so, f"{name} comes {schedule}")


async def parked(connection: Client, event_id: str) -> str:
    """Wait for an event among the dead letters and return the cause."""
    subscription = await connection.jetstream().subscribe("dead.scheduler.>", ordered_consumer=True)
    try:
        async with asyncio.timeout(10):
            while True:
                message = await subscription.next_msg(timeout=10)
                if event_id.encode() in message.data:
                    return (message.headers or {})["Dead-Cause"]
    finally:
        await subscription.unsubscribe()


async def test_a_job_that_comes_every_second_comes_again_as_another_event(
    operator: Operator,
    services: Services,
) -> None:
    name = fresh_name()
    await ask(operator, job(name, cron="@every 1s", payload={"of": "day"}))
    events = await due(operator, name, count=3)
    await give_up(services, name)
    assert len({event.id for event in events}) == 3
    assert [event.data.payload for event in events] == [{"of": "day"}] * 3
    assert {event.publisher for event in events} == {"scheduler"}
    times = [event.data.due_at for event in events]
    assert times[2] - times[0] >= timedelta(seconds=1.5)


async def test_a_cron_of_six_fields_comes_due(operator: Operator, services: Services) -> None:
    name = fresh_name()
    await ask(operator, job(name, cron="* * * * * *"))
    assert len(await due(operator, name, count=2)) == 2
    await give_up(services, name)


async def test_a_job_at_an_instant_comes_due_then_and_once(operator: Operator) -> None:
    name = fresh_name()
    at = datetime.now(UTC) + timedelta(seconds=2)
    await ask(operator, job(name, at=at, key="bet:1.2", payload={"bet_id": "1"}))
    assert [item.key for item in await listed_soon(operator, name)] == ["bet:1.2"]
    event = (await due(operator, name))[0]
    assert (event.data.key, event.data.payload) == ("bet:1.2", {"bet_id": "1"})
    assert timedelta(seconds=-1) < event.data.due_at - at < timedelta(seconds=3)
    await listed_soon(operator, name, count=0)


async def test_an_instant_that_has_passed_comes_due_at_once(operator: Operator) -> None:
    name = fresh_name()
    await ask(operator, job(name, at=datetime.now(UTC) - timedelta(days=1)))
    event = (await due(operator, name))[0]
    assert event.time - event.data.due_at < timedelta(seconds=5)


async def test_a_cancelled_job_does_not_come_due(operator: Operator, services: Services) -> None:
    name, witness = fresh_name(), fresh_name()
    await ask(operator, job(name, at=datetime.now(UTC) + timedelta(seconds=2)))
    await listed_soon(operator, name)
    await give_up(services, name)
    await listed_soon(operator, name, count=0)
    # A job for a later second has come due: the cancelled one would have come before it.
    await ask(operator, job(witness, at=datetime.now(UTC) + timedelta(seconds=3)))
    await due(operator, witness)
    assert await operator.all_heard(scheduler.JOB_DUE, lambda data: data.name == name) == []


async def test_cancelling_what_was_never_asked_for_changes_nothing(
    operator: Operator, services: Services
) -> None:
    name = fresh_name()
    await give_up(services, name)
    assert await listed(operator, name) == []


async def test_asking_again_with_other_words_replaces_the_schedule(
    operator: Operator, services: Services
) -> None:
    name = fresh_name()
    await ask(operator, job(name, cron="0 0 3 * * *"))
    await listed_as(operator, name, "0 0 3 * * * UTC")
    await ask(operator, job(name, cron="0 0 4 * * *"))
    await listed_as(operator, name, "0 0 4 * * * UTC")
    await give_up(services, name)


async def test_keys_tell_jobs_of_one_name_apart(operator: Operator, services: Services) -> None:
    name = fresh_name()
    later = datetime.now(UTC) + timedelta(days=1)
    for key in ("a", "b.c", "*"):
        await ask(operator, job(name, at=later, key=key))
    found = await listed_soon(operator, name, count=3)
    assert sorted(item.key for item in found) == ["*", "a", "b.c"]
    for key in ("a", "b.c", "*"):
        await give_up(services, name, key)
    await listed_soon(operator, name, count=0)


async def test_a_request_delivered_twice_is_one_job(operator: Operator) -> None:
    name, event_id = fresh_name(), new_id()
    request = job(name, at=datetime.now(UTC) - timedelta(seconds=1))
    async with operator.platform.nats("scheduler") as connection:
        schedules = Schedules(connection, connection.jetstream())
        asked_at = datetime.now(UTC)
        assert await schedules.put(request, event_id, asked_at)
        await due(operator, name)
        await schedules.put(request, event_id, asked_at)
        await listed_soon(operator, name, count=0)
        witness = fresh_name()
        await ask(operator, job(witness, at=datetime.now(UTC)))
        await due(operator, witness)
    said = await operator.all_heard(scheduler.JOB_DUE, lambda data: data.name == name)
    assert len(said) == 1


async def test_the_same_words_again_keep_the_beat(operator: Operator, services: Services) -> None:
    name = fresh_name()
    request = job(name, cron="@every 1h")
    async with operator.platform.nats("scheduler") as connection:
        schedules = Schedules(connection, connection.jetstream())
        assert await schedules.put(request, new_id(), datetime.now(UTC))
        assert not await schedules.put(request, new_id(), datetime.now(UTC))
    await give_up(services, name)


async def test_the_newest_word_wins_in_whatever_order_the_words_come(
    operator: Operator, services: Services
) -> None:
    name = fresh_name()
    now = datetime.now(UTC)
    older, newer = now - timedelta(seconds=2), now
    request = job(name, cron="0 0 3 * * *")
    cancel = JobCancelled(service=OWNER, name=name)
    async with operator.platform.nats("scheduler") as connection:
        schedules = Schedules(connection, connection.jetstream())
        await schedules.cancel(cancel, new_id(), newer)
        assert not await schedules.put(request, new_id(), older)
        assert await listed(operator, name) == []
        assert await schedules.put(request, new_id(), newer + timedelta(seconds=1))
        await schedules.cancel(cancel, new_id(), newer)
        assert len(await listed(operator, name)) == 1
    await give_up(services, name)


@pytest.mark.parametrize(
    "cron",
    [
        "* * * * *",
        "tomorrow",
        "0 0 0 30 2 *",
        "@every 0s",
        "@every 10ms",
        "61 * * * * *",
        "",
        "ä\x01",
    ],
)
async def test_a_schedule_that_the_broker_refuses_is_parked_with_the_reason(
    operator: Operator, platform: Platform, cron: str
) -> None:
    name = fresh_name()
    event_id = await ask(operator, job(name, cron=cron))
    async with platform.nats("operator") as connection:
        cause = await parked(connection, event_id)
    assert cause.startswith("Invalid: ")
    assert "$.cron" in cause
    assert await listed(operator, name) == []


async def test_an_unknown_time_zone_is_parked_with_the_reason(
    operator: Operator, platform: Platform
) -> None:
    request = JobRequested(
        service=OWNER, name=fresh_name(), cron="0 0 3 * * *", time_zone="Mars/Olympus"
    )
    event_id = await ask(operator, request)
    async with platform.nats("operator") as connection:
        assert "Mars/Olympus" in await parked(connection, event_id)


async def test_what_comes_due_while_no_scheduler_runs_is_told_afterwards(
    operator: Operator, services: Services, platform: Platform
) -> None:
    name = fresh_name()
    await ask(operator, job(name, at=datetime.now(UTC) + timedelta(seconds=2)))
    await listed_soon(operator, name)
    await services.stop("scheduler")
    async with platform.nats("deploy") as connection:
        manager = connection.jsm()

        async def waits() -> bool:
            return bool((await manager.consumer_info("SCHEDULES", "scheduler")).num_pending)

        await until(waits, "what came due waits for a scheduler")
    assert await operator.all_heard(scheduler.JOB_DUE, lambda data: data.name == name) == []
    await services("scheduler")
    assert len(await due(operator, name)) == 1


async def test_a_beat_goes_on_over_a_restart_of_the_scheduler(
    operator: Operator, services: Services
) -> None:
    name = fresh_name()
    await ask(operator, job(name, cron="@every 1s"))
    before = len(await due(operator, name))
    await services.stop("scheduler")
    await services("scheduler")
    events = await due(operator, name, count=before + 2)
    await give_up(services, name)
    assert len({event.id for event in events}) == before + 2


async def test_two_schedulers_tell_each_firing_once(
    operator: Operator, services: Services, platform: Platform
) -> None:
    second = Runtime(catalogue.service("scheduler"), Settings(platform.settings))
    await second.start()
    name = fresh_name()
    try:
        await ask(operator, job(name, cron="@every 1s"))
        events = await due(operator, name, count=3)
        await give_up(services, name)
    finally:
        await second.stop()
    assert len({event.data.due_at for event in events}) == 3


@pytest.mark.parametrize("cursor", ["-1", "x", "1.5"])
async def test_a_cursor_that_is_none_of_ours_is_refused(operator: Operator, cursor: str) -> None:
    with pytest.raises(Invalid, match=r"\$\.cursor"):
        await operator.call(scheduler.JOBS, JobsOf(cursor=cursor))


async def test_only_staff_sees_the_jobs(services: Services, platform: Platform) -> None:
    await services("identity")
    async with platform.nats("gateway") as connection:
        gateway = Operator(platform, connection)
        gateway.caller.inbox = gateway.caller.inbox.replace("operator", "gateway")
        await gateway.caller.start()
        with pytest.raises(Forbidden):
            await gateway.call(scheduler.JOBS, JobsOf())
        async with platform.database("identity") as database:
            admin = await database.fetchval("SELECT user_id FROM users WHERE 'admin' = ANY (roles)")

        async def shown() -> Jobs | None:
            page = await gateway.call(scheduler.JOBS, JobsOf(actor_id=str(admin)))
            return page if any(item.name == "purge-sessions" for item in page.items) else None

        page = await until(shown, "identity has asked for its own job at its start")
    assert page.next_cursor is None
