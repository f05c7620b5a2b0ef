"""What the operator's commands share: a connection as the operator, and calls without a mesh."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, TypeVar

import msgspec
import nats.errors
from nats.aio.client import Client

from svc.mesh.contract import Call
from svc.platform import streams
from svc.platform.errors import PlatformError
from svc.platform.installation import Installation

RequestT = TypeVar("RequestT", bound=msgspec.Struct)
ReplyT = TypeVar("ReplyT", bound=msgspec.Struct)

API_S = 5


class RefusedError(PlatformError):
    """A service said no; `problem` names why."""

    def __init__(self, message: str, problem: str) -> None:
        super().__init__(message)
        self.problem = problem


@asynccontextmanager
async def operator(installation: Installation) -> AsyncGenerator[Client]:
    """A connection as the operator; PlatformError when NATS does not answer."""
    client = await streams.connect(installation, "operator")
    try:
        yield client
    finally:
        await client.close()


async def ask(client: Client, call: Call[RequestT, ReplyT], request: RequestT) -> ReplyT:
    """Call a service; RefusedError with its words when it says no, PlatformError without it."""
    service = call.subject.split(".")[3] if call.service == "mesh" else call.service
    try:
        answer = await client.request(
            call.subject, msgspec.json.encode(request), call.deadline_ms / 1000 + 1
        )
    except nats.errors.NoRespondersError as error:
        raise PlatformError(f"{service} is not running; start it with: ./just up") from error
    except nats.errors.TimeoutError as error:
        raise PlatformError(f"{service} did not answer in time; see: ./just doctor") from error
    if "Nats-Service-Error" in (answer.headers or {}):
        problem = json.loads(answer.data)
        raise RefusedError(
            f"{service}: {problem.get('title')}: {problem.get('detail')}",
            str(problem.get("type", "")).rpartition(":")[2],
        )
    return msgspec.json.decode(answer.data, type=call.reply)


async def jetstream(client: Client, verb: str, body: dict[str, Any] | None = None) -> Any:
    """Ask JetStream's own interface; PlatformError with its words when it refuses."""
    try:
        answer = await client.request(f"$JS.API.{verb}", json.dumps(body or {}).encode(), API_S)
    except nats.errors.Error as error:
        raise PlatformError(f"JetStream did not answer {verb}: {error}") from error
    reply = json.loads(answer.data)
    if "error" in reply:
        raise PlatformError(f"JetStream refused {verb}: {reply['error']['description']}")
    return reply


def instant(text: str) -> datetime:
    """Read an instant in ISO 8601, UTC where it names no zone; PlatformError when it is none."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise PlatformError(
            f"{text!r} is no instant; it looks like 2026-11-01 or 2026-11-01T06:00:00Z"
        ) from error
    return found if found.tzinfo else datetime.fromisoformat(f"{found.isoformat()}+00:00")
