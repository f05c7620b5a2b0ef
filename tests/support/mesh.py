"""Runs services inside the test process, and an operator who calls, publishes and listens."""

import asyncio
import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar, cast

import msgspec

from svc import catalogue
from svc.mesh.caller import Caller
from svc.mesh.clock import SystemClock, new_id
from svc.mesh.connection import Connection
from svc.mesh.context import Context
from svc.mesh.contract import Call, Event
from svc.mesh.envelope import CloudEvent
from svc.mesh.errors import Resting
from svc.mesh.parcels import bodies
from svc.mesh.process import Process
from svc.mesh.settings import Settings
from tests.support.platform import Platform

if TYPE_CHECKING:
    from svc.mesh.runtime import Runtime

RequestT = TypeVar("RequestT", bound=msgspec.Struct)
ReplyT = TypeVar("ReplyT", bound=msgspec.Struct)
DataT = TypeVar("DataT", bound=msgspec.Struct)

HEARD_WITHIN_S = 15.0
RESTING_S = 0.02


def nobodys_work() -> Context:
    """Return a piece of work of no service: a caller reads no more of it than goes on the wire."""
    return Context(cast("Runtime", None), correlation_id=new_id())


class Operator:
    """The operator on NATS: calls anything, reads every topic; publishes as the owner would."""

    def __init__(self, platform: Platform, connection: Connection) -> None:
        """Keep the operator's connection."""
        self.platform = platform
        self.connection = connection
        self.caller = Caller(connection, "operator", new_id().replace("-", ""))
        self.publishers: dict[str, Connection] = {}
        self.stack = AsyncExitStack()

    async def call(
        self, call: Call[RequestT, ReplyT], request: RequestT, *, wait_s: float = 10.0
    ) -> ReplyT:
        """Call a service and return its answer; raises its refusals.

        A service that an earlier test left silent may still be given a rest: that is waited for.
        """
        context = nobodys_work()
        while True:
            try:
                return await self.caller.call(call, request, wait_s, context)
            except Resting:
                await asyncio.sleep(RESTING_S)

    async def publish(
        self,
        event: Event[DataT],
        data: DataT,
        *,
        subject: str,
        event_id: str | None = None,
        publisher: str | None = None,
        at: datetime | None = None,
    ) -> str:
        """Publish an event with the credentials of the service that owns it; return its id.

        `at` is when it happened, now if not given.
        """
        owner = publisher or next(
            contract.name for contract in catalogue.contracts() if event in contract.publishes
        )
        if owner not in self.publishers:
            connection = await self.stack.enter_async_context(self.platform.nats(owner))
            self.publishers[owner] = connection
        envelope = CloudEvent(
            id=event_id or new_id(),
            source="/" + owner,
            type=event.type,
            subject=subject,
            time=at or SystemClock().now(),
            data=data,
            correlationid=new_id(),
        )
        await (
            self.publishers[owner]
            .jetstream()
            .publish(event.subject, msgspec.json.encode(envelope), stream=event.stream)
        )
        return envelope.id

    async def heard(
        self,
        event: Event[DataT],
        matches: Callable[[DataT], bool] = lambda _: True,
        *,
        within_s: float = HEARD_WITHIN_S,
    ) -> CloudEvent[DataT]:
        """Wait for an event on its stream (from its start) and return the first that matches."""
        found = await self.all_heard(event, matches, count=1, within_s=within_s)
        return found[0]

    async def all_heard(
        self,
        event: Event[DataT],
        matches: Callable[[DataT], bool] = lambda _: True,
        *,
        count: int = 0,
        within_s: float = HEARD_WITHIN_S,
    ) -> list[CloudEvent[DataT]]:
        """Return the matching events of a stream: the first `count`, waiting for them, or with
        0 all that are there now.
        """
        decode = msgspec.json.Decoder(CloudEvent[event.data]).decode
        found: list[CloudEvent[DataT]] = []
        subscription = await self.connection.jetstream().subscribe(
            event.subject, ordered_consumer=True
        )
        try:
            async with asyncio.timeout(within_s):
                info = await subscription.consumer_info()
                # What waits and what is already on its way: all that there is at this moment.
                there = (info.num_pending or 0) + (info.delivered.consumer_seq or 0)  # pyright: ignore[reportOptionalMemberAccess] -- the server always tells
                read = 0
                while len(found) < count if count else read < there:
                    message = await subscription.next_msg(timeout=within_s)
                    read += 1
                    for body in bodies(message.data):
                        envelope = decode(body)
                        if matches(envelope.data):
                            found.append(envelope)
        except TimeoutError:
            raise AssertionError(
                f"{event.type}: {len(found)} of {count or 'all'} heard within {within_s} s"
            ) from None
        finally:
            await subscription.unsubscribe()
        return found


class Services:
    """The services that run in this test process, started when a test asks for them."""

    def __init__(self, platform: Platform) -> None:
        """Nothing runs yet."""
        self.platform = platform
        self.running: dict[str, Process] = {}
        self.folder = ""

    async def __call__(self, *names: str) -> None:
        """Run these services, if they are not running yet; they stay for this folder's tests.

        What the tests of another folder started is stopped first: a service that nobody here
        asked for would answer and react all the same.
        """
        folder = os.environ.get("PYTEST_CURRENT_TEST", "").partition("::")[0].rpartition("/")[0]
        if folder != self.folder:
            await self.stop_all()
            self.folder = folder
        for name in names:
            if name not in self.running:
                overrides = {**self.platform.settings, "BETMESH_RUN": str(self.platform.run_dir)}
                process = Process([catalogue.service(name)], Settings(overrides))
                self.running[name] = process
                await process.start()
                self.forget_silence()

    def forget_silence(self) -> None:
        """Let everybody ask who has just begun at once, as they would a moment later."""
        for process in self.running.values():
            for runtime in process.runtimes:
                runtime.caller.reconnected()

    async def stop(self, *names: str) -> None:
        """Drain and stop these services."""
        for name in names:
            process = self.running.pop(name, None)
            if process is not None:
                await process.stop()

    async def stop_all(self) -> None:
        """Drain and stop everything."""
        await self.stop(*self.running)
