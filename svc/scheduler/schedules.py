"""The server's own message schedules: the stream that keeps them, and how the scheduler uses it.

A schedule is the last message of its subject `schedules.job.<service>.<name>[.<key>]`; when its
time comes the server itself stores a copy at `schedules.due.…` (NATS ADR-51). A job that was given
up leaves a marker in the same place, so that an older request that comes late changes nothing.
"""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

import msgspec
from msgspec import Struct, field
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import Header
from nats.js.errors import BadRequestError, NotFoundError

from svc.mesh.clock import in_utc
from svc.mesh.errors import Invalid, Unavailable
from svc.scheduler.contract import JOB_USERS, JobCancelled, JobRequested

if TYPE_CHECKING:
    from nats.js.api import RawStreamMsg

SECOND_NS = 1_000_000_000
NAME = "SCHEDULES"
JOB_ROOT = "schedules.job"
DUE_ROOT = "schedules.due"
DUE_TTL = "168h"
"""How long a job that came due waits for a scheduler that is down."""
CANCELLED_TTL_S = 86_400
"""How long a given-up job is remembered: longer than any event is delivered again."""
ASKED = "Betmesh-Asked"
ZONE = re.compile(r"[A-Za-z0-9_+/-]+")
"""What may stand in a header; whether the zone exists is the server's to judge."""
WRONG_LAST_SEQUENCE = 10071
ANSWER_S = 2.0

STREAM: dict[str, Any] = {
    "name": NAME,
    "description": "Message schedules of the scheduler, and the jobs that came due",
    "subjects": [f"{JOB_ROOT}.>", f"{DUE_ROOT}.>"],
    "storage": "file",
    # Limits, never work queue: there the acknowledgement of a schedule would delete it.
    "retention": "limits",
    # One schedule per job; runs that nobody fetched collapse into the newest.
    "max_msgs_per_subject": 1,
    "discard": "old",
    "num_replicas": 1,
    "duplicate_window": 3_600 * SECOND_NS,
    "allow_direct": True,
    "allow_msg_ttl": True,
    "allow_msg_schedules": True,
}
"""The stream, in the server's own form."""

CONSUMER: dict[str, Any] = {
    "stream_name": NAME,
    "config": {
        "durable_name": "scheduler",
        "name": "scheduler",
        "description": "Jobs that came due, to be told as JobDueEvent",
        "filter_subject": f"{DUE_ROOT}.>",
        "ack_policy": "explicit",
        "ack_wait": 30 * SECOND_NS,
        "max_deliver": -1,
    },
}
"""The durable consumer of what came due, in the server's own form."""

PUBLISHES = (
    f"{JOB_ROOT}.>",
    f"$JS.API.CONSUMER.MSG.NEXT.{NAME}.scheduler",
    f"$JS.ACK.{NAME}.scheduler.>",
    f"$JS.API.DIRECT.GET.{NAME}",
    f"$JS.API.DIRECT.GET.{NAME}.{JOB_ROOT}.>",
)
"""Subjects that the scheduler publishes to besides what its contract implies."""

SUBSCRIBES: tuple[str, ...] = ()
"""Subjects that it subscribes to besides what its contract implies: answers come to its inbox."""


class JobBody(Struct, frozen=True, kw_only=True):
    """The body of a schedule, and so of each message that it fires."""

    service: str
    name: str
    key: str = ""
    payload: dict[str, str] = field(default_factory=dict[str, str])


class Scheduled(Struct, frozen=True, kw_only=True):
    """A schedule as the stream keeps it, with its place there."""

    job: JobBody
    schedule: str
    time_zone: str
    sequence: int


def address(root: str, job: JobRequested | JobCancelled | JobBody) -> str:
    """Return the subject of a job under a root; any key is quoted into one token."""
    subject = f"{root}.{job.service}.{job.name}"
    if not job.key:
        return subject
    # A dot would start a new token; quote() leaves it, wildcards and spaces it does quote.
    return f"{subject}.{quote(job.key, safe='').replace('.', '%2E')}"


def schedule_of(request: JobRequested) -> str:
    """Return the server's schedule expression of a request.

    Raises Invalid in the words of the field that is wrong; the cron fields are the server's to
    judge.
    """
    if request.service not in JOB_USERS:
        raise Invalid(f"no service {request.service!r} asks for jobs - at `$.service`")
    if not ZONE.fullmatch(request.time_zone):
        raise Invalid(f"no such time zone: {request.time_zone!r} - at `$.time_zone`")
    if (request.cron is None) == (request.at is None):
        raise Invalid("one of cron and at is needed, not both - at `$.cron`")
    if request.at is not None:
        if request.at.tzinfo is None:
            raise Invalid("the instant needs an offset, such as Z - at `$.at`")
        return "@at " + in_utc(request.at, "at").isoformat().replace("+00:00", "Z")
    cron = " ".join((request.cron or "").split())
    if not cron:
        # Without an expression the message would be no schedule, and the broker would take it.
        raise Invalid("a cron of six fields is needed - at `$.cron`")
    if cron.startswith("@at"):
        raise Invalid("an instant belongs into the field at - at `$.cron`")
    return cron


def headers_of(request: JobRequested, schedule: str) -> dict[str, str]:
    """Return the headers that make a message a schedule."""
    headers = {
        str(Header.SCHEDULE.value): schedule,
        str(Header.SCHEDULE_TARGET.value): address(DUE_ROOT, request),
        str(Header.SCHEDULE_TTL.value): DUE_TTL,
    }
    # The server takes a time zone only where a calendar is read, not with @every and @at.
    if not re.match(r"@(every|at)\b", schedule):
        headers[str(Header.SCHEDULE_TIME_ZONE.value)] = request.time_zone
    return headers


class Schedules:
    """The schedules on the server, through one connection."""

    def __init__(self, connection: Client, jetstream: JetStreamContext) -> None:
        """Keep the connection; the stream is made by deployment."""
        self.connection = connection
        self.jetstream = jetstream

    async def put(self, request: JobRequested, event_id: str, asked_at: datetime) -> bool:
        """Schedule a job or replace its schedule; return whether anything changed.

        The same words again change nothing (so `@every` keeps its beat over restarts), nor does
        a request older than what is there. Raises Invalid when the server refuses the schedule,
        Unavailable when it does not answer or somebody else was faster.
        """
        schedule = schedule_of(request)
        headers = headers_of(request, schedule)
        body = msgspec.json.encode(
            JobBody(
                service=request.service,
                name=request.name,
                key=request.key,
                payload=request.payload,
            )
        )
        subject = address(JOB_ROOT, request)
        last = await self._last(subject)
        if last is not None:
            kept = _headers(last)
            same = all(kept.get(name) == value for name, value in headers.items())
            if (same and last.data == body) or kept.get(ASKED, "") > stamp(asked_at):
                return False
        headers |= {ASKED: stamp(asked_at), str(Header.MSG_ID.value): event_id}
        await self._write(subject, body, headers, last)
        return True

    async def cancel(self, request: JobCancelled, event_id: str, asked_at: datetime) -> None:
        """Give a job up, now and for any older request that comes late; raises Unavailable."""
        subject = address(JOB_ROOT, request)
        last = await self._last(subject)
        if last is not None and _headers(last).get(ASKED, "") > stamp(asked_at):
            return
        headers = {ASKED: stamp(asked_at), str(Header.MSG_ID.value): event_id}
        await self._write(subject, b"", headers, last, ttl_s=CANCELLED_TTL_S)

    async def listed(self, after: int, limit: int) -> AsyncIterator[Scheduled]:
        """Yield at most `limit` schedules in stream order, from behind a sequence on.

        Raises Unavailable when the server does not answer.
        """
        found = 0
        while found < limit:
            page = await self._page(after, limit)
            for message in page:
                headers = message.headers or {}
                after = int(headers["Nats-Sequence"])
                if Header.SCHEDULE.value not in headers:
                    continue
                yield Scheduled(
                    job=msgspec.json.decode(message.data, type=JobBody),
                    schedule=headers[Header.SCHEDULE.value],
                    time_zone=headers.get(Header.SCHEDULE_TIME_ZONE.value, ""),
                    sequence=after,
                )
                found += 1
                if found == limit:
                    return
            if len(page) < limit:
                return

    async def _page(self, after: int, limit: int) -> list[Msg]:
        """Return the next messages of `schedules.job.>` behind a sequence, by one batch request."""
        inbox = self.connection.new_inbox()
        subscription = await self.connection.subscribe(inbox)
        ask = {"seq": after + 1, "next_by_subj": f"{JOB_ROOT}.>", "batch": limit}
        messages: list[Msg] = []
        try:
            await self.connection.publish(
                f"$JS.API.DIRECT.GET.{NAME}", msgspec.json.encode(ask), reply=inbox
            )
            while True:
                message = await subscription.next_msg(ANSWER_S)
                if "Nats-Sequence" not in (message.headers or {}):
                    return messages  # 204 ends a batch, 404 says that there is nothing
                messages.append(message)
        except NatsError as failure:
            raise Unavailable("the broker did not list the schedules") from failure
        finally:
            await subscription.unsubscribe()

    async def _last(self, subject: str) -> "RawStreamMsg | None":
        try:
            return await self.jetstream.get_last_msg(NAME, subject, direct=True)
        except NotFoundError:
            return None
        except (NatsError, TimeoutError) as failure:
            raise Unavailable("the broker did not answer for a schedule") from failure

    async def _write(
        self,
        subject: str,
        body: bytes,
        headers: dict[str, str],
        last: "RawStreamMsg | None",
        ttl_s: float | None = None,
    ) -> None:
        expected = str(last.seq) if last is not None else "0"
        headers = {**headers, str(Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value): expected}
        try:
            await self.jetstream.publish(
                subject, body, timeout=ANSWER_S, headers=headers, msg_ttl=ttl_s
            )
        except BadRequestError as failure:
            if failure.err_code == WRONG_LAST_SEQUENCE:
                raise Unavailable("the schedule changed meanwhile") from failure
            raise Invalid(
                f"the broker refuses the schedule {headers.get(Header.SCHEDULE.value)!r} in time "
                f"zone {headers.get(Header.SCHEDULE_TIME_ZONE.value, 'UTC')!r}: "
                f"{failure.description} - at `$.cron`"
            ) from failure
        except (NatsError, TimeoutError) as failure:
            raise Unavailable("the broker did not confirm a schedule") from failure


def _headers(message: "RawStreamMsg") -> dict[str, str]:
    return cast("dict[str, str]", message.headers or {})


def stamp(instant: datetime) -> str:
    """Return an instant as UTC text whose order is that of time."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
