"""The NATS services protocol (ADR-32): who is there, what they answer, and how they fare.

`nats micro ls|info|stats` and any other tool of the protocol see every service of the mesh.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg

from svc.mesh.clock import new_id
from svc.mesh.observed import MINUTE, Report

if TYPE_CHECKING:
    from svc.mesh.runtime import Runtime

TYPE_ROOT = "io.nats.micro.v1."


class Discovery:
    """Answers `$SRV.PING|INFO|STATS`, and `$SRV.EDGES`, for one service instance."""

    def __init__(self, runtime: "Runtime", metadata: dict[str, str]) -> None:
        """Prepare; `metadata` travels in every answer (such as where its HTTP is)."""
        self.runtime = runtime
        self.metadata = metadata
        self.started = datetime.now(UTC)

    async def start(self) -> None:
        """Subscribe the three verbs for all, for the name, and for this instance."""
        name = self.runtime.service.name
        for subject in ("$SRV.*", f"$SRV.*.{name}", f"$SRV.*.{name}.{self.runtime.instance}"):
            await self.runtime.connection.subscribe(subject, cb=self._asked)

    async def _asked(self, message: Msg) -> None:
        verbs: dict[str, Callable[[], Any]] = {
            "PING": self.ping, "INFO": self.info, "STATS": self.stats, "EDGES": self.edges,
        }  # fmt: skip
        answer = verbs.get(message.subject.split(".")[1])
        if answer is not None and message.reply:
            await self.runtime.connection.publish(message.reply, msgspec.json.encode(answer()))

    def _identity(self, kind: str) -> dict[str, Any]:
        return {
            "type": f"{TYPE_ROOT}{kind}_response",
            "name": self.runtime.service.name,
            "id": self.runtime.instance,
            "version": self.runtime.service.contract.version,
            "metadata": self.metadata,
        }

    def ping(self) -> dict[str, Any]:
        """Return the short answer: I am here."""
        return self._identity("ping")

    def info(self) -> dict[str, Any]:
        """Return what this service answers, as it declared it."""
        return {
            **self._identity("info"),
            "description": self.runtime.service.contract.purpose,
            "endpoints": [
                {
                    "name": endpoint.call.verb,
                    "subject": endpoint.call.subject,
                    "queue_group": self.runtime.service.name,
                    "metadata": {
                        "purpose": endpoint.call.purpose,
                        "callers": ",".join(endpoint.call.permitted_callers()),
                        "deadline_ms": str(endpoint.call.deadline_ms),
                    },
                }
                for endpoint in self.runtime.endpoints
            ],
        }

    def edges(self) -> Report:
        """Return who called and told whom what in the last minute; beyond ADR-32, for the mesh."""
        return MINUTE.report(self.runtime)

    def stats(self) -> dict[str, Any]:
        """Return what each endpoint did since the start."""
        return {
            **self._identity("stats"),
            "started": self.started.isoformat(),
            "endpoints": [
                {
                    "name": endpoint.call.verb,
                    "subject": endpoint.call.subject,
                    "queue_group": self.runtime.service.name,
                    "num_requests": endpoint.stats.requests,
                    "num_errors": endpoint.stats.errors,
                    "last_error": endpoint.stats.last_error,
                    "processing_time": endpoint.stats.processing_ns,
                    "average_processing_time": endpoint.stats.processing_ns
                    // max(endpoint.stats.requests, 1),
                    "data": {
                        "shed": endpoint.stats.shed,
                        "late": endpoint.stats.late,
                        "in_flight": endpoint.busy,
                        "outcomes": endpoint.stats.outcomes,
                    },
                }
                for endpoint in self.runtime.endpoints
            ],
        }


async def survey(
    connection: Client, user: str, subject: str, wait_s: float, enough: int | None = None
) -> list[dict[str, Any]]:
    """Ask all services at once (`$SRV.PING`, `$SRV.INFO.wallet`, …) and return their answers.

    Waits `wait_s` seconds, or until `enough` have answered.
    """
    answers: list[dict[str, Any]] = []
    inbox = f"_INBOX.{user}.{new_id()}"
    deadline = time.monotonic() + wait_s
    subscription = await connection.subscribe(inbox)
    try:
        await connection.publish(subject, b"", reply=inbox)
        while enough is None or len(answers) < enough:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            try:
                message = await asyncio.wait_for(subscription.next_msg(timeout=left), left)
            except TimeoutError:
                break
            if not message.data:
                break  # no responders
            answers.append(msgspec.json.decode(message.data, type=dict[str, Any]))
    finally:
        await subscription.unsubscribe()
    return answers
