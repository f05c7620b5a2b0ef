"""scheduler, as the mesh runs it: what it hears and calls, then one handler for each.

It keeps no time and no state of its own: the broker fires, this service tells the others.
"""

import asyncio
import uuid

import msgspec
from nats.errors import Error as NatsError

from svc.identity import contract as identity
from svc.mesh.context import Context
from svc.mesh.delivery import Arrival
from svc.mesh.envelope import CloudEvent
from svc.mesh.errors import Invalid, Unavailable
from svc.mesh.pulling import Source
from svc.mesh.service import Extras, Hear, Service
from svc.scheduler.contract import (
    JOB_CANCELLED,
    JOB_DUE,
    JOB_REQUESTED,
    JOBS,
    SCHEDULER,
    Job,
    JobCancelled,
    JobDue,
    JobRequested,
    Jobs,
    JobsOf,
)
from svc.scheduler.schedules import (
    CONSUMER,
    NAME,
    PUBLISHES,
    STREAM,
    SUBSCRIBES,
    JobBody,
    Schedules,
)

BATCH = 50
RETRY_S = 1.0
DUE_IDS = uuid.UUID("0d1c8a52-6f3e-5b7a-9c40-7a1f5d2e9b63")
"""Names the ids of due events: the same firing always becomes the same event."""

scheduler = Service(
    SCHEDULER,
    hears=(
        Hear(JOB_REQUESTED, "put or replace its schedule"),
        Hear(JOB_CANCELLED, "take its schedule away"),
    ),
    calls=(identity.AUTHORIZE,),
    localizes=("scheduler",),
    extras=Extras(
        streams=(STREAM,), consumers=(CONSUMER,), publishes=PUBLISHES, subscribes=SUBSCRIBES
    ),
)

relays: dict[int, asyncio.Task[None]] = {}
"""The task of each running instance in this process that tells what came due."""


@scheduler.answers(JOBS)
async def jobs(request: JobsOf, context: Context) -> Jobs:
    """List a page of what is scheduled, in the order in which it was asked for."""
    await identity.require_permission(context, request.actor_id, "scheduler.jobs")
    after = _sequence(request.cursor)
    items: list[Job] = []
    last = 0
    async for found in schedules(context).listed(after, request.limit):
        job = found.job
        title = await context.localizer.text(
            request.locale, "scheduler", f"job.{job.service}.{job.name}"
        )
        schedule = f"{found.schedule} {found.time_zone}".strip()
        items.append(
            Job(service=job.service, name=job.name, key=job.key, schedule=schedule, title=title)
        )
        last = found.sequence
    return Jobs(items=items, next_cursor=str(last) if len(items) == request.limit else None)


@scheduler.observes(JOB_REQUESTED)
async def schedule_job(event: CloudEvent[JobRequested], context: Context) -> None:
    """Give the request to the broker; Invalid (a bad cron) parks the event with the reason."""
    changed = await schedules(context).put(event.data, event.id, event.time)
    context.log.info("job requested", job=event.subject, changed=changed)


@scheduler.observes(JOB_CANCELLED)
async def cancel_job(event: CloudEvent[JobCancelled], context: Context) -> None:
    """Take the schedule away; a job that is not there stays away."""
    await schedules(context).cancel(event.data, event.id, event.time)
    context.log.info("job cancelled", job=event.subject)


@scheduler.on_start
async def start_telling(context: Context) -> None:
    """Begin to tell what came due, first of all what came due while no scheduler ran."""
    relays[id(context.runtime)] = asyncio.create_task(_tell(context))


@scheduler.on_stop
async def stop_telling(context: Context) -> None:
    """Stop; what was fetched and not acknowledged comes again, and is then the same event."""
    task = relays.pop(id(context.runtime), None)
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def schedules(context: Context) -> Schedules:
    """Return the schedules of the broker that this service is connected to."""
    return Schedules(context.runtime.connection, context.runtime.jetstream)


def _sequence(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not cursor.isdecimal():
        raise Invalid("not a cursor of this list - at `$.cursor`")
    return int(cursor)


async def _tell(context: Context) -> None:
    """Publish what the broker fired as it comes due, until cancelled."""
    durable = CONSUMER["config"]["durable_name"]
    async with Source(context.runtime, NAME, durable, BATCH) as source:
        while True:
            for arrival, body in await source.take():
                await _tell_one(arrival, body, context)


async def _tell_one(arrival: Arrival, body: bytes, context: Context) -> None:
    """Tell one firing; whatever fails is its failure, and the others come due all the same."""
    try:
        await _publish(arrival, body, context)
    except (NatsError, Unavailable) as failure:
        context.log.warning("could not tell what came due", cause=str(failure))
        arrival.give_back(RETRY_S)
    except Exception:
        context.log.exception("could not tell what came due")
        arrival.give_back(RETRY_S)


async def _publish(arrival: Arrival, body: bytes, context: Context) -> None:
    try:
        job = msgspec.json.decode(body, type=JobBody)
    except msgspec.DecodeError as failure:
        context.log.error("not a job", subject=arrival.subject, cause=str(failure))  # noqa: TRY400 -- no traceback helps
        arrival.ended(parked=True)
        return
    due_at = arrival.stored_at
    firing = f"{NAME}:{arrival.sequence}:{due_at.isoformat()}"
    await context.spawn().publish(
        JOB_DUE,
        JobDue(
            service=job.service,
            name=job.name,
            key=job.key,
            due_at=due_at,
            payload=job.payload,
        ),
        subject=f"{job.service}.{job.name}",
        event_id=str(uuid.uuid5(DUE_IDS, firing)),
    )
    arrival.ended()
