"""scheduler: jobs that come due, once or by cron, kept by the server's own message schedules.

The one module of this service that others may import.
"""

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct, field

from svc.mesh.contract import Call, Contract, Event, Route
from svc.mesh.errors import Forbidden, NotFound
from svc.mesh.types import EventData, Id, Limit, LocaleTag, Reply, Request

JOB_USERS = (
    "identity", "sportsbook", "payment", "wallet", "marketing", "casino", "gaming",
    "notification", "reporting",
)  # fmt: skip
"""The services that ask for jobs: the diagram's "All Services" with an event edge."""

# `$` also matches before a last newline, which would end a line of the broker's protocol.
JobName = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,63}$(?!\n)", description="kebab-case")]
JobKey = Annotated[str, Meta(max_length=255, description="Tells jobs of one name apart")]


class JobRequested(EventData, frozen=True, kw_only=True):
    """A service asks for a job: `cron` (six fields, seconds first) or `at`, one of the two.

    `service` and `name` (with `key` for many one-off jobs of a name) identify it: asking again
    replaces it, so a service asks at every start.
    """

    service: str
    name: JobName
    key: JobKey = ""
    cron: str | None = None
    at: datetime | None = None
    time_zone: str = "UTC"
    payload: dict[str, str] = field(default_factory=dict[str, str])


class JobCancelled(EventData, frozen=True, kw_only=True):
    """A service no longer wants a job."""

    service: str
    name: JobName
    key: JobKey = ""


class JobDue(EventData, frozen=True, kw_only=True):
    """A job's time has come; the service that asked for it does the work."""

    service: str
    name: JobName
    key: str
    due_at: datetime
    payload: dict[str, str]


class JobsOf(Request, frozen=True, kw_only=True):
    """A page of the scheduled jobs, with titles in a language."""

    actor_id: Id | None = None
    locale: LocaleTag = "en"
    limit: Limit = 200
    cursor: Annotated[str, Meta(max_length=20)] | None = None


class Job(Struct, frozen=True, kw_only=True):
    """One scheduled job: `schedule` is the cron expression and its time zone, `@every` or `@at`."""

    service: str
    name: str
    key: str
    schedule: str
    title: str


class Jobs(Reply, frozen=True, kw_only=True):
    """Scheduled jobs, in the order in which they were asked for."""

    items: list[Job]
    next_cursor: str | None = None


JOB_REQUESTED = Event(
    "JobRequestedEvent", "scheduler", JobRequested, "A service asks for a job.", JOB_USERS
)
JOB_CANCELLED = Event(
    "JobCancelledEvent", "scheduler", JobCancelled, "A service gives a job up.", JOB_USERS
)
JOB_DUE = Event("JobDueEvent", "scheduler", JobDue, "A job's time has come.")

JOBS = Call(
    "rpc.scheduler.v1.jobs", JobsOf, Jobs, "List what is scheduled.",
    refuses=(Forbidden, NotFound), idempotent=True,
    route=Route(
        method="GET", path="/v1/admin/scheduler/jobs", role="operator", tag="admin",
        from_token=("actor_id",),
    ),
)  # fmt: skip

SCHEDULER = Contract(
    name="scheduler",
    version="1.0.0",
    purpose="Cron and one-off jobs on JetStream message schedules.",
    answers=(JOBS,),
    publishes=(JOB_DUE,),
    accepts=(JOB_REQUESTED, JOB_CANCELLED),
)
